"""rollback: let a name mean an older version again."""

from __future__ import annotations

from contextlib import nullcontext

import click

from ..cluster import signing
from ..cluster.client import ControllerClient
from ..cluster.outcomes import raise_worst, sync_failures
from ..core.errors import HpcRegistryError
from ..core.names import full_name
from .options import node_options, wait_option
from .show import show_json_line, shown


@click.command("rollback")
@click.argument("name")
@click.option("--to", metavar="VERSION", help="At least 6 digits of its digest [default: the version before].")
@click.option("--json", "as_json", is_flag=True, help="Events as JSON lines, for programs.")
@wait_option
@node_options
def command(name: str, to: str | None, as_json: bool, no_wait: bool, client: ControllerClient) -> None:
    """Go back to an older version of NAME, on every machine.

    No bytes move to nodes that still have it. What was current is kept, so that the same command goes forward again.

    Interrupted while it waits for the end of a sync, it is withdrawn; what has begun goes on on the controller: see
    running and cancel.

    \b
    Examples:
      hpc-container-manager rollback pytorch.sif
      hpc-container-manager rollback pytorch.sif --to 3f2a1c9b7d04
    """
    registry = client.cluster.registry
    wanted = full_name(name, registry.path, registry.directories)
    version, signature = signing.for_rollback(client, wanted, to)
    with nullcontext(show_json_line) if as_json else shown() as listener:
        finished = client.rollback(wanted, version, listener, signature, no_wait=no_wait)
    raise_worst(sync_failures(finished))
    if not finished:
        raise HpcRegistryError("the rollback reported no node, so nothing is proven")
