"""rollback: let a name mean an older version again."""

from __future__ import annotations

import click

from ..cluster import signing
from ..cluster.client import ControllerClient
from ..cluster.outcomes import raise_worst, sync_failures
from ..core.errors import HpcRegistryError
from ..core.names import full_name
from ..report.schema import Lines
from .known_names import complete_images
from .options import node_options
from .output import answers
from .show import show


@click.command("rollback")
@answers(Lines)
@click.argument("name", shell_complete=complete_images)
@click.option("--to", metavar="VERSION", help="At least 6 digits of its digest [default: the version before].")
@node_options
def command(name: str, to: str | None, client: ControllerClient) -> None:
    """Go back to an older version of an image.

    NAME means it on every machine then. No bytes move to nodes that still have it. What was current is kept, so that
    the same command goes forward again.

    \b
    Examples:
      hpc-container-manager rollback pytorch.sif
      hpc-container-manager rollback pytorch.sif --to 3f2a1c9b7d04
    """
    registry = client.cluster.registry
    wanted = full_name(name, registry.path, registry.directories)
    version, signature = signing.for_rollback(client, wanted, to)
    finished = client.rollback(wanted, version, show, signature)
    raise_worst(sync_failures(finished))
    if not finished:
        raise HpcRegistryError("the rollback reported no node, so nothing is proven")
