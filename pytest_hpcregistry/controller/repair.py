"""Repair: objects are read, on each machine by itself; those with other bytes are put away, and good ones brought."""

from __future__ import annotations

import shlex
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from .. import agent
from ..agent.requests import MOST_IMAGES
from ..core.catalog import Entry
from ..core.errors import CommandFailed, HpcRegistryError
from ..core.events import DamageFound, Listener, Noticed
from ..core.kinds import write_mode
from ..core.layout import object_path
from ..core.names import CONTROLLER
from ..core.nodeset import fold
from ..core.settings import Settings
from ..transports.bounded import BoundedFile
from ..transports.process import run_process
from ..transports.ssh import ssh_to_node
from .nodes import ASK_TIMEOUT
from .publish import has_object, receive, refusals, signature_of
from .routes import route_to
from .session import NodeSession

SLOWEST = 20_000_000
"""Bytes/s below which reading objects, here or on a node, and fetching one are given up."""
MOST_ASKED = 16
"""Nodes that are asked for bytes which the controller has lost."""


def repair_node(
    session: NodeSession, objects: Mapping[str, int], wanted: Mapping[str, Entry], listener: Listener
) -> set[str]:
    """Have a node read those of its *objects* (digest -> size in bytes) that are versions of what is *wanted*, and put
    away the damaged ones, which are returned."""
    mine = sorted(versions_of(wanted).keys() & objects.keys())
    damaged: dict[str, str] = {}
    for start in range(0, len(mine), MOST_IMAGES):
        part = mine[start : start + MOST_IMAGES]
        seconds = ASK_TIMEOUT + sum(objects[digest] for digest in part) // SLOWEST
        damaged.update(session.ask("repair", {"objects": part}, timeout=seconds)["damaged"])
    found = {digest: actual for digest, actual in damaged.items() if digest in mine}
    report(session.node, found, wanted, listener)
    return set(found)


def repair_controller(
    settings: Settings, wanted: Mapping[str, Entry], nodes: Sequence[str], listener: Listener
) -> None:
    """Read the controller's own objects, those of older versions too, and fetch what is damaged or gone from a node;
    then give names to what is wanted.

    Raises CommandFailed when no node gives the bytes of a version that is wanted now.
    """
    registry, mode = settings.registry.path, write_mode(settings.registry.file_mode)
    current = {entry.digest for entry in wanted.values()}
    for digest, size in versions_of(wanted).items():
        if has_object(registry, digest, size):
            continue
        with refusals():
            found = agent.put_away_damaged(registry, {"objects": [digest]})["damaged"]
        report(CONTROLLER, found, wanted, listener)
        names = names_of(digest, wanted)
        try:
            node = fetch_from_any(settings, digest, size, nodes)
        except CommandFailed as error:
            if digest in current:
                raise
            listener(Noticed(f"{error}: there is no way back to that version of {', '.join(names)}"))
            continue
        with refusals():
            agent.prove(registry, {"images": [{"name": names[0], "digest": digest, "size": size}], "mode": mode})
        listener(Noticed(f"{CONTROLLER}: {', '.join(names)} fetched from {node}"))
    images = [
        {"name": name, "digest": entry.digest, "size": entry.size, **signature_of(vars(entry))}
        for name, entry in wanted.items()
    ]
    with refusals():
        agent.publish(registry, {"images": images, "mode": mode})


def versions_of(wanted: Mapping[str, Entry]) -> dict[str, int]:
    """Each object that the *wanted* images mean or meant -> its size in bytes."""
    return {version.digest: version.size for entry in wanted.values() for version in entry.history()}


def report(machine: str, damaged: Mapping[str, str], wanted: Mapping[str, Entry], listener: Listener) -> None:
    for digest, actual in damaged.items():
        listener(DamageFound(machine, names_of(digest, wanted), digest, actual, kept=agent.QUARANTINE))


def names_of(digest: str, wanted: Mapping[str, Entry]) -> list[str]:
    """The images of which that object is a version."""
    return [name for name, entry in wanted.items() if digest in {version.digest for version in entry.history()}]


def fetch_from_any(settings: Settings, digest: str, size: int, nodes: Sequence[str]) -> str:
    """Bring an object from the first of the *nodes* that has its very bytes; returns which that was."""
    asked = nodes[:MOST_ASKED]
    for node in asked:
        try:
            fetch(settings, digest, size, node)
        except HpcRegistryError:
            continue
        return node
    what = f"object {digest[:12]} is damaged or gone here, and {fold(asked)} could not give its bytes"
    raise CommandFailed(what, where=CONTROLLER, hint="deploy the image again")


def fetch(settings: Settings, digest: str, size: int, node: str) -> None:
    """Copy an object of a *node* to the controller's staging directory by the administrator's ordinary ssh, as facts
    are gathered: the sync key reads nothing. Raises HpcRegistryError, also when other bytes arrive.
    """
    registry = settings.registry.path
    route = route_to(node, settings.routes)
    argv = [*ssh_to_node(node, route, settings.sync.connect_timeout), *route.as_root]
    argv += ["cat", shlex.quote(object_path(registry, digest))]
    with tempfile.TemporaryDirectory(dir=Path(registry, agent.STAGING)) as directory:
        copy = Path(directory, digest)
        with BoundedFile(copy, size) as stream:
            run_process(node, argv, timeout=ASK_TIMEOUT + size // SLOWEST, stdout=stream).check()
        with copy.open("rb") as found:
            receive(registry, digest, size, found)
