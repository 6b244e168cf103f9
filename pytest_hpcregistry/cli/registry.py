"""registry: phase 1."""

from __future__ import annotations

import sys
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import click

from ..cluster.client import ControllerClient
from ..cluster.nodes import away, look_from_controller, routes_to
from ..cluster.outcomes import raise_worst
from ..core.coverage import shortfall
from ..core.errors import CheckFailed, HpcRegistryError, UsageError
from ..core.events import Event, InUse
from ..core.messages import count, not_counted
from ..core.names import visible
from ..core.nodeset import fold_machines, group_by
from ..setup import packer, playbook
from ..setup.transcript import HostRecap, Recap
from .groups import Group
from .options import SIF, client_options
from .output import answer, answers
from .show import say, show

BARE = "without phase 1 Slurm runs a step with --container on the node itself, not in the image, and does not say so"


@dataclass(frozen=True)
class Setup:
    """How phase 1 ended: changes that were made, or with --check would be, on all hosts and on each; in seconds.
    `not_counted`: nodes that could not be reached, and on which Slurm does not count either, and why it does not."""

    check: bool
    changed: int
    hosts: dict[str, HostRecap]
    seconds: float
    not_counted: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Templates:
    """Packer templates that do not set packer_build=true."""

    missing: list[str]


@click.group("registry", cls=Group)
def command() -> None:
    """Set up the registry, or take that back.

    \b
    Example:
      hpc-container-manager registry setup
    """


@command.command("setup")
@answers(Setup)
@click.option("--check", is_flag=True, help="Only say what would change.")
@click.option("--diff", is_flag=True, help="Show the changes in files.")
@click.option("-e", "--extra-vars", multiple=True, metavar="K=V", help="Variables for the role, as ansible-playbook's.")
@client_options
def registry_setup(check: bool, diff: bool, extra_vars: tuple[str, ...], client: ControllerClient) -> None:
    """Set up the registry by Ansible.

    Run twice, the second run changes nothing.

    A node that cannot be reached, and on which Slurm does not count either (drained, down, powered down, rebooting), is
    not counted, and no failure; run it again when it is back.

    \b
    Example:
      hpc-container-manager registry setup --check --diff
    """
    client.require_root()
    nodes, out_of_service = client.list_nodes(), away(client)
    how: dict[str, Any] = {"check": check, "diff": diff, "extra_vars": extra_vars, "on_line": say}
    how["look"] = partial(look_from_controller, client)
    recap = playbook.set_up(
        client.cluster, nodes, routes=routes_to(nodes, client), out_of_service=out_of_service, **how
    )
    silent = {
        name: why for name, why in out_of_service.items() if name in recap.hosts and recap.hosts[name].unreachable
    }
    answer(Setup(check, recap.changed, dict(recap.hosts), recap.seconds, silent))
    for line in not_counted(silent):
        say(f"! {line}")
    raise_worst(shortfall(None, nodes, set(nodes) - set(silent), silent))
    show_end(recap, check)


@command.command("remove")
@answers(Setup)
@click.option("--check", is_flag=True, help="Only say what would be removed.")
@click.option("--diff", is_flag=True, help="Show the changes in files.")
@click.option("--tree", is_flag=True, help="Remove the registry with all images, its history and the log, too.")
@click.option("--yes", is_flag=True, help="With --tree: do not ask.")
@click.option("-e", "--extra-vars", multiple=True, metavar="K=V", help="Variables for the role, as ansible-playbook's.")
@client_options
def registry_remove(
    check: bool, diff: bool, tree: bool, yes: bool, extra_vars: tuple[str, ...], client: ControllerClient
) -> None:
    """Take back what setup has made.

    On every machine: the line of the sync key, the key, programs, oci.conf, known_hosts and the log's rotation; only
    what setup has made. Images stay, and can be run by Apptainer; with --tree they go, too. From then on Slurm runs a
    step with --container on the node itself, without the image, and does not say so: tell your users. Who runs from an
    image now is named. Run twice, the second run changes nothing; afterwards `registry setup` works as at first.

    \b
    Example:
      hpc-container-manager registry remove --check
    """
    nodes = client.list_nodes()
    show_users(client)
    if tree and not check and not yes:
        confirm(client.cluster.registry.path, len(nodes))
    how: dict[str, Any] = {"check": check, "diff": diff, "extra_vars": extra_vars, "on_line": say}
    how["look"] = partial(look_from_controller, client)
    recap = playbook.take_back(client.cluster, nodes, tree=tree, routes=routes_to(nodes, client), **how)
    answer(Setup(check, recap.changed, dict(recap.hosts), recap.seconds))
    show_changes(recap, check, "phase 1 taken back")
    if client.cluster.slurm.container:
        say(f"! {BARE}")


def show_end(recap: Recap, check: bool) -> None:
    """The last lines of a setup: what was done, and what comes next."""
    changed = show_changes(recap, check, "phase 1")
    following = "registry setup" if check and changed else "test --phase infrastructure"
    say(f"  next: hpc-container-manager {following}")


def show_changes(recap: Recap, check: bool, what: str) -> bool:
    """A line of our own below Ansible's: on which machines something changed. Returns whether it did on any."""
    done = {name: host for name, host in recap.hosts.items() if not host.unreachable and not host.failed}
    groups = group_by(done, lambda name: bool(done[name].changed))
    words = {True: "would change" if check else "changed", False: "nothing to change"}
    said = ", ".join(f"{words[changed]} on {fold_machines(names)}" for changed, names in groups.items())
    say(f"✓ {what}{', only looked at' if check else ''}: {said} ({recap.seconds:.0f} s)")
    return True in groups


def show_users(client: ControllerClient) -> None:
    """Name who has an image open on any machine."""

    def listen(event: Event) -> None:
        if isinstance(event, InUse):
            show(event)

    try:
        names = sorted(client.catalog().images)
        if names:
            client.remove(names, 0, listen, dry_run=True)
    except HpcRegistryError as error:
        say(f"! who runs from an image now is not known: {error}")


def confirm(registry: str, nodes: int) -> None:
    """Have the registry's path typed. Raises UsageError when it is not, or when nobody can be asked."""
    if not is_asked():
        raise UsageError("--tree removes all images, and nobody can be asked here", hint="--yes does not ask")
    say(f"{registry} with all images will be removed from the controller and {count(nodes, 'node')}.")
    if click.prompt("Type its path to go on", prompt_suffix=": ") != registry:
        raise UsageError("that is another path; nothing was changed")


def is_asked() -> bool:
    """Whether there is somebody who can be asked."""
    return sys.stdin.isatty()


@command.command("check-packer")
@answers(Templates)
@click.argument("directory", type=SIF)
def registry_check_packer(directory: Path) -> None:
    """Find Packer templates without packer_build.

    In an image that a template in DIRECTORY builds without packer_build=true, the role would set up a registry.

    \b
    Example:
      hpc-container-manager registry check-packer packer/
    """
    missing = packer.find_templates_without_packer_build(directory)
    answer(Templates([str(found) for found in missing]))
    if missing:
        raise CheckFailed(
            "\n".join(f"{visible(found)}: does not set packer_build=true" for found in missing),
            hint='add "-e", "packer_build=true" to the provisioner\'s extra_arguments',
        )
    say("✓ every Packer template with an Ansible provisioner sets packer_build=true")
