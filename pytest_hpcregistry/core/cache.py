"""The program's own cache on a workstation, and the names of images that are made here and can be made again."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

OWN_IMAGES = "localhost/hpcregistry-"
"""How the names of the lab's node image and of the bases of images begin."""


def cache_directory() -> Path:
    """`$XDG_CACHE_HOME/hpcregistry`."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache", "hpcregistry")


@contextmanager
def only_one(what: str) -> Iterator[None]:
    """Make *what* once, though two ask for it at the same time: the second waits. A kernel lock, so none is stale."""
    path = cache_directory() / f"{what}.lock"
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
