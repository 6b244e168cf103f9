"""sync: bring the catalog's images to every node."""

from __future__ import annotations

import click

from ..cluster.arguments import SyncOptions
from ..cluster.client import ControllerClient
from ..core.coverage import Required
from ..core.names import check_directory, full_name
from ..report.schema import Lines
from .known_names import complete_images
from .node_results import end, listening
from .options import dry_run_option, engine_options, node_options, require_option
from .output import answers


@click.command("sync")
@answers(Lines)
@click.argument("wanted", nargs=-1, metavar="[SUBDIR | NAME.sif...]", shell_complete=complete_images)
@dry_run_option
@engine_options
@require_option
@node_options
def command(
    wanted: tuple[str, ...],
    dry_run: bool,
    options: SyncOptions,
    required: Required | None,
    client: ControllerClient,
) -> None:
    """Bring the catalog's images to every node.

    All of them, those of SUBDIR, or those named; only what a node lacks moves. Names and sizes are compared. Names of
    images that were removed are taken away.

    With --repair every byte is read first, on the controller too. Damaged copies go to .registry/quarantine, which gc
    empties, and are replaced: the controller's from a node that has the right bytes.

    A node that cannot be asked, and on which Slurm does not count either (drained, down, powered down, rebooting), is
    not counted, and no failure: the next sync brings it up to date when it is back. --require insists.

    It runs on the controller, one at a time. Interrupted while it waits for another, it is withdrawn; what has begun
    goes on there: see running and cancel.

    \b
    Examples:
      hpc-container-manager sync
      hpc-container-manager sync --dry-run
      hpc-container-manager sync ml-frameworks
      hpc-container-manager sync --repair pytorch.sif
      hpc-container-manager sync --engine relay --limit-rate 100M
    """
    registry = client.cluster.registry
    named = [word for word in wanted if word.endswith(".sif")]
    directories = [check_directory(word, registry.directories) for word in wanted if word not in named]
    if len(directories) > bool(not named):
        raise click.UsageError("give one SUBDIR, or names of images, or neither")
    names = [full_name(name, registry.path, registry.directories) for name in named]
    if dry_run and options.repair:
        raise click.UsageError("--repair reads and moves files: what it would replace, verify shows")
    with listening(dry_run) as listener:
        where = next(iter(directories), None)
        finished = client.sync(listener, options, subdirectory=where, names=names, dry_run=dry_run)
    end(finished, "sync", required)
