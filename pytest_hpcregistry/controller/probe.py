"""Does a node see the controller's own registry, on a shared file system? Only then does it know when a file there was
modified: a time that the controller made up. An empty file needs no room on a disk that is full.

A node is not asked whether it shares the registry: one that says so, and does not, would get nothing and keep `gc` from
freeing anything.
"""

from __future__ import annotations

import fcntl
import os
import secrets
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..agent.facts import Refused, open_regular
from ..core import layout

PREFIX = ".probe-"
PLACES = (layout.METADATA, layout.STAGING)
"""Root of a node may be nobody on a shared file system, who cannot look into staging/; agents of before this look only
there."""


@dataclass(frozen=True)
class Probe:
    """An empty file: what a node is asked for, and what only the controller and whoever sees the file know.

    Whole seconds, for some shared file systems keep no others, up to 2038, for some no later ones.
    """

    name: str
    modified: int

    @property
    def request(self) -> dict[str, Any]:
        """For the agent's `have`."""
        return {"probe": self.name}

    def is_seen(self, answer: dict[str, Any]) -> bool:
        return bool(answer["probe"] == self.modified)


@contextmanager
def probing(registry: str) -> Iterator[Probe]:
    """A probe in the controller's registry for as long as nodes are asked."""
    probe = Probe(f"{PREFIX}{secrets.token_hex(8)}", secrets.randbelow(1 << 31))
    with ExitStack() as made:
        for place in PLACES:
            made.enter_context(lying_in(Path(registry, place), probe))
        yield probe


@contextmanager
def lying_in(directory: Path, probe: Probe) -> Iterator[None]:
    """The probe in that directory; those of programs that were killed go."""
    path, new = directory / probe.name, directory / f".new{probe.name}"
    remove_leftovers(directory)
    descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)  # before it has the name of one
        new.rename(path)
        os.utime(path, (probe.modified, probe.modified))
        yield
    finally:
        for name in (new, path):
            name.unlink(missing_ok=True)
        os.close(descriptor)


def remove_leftovers(directory: Path) -> None:
    """Remove the probes whose locks nobody holds: those of programs that were killed."""
    for path in directory.glob(f"{PREFIX}*"):
        with suppress(OSError, Refused), os.fdopen(open_regular(str(path)), "rb") as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
            path.unlink()
