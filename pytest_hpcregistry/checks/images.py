"""One image on one machine: there, sound, readable, and the catalog's very bytes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace

from ..core.errors import RUN_SETUP
from ..core.facts import DAMAGED, DIFFERS, MISSING, OLDER, PRESENT, REMOVED, UNMANAGED, UNREACHABLE, Facts, Machine
from ..core.layout import inside, object_path
from ..core.model import Cluster
from ..core.names import CONTROLLER, excerpt
from ..core.nodeset import expand, fold_machines
from ..core.sif import check_header
from .finding import Finding, describe

SYNC = "hpc-container-manager sync"
DEPLOY_AGAIN = "deploy the image again"
BUILD_AGAIN = "its bytes are the catalog's: build the image again, and deploy it"
HINTS = {
    MISSING: SYNC,
    OLDER: SYNC,
    DIFFERS: f"{SYNC} puts the catalog's version there; what is there now is none that the catalog knows",
    REMOVED: f"{SYNC} takes the name away; the image was removed from the catalog",
    UNMANAGED: "the catalog does not know it: deploy it, or remove it by hand",
    UNREACHABLE: "see: hpc-container-manager status",
}

BY_HAND = "apptainer exec"
TOO_LONG = "took too long"
ENDED = (124, 128 + 9)
"""How timeout(1) ends where the time was over, and where a signal was needed."""

IMPLIED = ("images.whole", "images.intact", "images.sound", "images.inspected", "images.starts", "catalog.objects")
IMPLIED_BY_MISSING = ("images.modes", "images.readable")


def state(machine: Machine, facts: Facts, cluster: Cluster, name: str) -> Iterator[Finding]:
    """What is there is the version that the catalog means; if bytes were read, they too."""
    entry = facts.catalog.images.get(name)
    found = facts.state_on(machine, name)
    if found == PRESENT or (found == MISSING and entry is None):
        return
    texts = ["removed from the catalog, and its name is still there"] if found == REMOVED else [found]
    if entry and found == DAMAGED:
        damaged = machine.damaged_objects(name, entry)
        texts = [f"{found}: {object_path(cluster.registry.path, digest)}" for digest in damaged]
    for text in texts:
        yield Finding("images.state", machine.name, name, text, PRESENT, hint_for(machine, facts, name))


def intact(machine: Machine, facts: Facts, cluster: Cluster, name: str) -> Iterator[Finding]:
    """The digest of every byte, read from that machine's own disk a moment ago, is the catalog's."""
    found, entry = machine.image(name), facts.catalog.images[name]
    if found is None or found.sha256 != entry.digest:
        read = f"SHA-256 {found.sha256}" if found and found.sha256 else "was not read"
        expected = f"SHA-256 {entry.digest}"
        yield Finding("images.intact", machine.name, name, read, expected, hint_for(machine, facts, name))


def whole(machine: Machine, facts: Facts, cluster: Cluster, name: str) -> Iterator[Finding]:
    """A regular file, of the size of a version that the catalog knows."""
    found, entry = machine.image(name), facts.catalog.images[name]
    if found is None or found.type != "file" or found.size not in {one.size for one in entry.history()}:
        what = f"{found.type} of {found.size} bytes" if found else MISSING
        expected = f"file of {entry.size} bytes"
        yield Finding("images.whole", machine.name, name, what, expected, hint_for(machine, facts, name))


def sound(machine: Machine, facts: Facts, cluster: Cluster, name: str) -> Iterator[Finding]:
    found = machine.image(name)
    problem = check_header(bytes.fromhex(found.header or ""), found.size) if found else MISSING
    if problem:
        yield Finding("images.sound", machine.name, name, problem, "a sound SIF", hint_for(machine, facts, name))


def inspected(machine: Machine, facts: Facts, cluster: Cluster, name: str) -> Iterator[Finding]:
    """Apptainer there can read it."""
    found = machine.image(name)
    if found is None:
        yield Finding("images.inspected", machine.name, name, MISSING, hint=hint_for(machine, facts, name))
    elif found.inspect is None:
        what = "was not inspected: apptainer is not installed, or it is not a regular file"
        yield Finding("images.inspected", machine.name, name, what, hint="install apptainer there")
    elif found.inspect.exit != 0:
        says = f"apptainer inspect: {found.inspect.says}"
        yield Finding("images.inspected", machine.name, name, says, hint=hint_for(machine, facts, name))


def modes(machine: Machine, facts: Facts, cluster: Cluster, name: str) -> Iterator[Finding]:
    registry, found = cluster.registry, machine.image(name)
    expected = f"file {registry.file_mode:04o} {registry.owner}:{registry.group}"
    if describe(found) != expected:
        mend = f"{SYNC} --repair {name}" if machine.name == CONTROLLER else SYNC
        hint = f"{mend}; after a change of the cluster file, {RUN_SETUP}"
        if found and found.type == "directory":
            hint = hint_for(machine, facts, name)
        yield Finding("images.modes", machine.name, name, describe(found), expected, hint)


def readable(machine: Machine, facts: Facts, cluster: Cluster, name: str) -> Iterator[Finding]:
    """Tried as the user slurm and as the ordinary user, not read off the modes."""
    path = f"{cluster.registry.path}/{name}"
    denied = machine.host.denied
    if not denied:
        yield Finding("images.readable", machine.name, name, "reading was not tried as any user")
    for user, paths in denied.items():
        if paths is None or path in paths:
            yield Finding("images.readable", machine.name, name, f"cannot be read by {user}")


def starts(machine: Machine, facts: Facts, cluster: Cluster, name: str) -> Iterator[Finding]:
    """`apptainer exec` started it there, in the login that gathered the facts, by an ordinary user; where that was
    asked for."""
    ended = machine.host.starts.get(name)
    if ended is None:
        return
    last = (ended.stdout.splitlines() or [""])[-1]
    expected = f"in {inside(cluster.registry.path, name)}"
    if ended.returncode != 0 or last != expected:
        why = TOO_LONG if ended.returncode in ENDED else excerpt(last) or f"exit {ended.returncode}, and no word"
        what = f"apptainer exec by an ordinary user: {why}"
        yield Finding("images.starts", machine.name, name, what, hint=f"by hand on that node: {BY_HAND} {expected[3:]}")


def is_started(machine: Machine, facts: Facts, cluster: Cluster, name: str) -> bool:
    """Whether it was started there without a job, and ran."""
    host = machine.facts.host if machine.unreachable is None else None
    return bool(host and name in host.starts and not list(starts(machine, facts, cluster, name)))


def without_implied(findings: Iterable[Finding]) -> list[Finding]:
    """Of an image that is not what the catalog says, its state alone: what else is found of its bytes follows from it,
    and where it is missing all the rest."""
    every = [(one, expand(one.where)) for one in dict.fromkeys(findings)]
    states = {(node, one.what): one.found for one, where in every if one.id == "images.state" for node in where}

    def is_implied(node: str, one: Finding) -> bool:
        state = states.get((node, one.what))
        return one.id in ((), IMPLIED, IMPLIED + IMPLIED_BY_MISSING)[(state is not None) + (state == MISSING)]

    left = [(one, [node for node in where if not is_implied(node, one)]) for one, where in every]
    return [replace(one, where=fold_machines(where)) for one, where in left if where]


def is_comparable(machine: Machine, facts: Facts, name: str) -> bool:
    """Whether an image of the catalog lies there. Of any other name, and of a machine that could not be asked, there is
    only the state."""
    return machine.unreachable is None and machine.image(name) is not None and name in facts.catalog.images


def hint_for(machine: Machine, facts: Facts, name: str) -> str:
    """What mends an image there: a sync alone brings no bytes to the controller, and nothing in place of damage."""
    entry = facts.catalog.images.get(name)
    state = facts.state_on(machine, name)
    found = machine.image(name) if machine.unreachable is None else None
    if entry and found and found.type == "directory":
        repair = f"{SYNC} --repair {name}" if machine.name == CONTROLLER else SYNC
        return f"a directory lies in the place of {name}, which no sync removes: move it away, then: {repair}"
    if machine.name == CONTROLLER and entry and state in (MISSING, OLDER) and entry.digest in machine.facts.objects:
        return SYNC  # a name that is lost, or that a killed publish has left, follows the catalog when a sync begins
    if state == DAMAGED or (machine.name == CONTROLLER and state not in (UNMANAGED, PRESENT, REMOVED)):
        return f"{SYNC} --repair {name}"
    return HINTS.get(state, BUILD_AGAIN)
