"""Repair: objects are read, on each machine by itself; those with other bytes are put away, and good ones brought."""

from __future__ import annotations

import os
import shlex
import stat
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from .. import agent
from ..agent.requests import MOST_IMAGES
from ..core.catalog import Catalog, Entry, Removed, Version
from ..core.errors import CheckFailed, CommandFailed, HpcRegistryError
from ..core.events import DamageFound, Listener, Noticed
from ..core.kinds import write_mode
from ..core.layout import object_path
from ..core.messages import listed
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
DEPLOY_AGAIN = "deploy the image again"
MOST_NAMED = 3  # images in a command that a hint gives
MOST_ASKED = 16
"""Nodes that are asked for bytes which the controller has lost."""


def repair_node(
    session: NodeSession, objects: Mapping[str, int], wanted: Mapping[str, Entry], listener: Listener
) -> set[str]:
    """Have a node read its objects that are versions of what is *wanted*, and put away the damaged ones, which are
    returned. *objects* (digest -> size in bytes) are the files among them."""
    mine = sorted(versions_of(wanted))
    damaged: dict[str, str] = {}
    for start in range(0, len(mine), MOST_IMAGES):
        part = mine[start : start + MOST_IMAGES]
        seconds = ASK_TIMEOUT + sum(objects.get(digest, 0) for digest in part) // SLOWEST
        damaged.update(session.ask("repair", {"objects": part}, timeout=seconds)["damaged"])
    found = {digest: actual for digest, actual in damaged.items() if digest in mine}
    report(session.node, found, wanted, listener)
    return set(found)


def with_same_bytes(
    catalog: Catalog, wanted: Mapping[str, Entry], gone: Mapping[str, Removed]
) -> tuple[dict[str, Entry], dict[str, Removed]]:
    """The images to repair and the removed ones to take away: *wanted* and *gone*, and all others that have a version
    with one of these in common, as their names may lead to the same damaged file.
    """
    chosen = dict(wanted)
    while True:
        digests = versions_of(chosen).keys()
        others = {name: entry for name, entry in catalog.images.items() if name not in chosen}
        more = {name: entry for name, entry in others.items() if digests & versions_of({name: entry}).keys()}
        if not more:
            return chosen, {n: one for n, one in catalog.removed.items() if n in gone or digests & set(one.digests())}
        chosen.update(more)


def lost_images(registry: str, wanted: Mapping[str, Entry]) -> list[str]:
    """The images whose bytes are not on the controller, by a look at their size: no node can get them from there."""
    return [name for name, entry in wanted.items() if not is_there(registry, entry)]


def is_there(registry: str, version: Version) -> bool:
    try:
        found = os.lstat(object_path(registry, version.digest))
    except FileNotFoundError:
        return False
    return stat.S_ISREG(found.st_mode) and found.st_size == version.size


def loss_of(names: Sequence[str]) -> CommandFailed:
    """The error of images that are lost."""
    what = f"the bytes of {listed(names)} are damaged or gone here, and no node can get them"
    which = " ".join(names) if len(names) <= MOST_NAMED else ""
    return CommandFailed(what, where=CONTROLLER, hint=f"hpc-container-manager sync --repair {which}".rstrip())


def raise_all(errors: Sequence[HpcRegistryError]) -> None:
    """Raise the only one as it is; of several one CommandFailed, with all that they say."""
    if len(errors) == 1:
        raise errors[0]
    if errors:
        hints = dict.fromkeys(error.hint for error in errors if error.hint)
        what = "; ".join(error.reason(CONTROLLER) for error in errors)
        raise CommandFailed(what, where=CONTROLLER, hint="\n".join(hints))


def repair_controller(
    settings: Settings,
    wanted: Mapping[str, Entry],
    nodes: Sequence[str],
    listener: Listener,
    *,
    chosen: bool = False,
) -> list[HpcRegistryError]:
    """Read the controller's own objects, those of older versions too, and fetch what is damaged or gone from a node, of
    *nodes*, which may be *chosen* ones only; then give names to what is wanted.

    Returns what failed: versions that are wanted now and of which no node gives the bytes, names that cannot be given.
    """
    registry, mode = settings.registry.path, write_mode(settings.registry.file_mode)
    current = {entry.digest for entry in wanted.values()}
    before = {name: status_of(registry, name) for name in wanted}
    failed, fetched = list[HpcRegistryError](), set[str]()
    for digest, size in versions_of(wanted).items():
        if has_object(registry, digest, size):
            continue
        with refusals():
            found = agent.put_away_damaged(registry, {"objects": [digest]})["damaged"]
        report(CONTROLLER, found, wanted, listener)
        names = names_of(digest, wanted)
        try:
            node = fetch_from_any(settings, digest, size, nodes, chosen=chosen)
        except CommandFailed as error:
            if digest in current:
                what = f"{error.what} ({', '.join(names)})"
                failed.append(CommandFailed(what, where=CONTROLLER, hint=error.hint))
                continue
            listener(Noticed(f"{error}: there is no way back to that version of {', '.join(names)}"))
            continue
        with refusals():
            agent.prove(registry, {"images": [{"name": names[0], "digest": digest, "size": size}], "mode": mode})
        fetched.update(names)
        listener(Noticed(f"{CONTROLLER}: {', '.join(names)} fetched from {node}"))
    images = [
        {"name": name, "digest": entry.digest, "size": entry.size, **signature_of(vars(entry))}
        for name, entry in wanted.items()
        if is_there(registry, entry)
    ]
    try:
        with refusals():
            agent.publish(registry, {"images": images, "mode": mode})
    except CheckFailed as error:
        failed.append(CommandFailed(error.what, where=CONTROLLER, hint=error.hint))
    for name, was in before.items():
        if name not in fetched and status_of(registry, name) != was:
            listener(Noticed(f"{CONTROLLER}: {name} was not the catalog's file, with its owner and mode: it is now"))
    return failed


def status_of(registry: str, name: str) -> tuple[int, ...]:
    """Which file a name is, with owner and mode; nothing where there is none."""
    try:
        found = Path(registry, name).lstat()
    except OSError:
        return ()
    return found.st_dev, found.st_ino, found.st_mode, found.st_uid, found.st_gid


def versions_of(wanted: Mapping[str, Entry]) -> dict[str, int]:
    """Each object that the *wanted* images mean or meant -> its size in bytes."""
    return {version.digest: version.size for entry in wanted.values() for version in entry.history()}


def report(machine: str, damaged: Mapping[str, str], wanted: Mapping[str, Entry], listener: Listener) -> None:
    for digest, actual in damaged.items():
        listener(DamageFound(machine, names_of(digest, wanted), digest, actual, kept=agent.QUARANTINE))


def names_of(digest: str, wanted: Mapping[str, Entry]) -> list[str]:
    """The images of which that object is a version."""
    return [name for name, entry in wanted.items() if digest in {version.digest for version in entry.history()}]


def fetch_from_any(settings: Settings, digest: str, size: int, nodes: Sequence[str], *, chosen: bool = False) -> str:
    """Bring an object from the first of the *nodes*, which may be *chosen* ones only, that has its very bytes; returns
    which that was."""
    asked = nodes[:MOST_ASKED]
    for node in asked:
        try:
            fetch(settings, digest, size, node)
        except HpcRegistryError:
            continue
        return node
    what = f"object {digest[:12]} is damaged or gone here, and {fold(asked)} could not give its bytes"
    hint = "the nodes that were left out may have them: sync --repair without -w and -x" if chosen else DEPLOY_AGAIN
    raise CommandFailed(what, where=CONTROLLER, hint=hint)


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
