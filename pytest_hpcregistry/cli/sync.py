"""sync: bring the catalog's images to every node."""

from __future__ import annotations

from contextlib import nullcontext

import click

from ..cluster.client import ControllerClient, SyncOptions
from ..cluster.outcomes import raise_worst, sync_failures
from ..core.errors import HpcRegistryError
from ..core.names import check_directory
from .options import engine_options, node_options
from .show import show_json_line, shown


@click.command("sync")
@click.argument("subdirectory", required=False, metavar="[SUBDIR]")
@click.option("--json", "as_json", is_flag=True, help="Events as JSON lines, for programs.")
@engine_options
@node_options
def command(subdirectory: str | None, as_json: bool, options: SyncOptions, client: ControllerClient) -> None:
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
        finished = client.sync(listener, options, subdirectory=subdirectory)
    raise_worst(sync_failures(finished))
    if not finished:
        raise HpcRegistryError("the sync reported no node, so nothing is proven")
