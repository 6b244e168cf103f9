"""Does a node see the controller's own registry, on a shared file system? Only then does it know when a file there was
modified: a time that the controller made up. An empty file needs no room on a disk that is full.

A node is not asked whether it shares the registry: one that says so, and does not, would get nothing and keep `gc` from
freeing anything.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .. import agent


@dataclass(frozen=True)
class Probe:
    """A file in staging/: what a node is asked for, and what only the controller and whoever sees the file know.

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
    probe = Probe(f".probe-{secrets.token_hex(8)}", secrets.randbelow(1 << 31))
    path = Path(registry, agent.STAGING, probe.name)
    os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
    try:
        os.utime(path, (probe.modified, probe.modified))
        yield probe
    finally:
        path.unlink(missing_ok=True)
