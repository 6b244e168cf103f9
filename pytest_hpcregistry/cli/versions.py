"""catalog, rollback, gc: names and the versions that they have had."""

from __future__ import annotations

from dataclasses import asdict

import click

from ..cluster import deploy as deploying
from ..cluster.client import ControllerClient
from ..core.catalog import Version
from ..core.errors import HpcRegistryError, UsageError
from ..core.names import visible
from ..report import lines
from .cluster import full_name
from .options import client_options, say, show, show_json, show_json_line, show_table


@click.group("catalog")
def catalog_group() -> None:
    """Show what the catalog says."""


@catalog_group.command("list")
@click.option("--json", "as_json", is_flag=True, help="For programs.")
@client_options
def catalog_list(as_json: bool, client: ControllerClient) -> None:
    """All images with size, digest and date.

    \b
    Example:
      hpc-container-manager catalog list
    """
    images = client.catalog().images
    if as_json:
        show_json({name: asdict(entry) for name, entry in images.items()})
        return
    rows = [[name, lines.megabytes(e.size), e.digest[:12], e.published] for name, e in sorted(images.items())]
    show_table([["IMAGE", "SIZE", "SHA256", "PUBLISHED"], *rows])


@catalog_group.command("show")
@click.argument("name")
@click.option("--json", "as_json", is_flag=True, help="For programs.")
@client_options
def catalog_show(name: str, as_json: bool, client: ControllerClient) -> None:
    """All that is known of one image and its versions.

    The current one first, then those that rollback can go back to, the newest first.

    \b
    Example:
      hpc-container-manager catalog show ml-frameworks/pytorch.sif
    """
    registry = client.cluster.registry
    wanted = full_name(name, registry.path, registry.directories)
    images = client.catalog().images
    if wanted not in images:
        raise UsageError(f"{wanted} is not in the catalog", hint="see: hpc-container-manager catalog list")
    if as_json:
        show_json({"name": wanted, **asdict(images[wanted])})
        return
    current, *older = images[wanted].history()
    say(wanted)
    show_version(current, "current")
    for version in older:
        show_version(version, "older")


def show_version(version: Version, which: str) -> None:
    say(f"{which} version {version.digest[:12]}")
    fields = asdict(version)
    labels = fields.pop("labels")
    told = [*fields.items(), *((f"label {key}", value) for key, value in sorted(labels.items()))]
    for key, value in told:
        say(visible(f"  {key}: {value}"))


@click.command("rollback")
@click.argument("name")
@click.option("--to", metavar="VERSION", help="At least 6 digits of its digest [default: the version before].")
@click.option("--json", "as_json", is_flag=True, help="Events as JSON lines, for programs.")
@client_options
def rollback(name: str, to: str | None, as_json: bool, client: ControllerClient) -> None:
    """Let NAME mean an older version again, everywhere.

    No bytes move to nodes that still have it. What was current is kept, so that the same command goes forward again.

    \b
    Examples:
      hpc-container-manager rollback pytorch.sif
      hpc-container-manager rollback pytorch.sif --to 3f2a1c9b7d04
    """
    registry = client.cluster.registry
    wanted = full_name(name, registry.path, registry.directories)
    told = show_json_line if as_json else show
    finished = client.rollback(wanted, to, deploying.operator(), told)
    deploying.raise_worst(deploying.sync_failures(finished))
    if not finished:
        raise HpcRegistryError("the controller's rollback told of no node")


@click.command("gc")
@click.option("--keep", type=click.IntRange(0), metavar="N", help="Older versions of each image [default: configured].")
@click.option(
    "--grace", type=click.IntRange(0), metavar="SECONDS", help="Spare what was named until then [default: 1 h]."
)
@click.option("-n", "--dry-run", is_flag=True, help="Only say what would be freed; change nothing.")
@click.option("--json", "as_json", is_flag=True, help="Events as JSON lines, for programs.")
@client_options
def gc(keep: int | None, grace: int | None, dry_run: bool, as_json: bool, client: ControllerClient) -> None:
    """Free the bytes that nothing names any more.

    On the controller and on all nodes: what neither the catalog nor a name means, unless somebody has it open or it
    came less than an hour ago. A file that the catalog does not know is told of, and never removed.

    \b
    Examples:
      hpc-container-manager gc --dry-run
      hpc-container-manager gc --keep 1
    """
    words = ["--by", deploying.operator(), *(["--dry-run"] if dry_run else [])]
    for option, value in (("--keep", keep), ("--grace", grace)):
        words += [option, str(value)] if value is not None else []
    finished = client.gc(words, show_json_line if as_json else show)
    hint = "the other machines are done; mend these, then: hpc-container-manager gc"
    deploying.raise_worst(deploying.sync_failures(finished, hint))


GROUP = (catalog_group, rollback, gc)
