"""sync: bring the catalog's images to every node."""

from __future__ import annotations

import click

from ..cluster.client import ControllerClient, SyncOptions
from ..cluster.outcomes import raise_worst, sync_failures
from ..core.errors import HpcRegistryError
from ..core.names import check_directory, full_name
from ..report.schema import Lines
from .known_names import complete_images
from .options import engine_options, node_options
from .output import answers
from .show import shown


@click.command("sync")
@answers(Lines)
@click.argument("wanted", nargs=-1, metavar="[SUBDIR | NAME.sif...]", shell_complete=complete_images)
@engine_options
@node_options
def command(wanted: tuple[str, ...], options: SyncOptions, client: ControllerClient) -> None:
    """Bring the catalog's images to every node.

    All of them, those of SUBDIR, or those named; only what a node lacks moves. Names and sizes are compared.

    With --repair every byte is read first, on the controller too. Damaged copies go to .registry/quarantine, which gc
    empties, and are replaced: the controller's from a node that has the right bytes.

    It runs on the controller: when this command is interrupted, the sync goes on there.

    \b
    Examples:
      hpc-container-manager sync
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
    with shown() as listener:
        finished = client.sync(listener, options, subdirectory=next(iter(directories), None), names=names)
    raise_worst(sync_failures(finished))
    if not finished:
        raise HpcRegistryError("the sync reported no node, so nothing is proven")
