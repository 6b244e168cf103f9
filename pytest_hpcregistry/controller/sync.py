"""Sync is convergence: what the catalog wants, minus what a node has, moves. Run twice, the second moves nothing."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from typing import Any

from ..core.catalog import Catalog, Entry, Removed, unknown_image, without
from ..core.errors import DEPLOY_FIRST, HpcRegistryError, UsageError
from ..core.events import Listener, Noticed, Planned, SyncFinished, SyncStarted
from ..core.machine import SlurmFacts
from ..core.messages import listed
from ..core.names import check_directory
from ..core.settings import Settings
from ..core.slurm_states import out_of_service
from .catalog import catalog_of, read_catalog_text, text_of
from .engines import check_method
from .follow import follow_catalog, plan_to_follow
from .forecast import forecast
from .limits import RSYNC, SESSION, make_room
from .lock import only_one_sync
from .nodes import list_nodes
from .outcome import Outcome
from .plan import Plan
from .repair import loss_of, lost_images, raise_all, repair_controller, with_same_bytes
from .rollout import Rollout


def sync(
    settings: Settings,
    subdirectory: str | None,
    names: Sequence[str] | None,
    listener: Listener,
    *,
    turn: AbstractContextManager[None] | None = None,
    repair: bool = False,
    chosen: bool = False,
    users: bool = False,
    slurm: SlurmFacts | None = None,
) -> dict[str, Outcome]:
    """Bring the catalog's images (those in *subdirectory*, those named, or all) to every node, then the catalog itself
    where everything in it is present; and take away the names of those that were removed. In its *turn*, since no two
    syncs run at once.

    With *repair* every machine reads its copies first, and damaged ones are replaced: the controller's from a node,
    which may be one of *chosen* ones only. What the controller has no bytes of is raised when all else is done.
    With *users* it is reported who has a removed image's bytes open. By *slurm*, its view, a node that is out of
    service need not answer.
    """
    nodes = check(settings, subdirectory, slurm)
    with turn or only_one_sync(settings.registry.path):
        # Read once, and after the wait: what was wanted before another deploy must not be brought back over it.
        text, catalog = follow_catalog(settings, listener)
        wanted, gone = choose_images(catalog, settings, subdirectory, names)
        what = in_words(subdirectory, names, wanted)
        if repair:
            named = wanted
            wanted, gone = with_same_bytes(catalog, wanted, gone)
            if also := [name for name in wanted if name not in named]:
                listener(Noticed(f"{listed(also)}: repaired too, as bytes of it are those of {what}"))
        # A relay has all the objects open that a node lacks, which may be all that are wanted.
        files = len(wanted) if settings.sync.method in ("auto", "relay") else 0
        room = make_room(len(nodes), settings.sync.window, held=SESSION, each=RSYNC, files=files)
        listener(SyncStarted(what=what, nodes=nodes))
        if room.note:
            listener(Noticed(message=room.note))
        failed: list[HpcRegistryError] = []
        if repair:
            failed = repair_controller(settings, wanted, nodes, listener, chosen=chosen)
        lost = lost_images(settings.registry.path, wanted)
        if lost and not repair:
            failed = [loss_of(lost)]
        wanted = without(wanted, lost)
        settings = replace(settings, sync=replace(settings.sync, window=room.window))
        away = out_of_service(slurm)
        how: dict[str, Any] = {"repair": repair, "gone": gone, "users": users, "out_of_service": away}
        rollout = Rollout(settings, what, wanted, (text, catalog), listener, **how)
        outcomes = rollout.run(nodes, room.nodes)
    listener(SyncFinished(what=what, states={node: out.state for node, out in outcomes.items()}))
    raise_all(failed)
    return outcomes


def plan(
    settings: Settings,
    subdirectory: str | None,
    names: Sequence[str] | None,
    listener: Listener,
    *,
    after: Catalog | None = None,
    users: bool = False,
    slurm: SlurmFacts | None = None,
) -> dict[str, Outcome]:
    """What a sync would do, if the catalog were *after*; nothing is changed, and no other sync waited for. Raises as
    sync.
    """
    nodes = check(settings, subdirectory, slurm)
    registry = settings.registry.path
    text = read_catalog_text(registry)
    now = catalog_of(text, registry)
    catalog, text = (now, text) if after is None else (after, text_of(after, registry))
    wanted, gone = choose_images(catalog, settings, subdirectory, names)
    what = in_words(subdirectory, names, wanted)
    room = make_room(len(nodes), settings.sync.window, held=SESSION, each=RSYNC)
    listener(SyncStarted(what=what, nodes=nodes, dry_run=True))
    for line in plan_to_follow(registry, now):
        listener(Planned(line))
    # What is not published yet is not there either.
    lost = lost_images(registry, {name: entry for name, entry in wanted.items() if now.images.get(name) == entry})
    wanted = without(wanted, lost)
    settings = replace(settings, sync=replace(settings.sync, window=room.window))
    how: dict[str, Any] = {"gone": gone, "users": users, "out_of_service": out_of_service(slurm)}
    planned = Plan(settings, what, wanted, (text, catalog), listener, **how)
    outcomes = planned.run(nodes, room.nodes)
    for line in forecast(settings.registry.path, outcomes, settings.sync.limit_rate):
        listener(Planned(line))
    listener(SyncFinished(what=what, states={node: out.state for node, out in outcomes.items()}))
    raise_all([loss_of(lost)] if lost else [])
    return outcomes


def check(settings: Settings, subdirectory: str | None, slurm: SlurmFacts | None) -> list[str]:
    """The nodes to sync; raises UsageError when the directory or the engine is none."""
    if subdirectory is not None:
        check_directory(subdirectory, settings.registry.directories)
    check_method(settings.sync.method)
    return list_nodes(settings.nodes, slurm)


def in_words(subdirectory: str | None, names: Sequence[str] | None, wanted: Collection[str]) -> str:
    """What is synced: the images named, of which none may be *wanted* any more, a directory, or all."""
    if names:
        return f"{'' if wanted else 'the removal of '}{', '.join(names)}"
    return subdirectory or "all images"


def choose_images(
    catalog: Catalog, settings: Settings, subdirectory: str | None, names: Sequence[str] | None
) -> tuple[dict[str, Entry], dict[str, Removed]]:
    """The catalog's images, and the removed ones: those named, those in *subdirectory*, or all. Raises UsageError when
    that is none.
    """
    known = {**catalog.images, **catalog.removed}
    unknown = [name for name in names or () if name not in known]
    if unknown:
        raise unknown_image(unknown[0], known)
    prefix = f"{subdirectory}/" if subdirectory else ""
    chosen = names or [name for name in known if name.startswith(prefix)]
    if not chosen:
        raise UsageError(f"the catalog has no image in {prefix or settings.registry.path}", hint=DEPLOY_FIRST)
    wanted = {name: catalog.images[name] for name in chosen if name in catalog.images}
    return wanted, {name: catalog.removed[name] for name in chosen if name in catalog.removed}
