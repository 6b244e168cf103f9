"""rollback: let a name mean an older version again."""

from __future__ import annotations

import click

from ..cluster import signing
from ..cluster.client import ControllerClient
from ..core.coverage import Required
from ..core.names import full_name
from ..report.schema import Lines
from .known_names import complete_images
from .node_results import end, listening
from .options import dry_run_option, node_options, require_option, wait_option
from .output import answers


@click.command("rollback")
@answers(Lines)
@click.argument("name", shell_complete=complete_images)
@click.option("--to", metavar="VERSION", help="At least 6 digits of its digest [default: the version before].")
@dry_run_option
@wait_option
@require_option
@node_options
def command(
    name: str, to: str | None, dry_run: bool, no_wait: bool, required: Required | None, client: ControllerClient
) -> None:
    """Go back to an older version of an image.

    NAME means it on every machine then. No bytes move to nodes that still have it. What was current is kept, so that
    the same command goes forward again.

    Interrupted while it waits for the end of a sync, it is withdrawn; what has begun goes on on the controller: see
    running and cancel.

    \b
    Examples:
      hpc-container-manager rollback pytorch.sif --dry-run
      hpc-container-manager rollback pytorch.sif
      hpc-container-manager rollback pytorch.sif --to 3f2a1c9b7d04
    """
    registry = client.cluster.registry
    wanted = full_name(name, registry.path, registry.directories)
    signature: dict[str, str] = {}
    if not dry_run:
        to, signature = signing.for_rollback(client, wanted, to)
    with listening(dry_run) as listener:
        finished = client.rollback(wanted, to, listener, signature, dry_run=dry_run, no_wait=no_wait)
    end(finished, "rollback", required)
