"""registry, sync, verify, status: what is done with a whole cluster."""

from __future__ import annotations

from contextlib import nullcontext
from pathlib import Path

import click

from ..cluster import deploy as deploying
from ..cluster import verify as verifying
from ..cluster.client import ControllerClient
from ..core import facts as facts_of
from ..core.errors import CheckFailed, HpcRegistryError, Unreachable, UsageError
from ..core.names import check_directory, excerpt, image_name, visible
from ..core.nodeset import fold, fold_by
from ..report import lines
from ..setup import packer, playbook
from .options import SIF, client_options, engine_options, say, show, show_json, show_json_line, show_table, shown


@click.group("registry")
def registry_group() -> None:
    """Phase 1: set up the registry on all machines."""


@registry_group.command("setup")
@click.option("--check", is_flag=True, help="Only say what would change.")
@click.option("--diff", is_flag=True, help="Show the changes in files.")
@click.option("-e", "--extra-vars", multiple=True, metavar="K=V", help="Variables for the role, as ansible-playbook's.")
@client_options
def registry_setup(check: bool, diff: bool, extra_vars: tuple[str, ...], client: ControllerClient) -> None:
    """Set up the registry by Ansible; run twice, the second run changes nothing.

    \b
    Example:
      hpc-container-manager registry setup --check --diff
    """
    nodes = client.list_nodes()
    playbook.set_up(client.cluster, nodes, check=check, diff=diff, extra_vars=extra_vars, on_line=say)


@registry_group.command("check-packer")
@click.argument("directory", type=SIF)
def registry_check_packer(directory: Path) -> None:
    """Find Packer templates that do not set packer_build=true.

    In an image that such a template in DIRECTORY builds, the role would set up a registry.

    \b
    Example:
      hpc-container-manager registry check-packer packer/
    """
    missing = packer.find_templates_without_packer_build(directory)
    if missing:
        raise CheckFailed(
            "\n".join(f"{visible(found)}: does not set packer_build=true" for found in missing),
            hint='add "-e", "packer_build=true" to the provisioner\'s extra_arguments',
        )
    say("✓ every Packer template with an Ansible provisioner sets packer_build=true")


@click.command("sync")
@click.argument("subdirectory", required=False, metavar="[SUBDIR]")
@click.option("--json", "as_json", is_flag=True, help="Events as JSON lines, for programs.")
@engine_options
@client_options
def sync(subdirectory: str | None, as_json: bool, how: list[str], client: ControllerClient) -> None:
    """Bring the catalog's images to every node.

    All of them, or those of SUBDIR; only what a node lacks moves.

    It runs on the controller: when this command is interrupted, the sync goes on there.

    \b
    Examples:
      hpc-container-manager sync
      hpc-container-manager sync ml-frameworks
      hpc-container-manager sync --engine relay --limit-rate 100M
    """
    if subdirectory is not None:
        check_directory(subdirectory, client.cluster.registry.directories)
    with nullcontext(show_json_line) if as_json else shown() as listener:
        finished = client.sync([*how, *([subdirectory] if subdirectory else [])], listener)
    deploying.raise_worst(deploying.sync_failures(finished))
    if not finished:
        raise HpcRegistryError("the controller's sync told of no node")


@click.command("verify")
@click.argument("names", nargs=-1, metavar="[NAME]...")
@client_options
def verify(names: tuple[str, ...], client: ControllerClient) -> None:
    """Read images back from every disk.

    Their digests are compared with the catalog's: of all images, or of NAME… A machine has an image as present,
    missing, as an older version, as damaged (bytes that are not what their object's name says), as a file that differs
    (no version that the catalog knows) or unmanaged (not in the catalog), or it is unreachable.

    It waits for the end of a sync that is under way; when syncs go on, so that nothing can be told, the exit code is 3.

    \b
    Examples:
      hpc-container-manager verify
      hpc-container-manager verify pytorch.sif custom-images/mine.sif
    """
    registry = client.cluster.registry
    wanted = [full_name(name, registry.path, registry.directories) for name in names] or None
    reading = verifying.read_back(client, show, wanted)
    found = reading.facts
    facts_of.require_nodes(found)
    checked = wanted or found.names()
    unknown = [name for name in checked if name not in found.catalog.images] if wanted else []
    if unknown or not checked:
        raise UsageError(f"{unknown[0]} is not in the catalog" if unknown else "there is no image to verify")
    deploying.raise_worst(verifying.failures(reading, checked, registry.path, show))


def full_name(name: str, registry: str, directories: tuple[str, ...]) -> str:
    """`x.sif` is short for the first directory's."""
    return image_name(name if "/" in name else f"{directories[0]}/{name}", registry, directories)


@click.command("status")
@click.option("--json", "as_json", is_flag=True, help="For programs.")
@client_options
def status(as_json: bool, client: ControllerClient) -> None:
    """Show every image on every node.

    A machine has an image as present, missing, as an older version, as a file that differs (no version that the catalog
    knows) or unmanaged (not in the catalog), or it is unreachable. Names and links are compared, no image is read: that
    is what verify does, which also tells what is damaged.

    \b
    Example:
      hpc-container-manager status --json
    """
    found = client.facts()
    facts_of.require_nodes(found)
    matrix = found.matrix()
    if as_json:
        show_json(
            {
                "images": matrix,
                "unreachable": found.unreachable,
                "catalog_problem": found.catalog_problem,
                "sync_under_way": found.syncing.under_way,
            }
        )
    else:
        rows = [[excerpt(name), row.pop("controller", "-"), lines.states(row)] for name, row in found.matrix().items()]
        show_table([["IMAGE", "CONTROLLER", "NODES"], *rows])
        for reason, nodes in fold_by(found.unreachable, found.unreachable.__getitem__).items():
            say(visible(f"{nodes}: {reason}"), err=True)
        if found.syncing.under_way:
            say("! a sync is under way")
    raise_for_status(found, matrix)


def raise_for_status(found: facts_of.Facts, matrix: dict[str, dict[str, str]]) -> None:
    """The exit code of status: drift is 1, and so is nothing at all; nodes that could not be asked are 3."""
    if found.catalog_problem:
        raise CheckFailed(found.catalog_problem)
    if not matrix:
        raise CheckFailed("there is no image in the catalog and none on any machine", hint="deploy one first")
    states = {state for row in matrix.values() for state in row.values()}
    if states - {facts_of.PRESENT, facts_of.UNREACHABLE}:
        hint = "look again when the sync has ended" if found.syncing.under_way else "hpc-container-manager sync"
        if facts_of.UNMANAGED in states:
            hint += "; a file that the catalog does not know is never removed: deploy it, or remove it by hand"
        raise CheckFailed("the cluster differs from its catalog", hint=hint)
    if found.unreachable:
        raise Unreachable(f"{fold(found.unreachable)}: unreachable")


GROUP = (registry_group, sync, verify, status)
