"""Sync is convergence: what the catalog wants, minus what a node has, moves. Run twice, the second moves nothing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from ..core.catalog import Catalog, Entry
from ..core.errors import UsageError
from ..core.events import Listener, Noticed, SyncFinished, SyncStarted
from ..core.machine import SlurmFacts
from ..core.names import check_directory
from ..core.settings import Settings
from ..core.slurm_states import out_of_service
from .engines import check_method
from .limits import RSYNC, SESSION, make_room
from .lock import WAITING, only_one_sync
from .nodes import list_nodes
from .publish import follow_catalog
from .repair import repair_controller
from .rollout import Outcome, Rollout


def sync(
    settings: Settings,
    subdirectory: str | None,
    names: Sequence[str] | None,
    listener: Listener,
    *,
    repair: bool = False,
    slurm: SlurmFacts | None = None,
) -> dict[str, Outcome]:
    """Bring the catalog's images (those in *subdirectory*, those named, or all) to every node, then the catalog itself
    where everything in it is present.

    With *repair* every machine reads its copies first, and damaged ones are replaced: the controller's from a node. By
    *slurm*, its view, a node that is out of service need not answer.
    """
    if subdirectory is not None:
        check_directory(subdirectory, settings.registry.directories)
    what = ", ".join(names or ()) or subdirectory or "all images"
    nodes = list_nodes(settings.nodes, slurm)
    check_method(settings.sync.method)
    with only_one_sync(settings.registry.path, lambda: listener(Noticed(WAITING))):
        # Read once, and after the wait: what was wanted before another deploy must not be brought back over it.
        catalog_text, catalog = follow_catalog(settings, listener)
        wanted = choose_images(catalog, settings, subdirectory, names)
        # A relay has all the objects open that a node lacks, which may be all that are wanted.
        files = len(wanted) if settings.sync.method in ("auto", "relay") else 0
        room = make_room(len(nodes), settings.sync.window, held=SESSION, each=RSYNC, files=files)
        listener(SyncStarted(what=what, nodes=nodes))
        if room.note:
            listener(Noticed(message=room.note))
        if repair:
            repair_controller(settings, wanted, nodes, listener)
        rollout = Rollout(
            replace(settings, sync=replace(settings.sync, window=room.window)),
            what,
            wanted,
            (catalog_text, catalog),
            listener,
            repair=repair,
            out_of_service=out_of_service(slurm),
        )
        outcomes = rollout.run(nodes, room.nodes)
    listener(SyncFinished(what=what, states={node: out.state for node, out in outcomes.items()}))
    return outcomes


def choose_images(
    catalog: Catalog, settings: Settings, subdirectory: str | None, names: Sequence[str] | None
) -> dict[str, Entry]:
    """The catalog's images: those named, those in *subdirectory*, or all. Raises UsageError when that is none."""
    unknown = [name for name in names or () if name not in catalog.images]
    if unknown:
        raise UsageError(f"{unknown[0]!r} is not in the catalog", hint="see: hpc-container-manager catalog list")
    prefix = f"{subdirectory}/" if subdirectory else ""
    chosen = names or [name for name in catalog.images if name.startswith(prefix)]
    if not chosen:
        raise UsageError(f"the catalog has no image in {prefix or settings.registry.path}", hint="deploy one first")
    return {name: catalog.images[name] for name in chosen}
