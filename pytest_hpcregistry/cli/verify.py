"""verify: read images back from every disk."""

from __future__ import annotations

import click

from ..cluster import verify as verifying
from ..cluster.client import ALL, ControllerClient
from ..cluster.outcomes import raise_worst
from ..core import facts as facts_of
from ..core.catalog import unknown_image
from ..core.coverage import Required
from ..core.errors import DEPLOY_FIRST, UsageError
from ..core.names import full_name
from ..report.schema import Lines
from .known_names import complete_images, remember
from .options import node_options, require_option
from .output import answers
from .show import show, shown


@click.command("verify")
@answers(Lines)
@click.argument("names", nargs=-1, metavar="[NAME]...", shell_complete=complete_images)
@require_option
@node_options
def command(names: tuple[str, ...], required: Required | None, client: ControllerClient) -> None:
    """Read images back from every disk.

    Their digests are compared with the catalog's: of all images, or of NAME… States: present, missing, older version,
    damaged (bytes that are not what their object's name says), differs (a file that is no version in the catalog),
    unmanaged (not in the catalog), unreachable.

    A node that cannot be asked, and on which Slurm does not count either, is not counted; --require insists.

    Waits for a sync that is under way; when syncs never end, nothing can be determined, and the exit code is 3.

    \b
    Examples:
      hpc-container-manager verify
      hpc-container-manager verify pytorch.sif custom-images/mine.sif
    """
    registry = client.cluster.registry
    wanted = [full_name(name, registry.path, registry.directories) for name in names] or None
    with shown() as listener:
        reading = verifying.read_back(client, listener, wanted)
    found = reading.facts
    facts_of.require_nodes(found)
    if client.choice == ALL:
        remember(registry, found.catalog.images, found.nodes)
    checked = wanted or found.names()
    unknown = [name for name in checked if name not in found.catalog.images] if wanted else []
    if unknown:
        raise unknown_image(unknown[0], found.catalog.images)
    if not checked:
        raise UsageError("there is no image in the catalog and none on any machine", hint=DEPLOY_FIRST)
    raise_worst(verifying.failures(reading, checked, client, show, required=required))
