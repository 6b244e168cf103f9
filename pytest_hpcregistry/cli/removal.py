"""catalog remove and restore: take an image away from every machine, and bring it back while its bytes are kept."""

from __future__ import annotations

import click

from ..cluster import signing
from ..cluster.client import ControllerClient
from ..core.history import read_age
from ..core.names import full_name
from ..report.schema import Lines
from .known_names import complete_images
from .node_results import end, listening
from .options import dry_run_option, node_options, wait_option
from .output import answers

AFTER = "14d"


def age(context: click.Context, option: click.Parameter, text: str) -> int:
    """Seconds."""
    try:
        return read_age(text)
    except ValueError as error:
        raise click.BadParameter(str(error)) from None


@click.command("remove")
@answers(Lines)
@click.argument("names", metavar="NAME...", nargs=-1, required=True, shell_complete=complete_images)
@click.option(
    "--after", callback=age, default=AFTER, metavar="TIME", help=f"How long gc must keep the bytes: 30d, 12h [{AFTER}]."
)
@dry_run_option
@wait_option
@node_options
def remove(names: tuple[str, ...], after: int, dry_run: bool, no_wait: bool, client: ControllerClient) -> None:
    """Remove images from the cluster.

    They go out of the catalog, and their names from every machine. Who uses one now is named, and keeps its bytes. A
    node that is away loses the name at its next sync. Until gc has freed the bytes, `catalog restore` brings an image
    back. A file under the name that is no version of the image is left alone.

    \b
    Examples:
      hpc-container-manager catalog remove old.sif --after 14d
      hpc-container-manager catalog remove old.sif --dry-run
    """
    registry = client.cluster.registry
    wanted = [full_name(name, registry.path, registry.directories) for name in names]
    with listening(dry_run) as listener:
        finished = client.remove(wanted, after, listener, dry_run=dry_run, no_wait=no_wait)
    end(finished, "removal")


@click.command("restore")
@answers(Lines)
@click.argument("name")
@click.option("--version", metavar="VERSION", help="At least 6 digits of its digest [default: what it was last].")
@dry_run_option
@wait_option
@node_options
def restore(name: str, version: str | None, dry_run: bool, no_wait: bool, client: ControllerClient) -> None:
    """Bring back a removed image.

    It has its name again on every machine, as long as gc has not freed its bytes.

    \b
    Example:
      hpc-container-manager catalog restore old.sif
    """
    registry = client.cluster.registry
    wanted = full_name(name, registry.path, registry.directories)
    signature: dict[str, str] = {}
    if not dry_run:
        version, signature = signing.for_restore(client, wanted, version)
    with listening(dry_run) as listener:
        finished = client.restore(wanted, version, listener, signature, dry_run=dry_run, no_wait=no_wait)
    end(finished, "restore")
