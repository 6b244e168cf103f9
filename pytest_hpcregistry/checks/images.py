"""One image on one machine: there, sound, readable, and the catalog's very bytes."""

from __future__ import annotations

from collections.abc import Iterator

from ..core.catalog import Entry
from ..core.errors import RUN_SETUP
from ..core.facts import CONTROLLER, DAMAGED, DIFFERS, MISSING, OLDER, PRESENT, UNMANAGED, UNREACHABLE, Facts, Machine
from ..core.layout import object_path
from ..core.model import Cluster
from ..core.sif import check_header
from .finding import Finding, describe

SMALLEST = 1 << 20  # bytes; no image of a whole root directory is smaller
SYNC = "hpc-container-manager sync"
DEPLOY_AGAIN = "deploy the image again"
HINTS = {
    MISSING: SYNC,
    OLDER: SYNC,
    DIFFERS: f"{SYNC} puts the catalog's version there; what is there now is none that the catalog knows",
    DAMAGED: f"remove exactly the object that is named, on that machine, then: {SYNC}",
    UNMANAGED: "the catalog does not know it: deploy it, or remove it by hand",
    UNREACHABLE: "see: hpc-container-manager status",
}


def state(machine: Machine, facts: Facts, cluster: Cluster, name: str) -> Iterator[Finding]:
    """What is there is the version that the catalog means; if bytes were read, they too."""
    entry = facts.catalog.images.get(name)
    found = machine.state_of(name, entry)
    if found == PRESENT or (found == MISSING and entry is None):
        return
    texts = [found]
    if entry and found == DAMAGED:
        damaged = machine.damaged_objects(name, entry)
        texts = [f"{found}: {object_path(cluster.registry.path, digest)}" for digest in damaged]
    mends = machine.name == CONTROLLER and found != UNMANAGED
    for text in texts:
        yield Finding("images.state", machine.name, name, text, PRESENT, DEPLOY_AGAIN if mends else HINTS[found])


def intact(machine: Machine, facts: Facts, cluster: Cluster, name: str) -> Iterator[Finding]:
    """The digest of every byte, read from that machine's own disk a moment ago, is the catalog's."""
    found, entry = machine.image(name), entry_of(facts, name)
    if found is None or found.sha256 != entry.digest:
        read = f"SHA-256 {found.sha256}" if found and found.sha256 else "was not read"
        yield Finding("images.intact", machine.name, name, read, f"SHA-256 {entry.digest}", SYNC)


def whole(machine: Machine, facts: Facts, cluster: Cluster, name: str) -> Iterator[Finding]:
    """A regular file, and no smaller than an image can be."""
    found = machine.image(name)
    if found is None:
        yield Finding("images.whole", machine.name, name, MISSING, hint=SYNC)
    elif found.type != "file" or found.size < SMALLEST:
        yield Finding("images.whole", machine.name, name, f"{found.type} of {found.size} bytes", hint=SYNC)


def sound(machine: Machine, facts: Facts, cluster: Cluster, name: str) -> Iterator[Finding]:
    found = machine.image(name)
    problem = check_header(bytes.fromhex(found.header or ""), found.size) if found else MISSING
    if problem:
        yield Finding("images.sound", machine.name, name, problem, "a sound SIF", SYNC)


def inspected(machine: Machine, facts: Facts, cluster: Cluster, name: str) -> Iterator[Finding]:
    """Apptainer there can read it."""
    found = machine.image(name)
    answer = found.inspect if found else None
    if answer is None:
        yield Finding("images.inspected", machine.name, name, "apptainer did not look at it: is it installed?")
    elif answer.exit != 0:
        yield Finding("images.inspected", machine.name, name, f"apptainer inspect: {answer.says}", hint=SYNC)


def modes(machine: Machine, facts: Facts, cluster: Cluster, name: str) -> Iterator[Finding]:
    registry, found = cluster.registry, machine.image(name)
    expected = f"file {registry.file_mode:04o} {registry.owner}:{registry.group}"
    if describe(found) != expected:
        hint = (
            RUN_SETUP if machine.name == CONTROLLER else f"{SYNC}; if the cluster file has changed, before: {RUN_SETUP}"
        )
        yield Finding("images.modes", machine.name, name, describe(found), expected, hint)


def readable(machine: Machine, facts: Facts, cluster: Cluster, name: str) -> Iterator[Finding]:
    """Tried as the user slurm and as the ordinary user, not read off the modes."""
    path = f"{cluster.registry.path}/{name}"
    denied = machine.host.denied
    for user in [user for user, paths in denied.items() if paths is None or path in paths] or ([] if denied else ["?"]):
        yield Finding("images.readable", machine.name, name, f"cannot be read by {user}")


def entry_of(facts: Facts, name: str) -> Entry:
    """The catalog's entry. Raises LookupError for a name that it does not know."""
    return facts.catalog.images[name]
