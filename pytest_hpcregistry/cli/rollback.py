"""rollback: let a name mean an older version again."""

from __future__ import annotations

import click

from ..cluster import signing
from ..cluster.client import ControllerClient
from ..cluster.outcomes import raise_worst, sync_failures, sync_shortfall
from ..core.coverage import Required
from ..core.errors import HpcRegistryError
from ..core.names import full_name
from .options import node_options, require_option
from .show import show, show_json_line


@click.command("rollback")
@click.argument("name")
@click.option("--to", metavar="VERSION", help="At least 6 digits of its digest [default: the version before].")
@click.option("--json", "as_json", is_flag=True, help="Events as JSON lines, for programs.")
@require_option
@node_options
def command(name: str, to: str | None, as_json: bool, required: Required | None, client: ControllerClient) -> None:
    """Go back to an older version of NAME, on every machine.

    No bytes move to nodes that still have it. What was current is kept, so that the same command goes forward again.

    \b
    Examples:
      hpc-container-manager rollback pytorch.sif
      hpc-container-manager rollback pytorch.sif --to 3f2a1c9b7d04
    """
    registry = client.cluster.registry
    wanted = full_name(name, registry.path, registry.directories)
    told = show_json_line if as_json else show
    version, signature = signing.for_rollback(client, wanted, to)
    finished = client.rollback(wanted, version, told, signature)
    raise_worst([*sync_failures(finished), *sync_shortfall(finished, required)])
    if not finished:
        raise HpcRegistryError("the rollback reported no node, so nothing is proven")
