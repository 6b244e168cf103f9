"""Caches that are directories of files: our own, and Apptainer's."""

from __future__ import annotations

import contextlib
import fcntl
import shutil
from functools import partial
from pathlib import Path

from ...core.cache import cache_directory
from ...core.errors import CommandFailed
from ...core.names import visible
from ...transports import Transport
from ..running.container import find_program
from .entry import LONG, SHORT, Cache, Entry, measure

NOT_CONTENT = ("*.lock", "containers.conf")
"""A lock that is removed locks nothing any more; and some bytes that each start of Podman needs."""


def find_own(here: Transport) -> Cache:
    """Our own: what tests and the lab keep, and what a killed one left."""
    directory = cache_directory()
    if not directory.is_dir():
        return Cache("hpcregistry", missing=f"no directory {visible(directory)}")
    content = (path for path in directory.iterdir() if not any(map(path.match, NOT_CONTENT)))
    kept = {str(path): path for path in sorted(content)}
    entries = [
        Entry(kept[path].name, kept[path].lstat().st_mtime, {path: size}, partial(remove_own, kept[path]))
        for path, size in measure(kept, here).items()
    ]
    return Cache("hpcregistry", str(directory), entries)


def remove_own(path: Path, days: int | None) -> None:
    """Raises CommandFailed for what cannot be removed, and while anybody holds a lock of this cache."""
    with contextlib.ExitStack() as locks:
        for lock in path.parent.glob("*.lock"):
            try:
                fcntl.flock(locks.enter_context(lock.open("w")), fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                raise CommandFailed(f"in use: {visible(lock.name)} is held") from None
        try:
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            else:
                path.unlink()
        except OSError as error:
            raise CommandFailed(f"{visible(path)}: cannot be removed: {error.strerror}") from error


def find_apptainer(here: Transport) -> Cache:
    """Apptainer's, one entry that its own program empties. It holds downloads only, so its oldest file is its age."""
    program = find_program(here.run)
    if program is None:
        return Cache("apptainer", missing="there is no Apptainer")
    directory = f'printf %s "${{{program.upper()}_CACHEDIR:-$HOME/.{program}}}/cache"'
    path = here.run(["sh", "-c", directory], timeout=SHORT).check().stdout
    times = here.run(["find", path, "-type", "f", "-printf", "%T@\n"], timeout=LONG).stdout.split()

    def remove(days: int | None) -> None:
        older = [] if days is None else ["--days", str(days)]
        here.run([program, "cache", "clean", "--force", *older], timeout=LONG).check()

    entry = [Entry("downloads", min(map(float, times)), measure([path], here), remove)] if times else []
    return Cache(program, path, entry)
