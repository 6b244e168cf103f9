"""The directory tree: there, with the right modes and owners, on the controller and on every node."""

from __future__ import annotations

from collections.abc import Iterator

from ..core import layout
from ..core.facts import Facts, Machine
from ..core.model import Cluster
from .finding import Finding, compare

PUBLIC = ("", layout.METADATA, layout.OBJECTS)
PRIVATE = (layout.STAGING, layout.BASES)
FILES = ("README.md", layout.CONFIG, layout.CATALOG)
ROOTS = {layout.PEERS: "0644", layout.SIGNERS: "0644", layout.LOCK: "0600"}


def directories(machine: Machine, facts: Facts, cluster: Cluster) -> Iterator[Finding]:
    for name in (*PUBLIC, *cluster.registry.directories):
        path = layout.inside(cluster.registry.path, name)
        found = machine.path(path)
        if found is None or found.type != "directory":
            kind = found.type if found else "does not exist"
            yield Finding("structure.directories", machine.name, path, kind, "directory")


def modes(machine: Machine, facts: Facts, cluster: Cluster) -> Iterator[Finding]:
    registry = cluster.registry
    expected = f"directory {registry.directory_mode:04o} {registry.owner}:{registry.group}"
    for name in ("", *registry.directories):
        yield from compare("structure.modes", machine, layout.inside(registry.path, name), expected)


def private_directories(machine: Machine, facts: Facts, cluster: Cluster) -> Iterator[Finding]:
    """Where images arrive is closed to everybody but root."""
    for name in PRIVATE:
        path = layout.inside(cluster.registry.path, name)
        yield from compare("structure.private_directories", machine, path, "directory 0700 root")


def files(machine: Machine, facts: Facts, cluster: Cluster) -> Iterator[Finding]:
    registry = cluster.registry
    for name in FILES:
        path = layout.inside(registry.path, name)
        yield from compare("structure.files", machine, path, f"file 0644 {registry.owner}:{registry.group}")
        found = machine.path(path)
        if found and found.size == 0:
            yield Finding("structure.files", machine.name, path, "empty")


def history(machine: Machine, facts: Facts, cluster: Cluster) -> Iterator[Finding]:
    """It names people, and only root adds to it. There is none before the first change."""
    path = layout.inside(cluster.registry.path, layout.HISTORY)
    if machine.path(path):
        yield from compare("structure.history", machine, path, f"file 0640 root:{cluster.registry.group}")


def root_files(machine: Machine, facts: Facts, cluster: Cluster) -> Iterator[Finding]:
    for name, mode in ROOTS.items():
        path = layout.inside(cluster.registry.path, name)
        yield from compare("structure.root_files", machine, path, f"file {mode} root:root")
