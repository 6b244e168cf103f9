"""Free what nothing names any more, on the controller and on all nodes: the catalog first, bytes after."""

from __future__ import annotations

from collections.abc import Mapping, Set
from contextlib import AbstractContextManager, nullcontext
from dataclasses import fields
from typing import Any

from .. import agent
from ..agent.gc import clean, sweep
from ..core.catalog import Catalog
from ..core.errors import CommandFailed, HpcRegistryError, Unreachable
from ..core.events import NOT_COUNTED, Freed, GcFinished, GcStarted, Listener, Noticed
from ..core.fanout import fan_out
from ..core.history import now
from ..core.machine import SlurmFacts
from ..core.names import CONTROLLER, excerpt
from ..core.settings import Settings
from ..core.slurm_states import out_of_service
from .answers import HINT
from .catalog import catalog_of, read_catalog_text, text_of
from .limits import SESSION, make_room
from .lock import only_one_sync
from .nodes import list_nodes
from .probe import probing
from .session import NodeSession, encoded

GRACE = 3600  # seconds that an object stays after its last name has gone, or since it came
TIMEOUT = 300  # seconds for one machine to look at its processes and to remove files


def collect(
    settings: Settings,
    listener: Listener,
    *,
    keep: int,
    grace: int,
    by: str,
    turn: AbstractContextManager[None] | None = None,
    dry_run: bool = False,
    slurm: SlurmFacts | None = None,
) -> dict[str, Freed]:
    """Keep *keep* older versions of each image; free all that is older than *grace* seconds and not in use.

    Returns what became of "controller" and of each node. In its *turn*, for no sync may run meanwhile: it would have to
    see again what it has counted on. By *slurm*, its view, a node that is out of service need not answer.
    """
    nodes, away = list_nodes(settings.nodes, slurm), out_of_service(slurm)
    room = make_room(len(nodes), settings.sync.window, held=0, each=SESSION)

    with turn or (nullcontext() if dry_run else only_one_sync(settings.registry.path)):
        text, catalog = trim(settings.registry.path, keep, dry_run)
        listener(GcStarted(nodes=nodes, keep=keep, grace=grace, by=by, dry_run=dry_run))
        if room.note:
            listener(Noticed(message=room.note))
        request = request_for(text, catalog, grace, dry_run)
        common = encoded(request)

        sharers: set[str] = set()

        def ask(node: str) -> Freed:
            with NodeSession(node, settings) as session:
                shared = probe.is_seen(session.ask("have", probe.request))
                if shared:
                    sharers.add(node)
                return freed(session.ask("gc", {"shared": shared}, timeout=TIMEOUT, common=common), shared)

        with probing(settings.registry.path) as probe:
            answers = fan_out(nodes, ask, window=room.window)
        by_node = {
            node: failure(node, one, away.get(node, "")) if isinstance(one, HpcRegistryError) else one
            for node, one in answers.items()
        }
        machines = {CONTROLLER: sweep_here(settings.registry.path, request, by_node, sharers), **by_node}
    listener(GcFinished(machines=machines, dry_run=dry_run))
    return machines


def trim(registry: str, keep: int, dry_run: bool) -> tuple[str, Catalog]:
    """Drop what is beyond *keep* from the catalog. Returns its text and the catalog; both only thought of in a dry run.

    Raises ConfigError when the catalog is broken: then nothing is known to be unnamed.
    """
    if dry_run:
        text = read_catalog_text(registry)
        return text, catalog_of(text, registry).trimmed(keep, now())
    with agent.locked(registry) as root:
        text = read_catalog_text(registry)
        catalog = catalog_of(text, registry)
        trimmed = catalog.trimmed(keep, now())
        if trimmed != catalog:
            text = text_of(trimmed, registry)
            agent.publish_catalog(root, text, [])
        return text, trimmed


def request_for(text: str, catalog: Catalog, grace: int, dry_run: bool) -> dict[str, Any]:
    return {
        "catalog": text,
        "objects": catalog.current(),
        "keep": catalog.digests(),
        "names": sorted(catalog.images),
        "spare": [],
        "grace": grace,
        "dry_run": dry_run,
    }


def sweep_here(registry: str, request: dict[str, Any], by_node: Mapping[str, Freed], sharers: Set[str]) -> Freed:
    """The controller's own registry, last: where nodes share it (*sharers*), what they have open is in use here."""
    # Of one on which Slurm does not count, too: a job that goes on there may have bytes of this registry open.
    silent = {node for node, one in by_node.items() if one.state in ("failed", "unreachable", NOT_COUNTED)}
    # A node of which nothing is known shares it if others do, or if there is none that does not.
    if silent and (sharers or not any(one.state == "freed" for one in by_node.values())):
        why = "nodes that may share this registry could not be asked, so nothing is freed"
        return Freed("failed", why)
    spare = [digest for one in by_node.values() if one.state == "shared" for digest in one.in_use]
    try:
        if request["dry_run"]:
            return freed(sweep(registry, {**request, "spare": spare}, clean(registry, request)), False)
        cleaned = clean(registry, request)
        with agent.locked(registry):
            # Read again: somebody may have deployed since.
            text = read_catalog_text(registry)
            anew = request_for(text, catalog_of(text, registry), request["grace"], False)
            return freed(sweep(registry, {**anew, "spare": spare}, cleaned), False)
    except (agent.Refused, OSError) as error:
        return Freed("failed", str(error))


def freed(answer: Mapping[str, Any], shared: bool) -> Freed:
    """What a machine says, if it did what it was asked to."""
    if answer["shared"] != shared:
        raise CommandFailed("the agent did not look at the registry that it was asked to look at", hint=HINT)
    told = {one.name: answer[one.name] for one in fields(Freed) if one.name in answer}
    return Freed(**{**told, "state": "shared" if shared else "freed"})


def failure(node: str, error: HpcRegistryError, away: str = "") -> Freed:
    """What became of a node; *away* is why Slurm does not count on it."""
    if away and isinstance(error, Unreachable):
        return Freed(NOT_COUNTED, away)
    state = "unreachable" if isinstance(error, Unreachable) else "failed"
    return Freed(state, excerpt(error.reason(node)), error.hint)
