"""The directories that conversions and builds work in: locked while they are used, gone afterwards."""

from __future__ import annotations

import contextlib
import fcntl
import glob
import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from ..core.errors import UsageError
from ..core.names import visible

YOUNG = 60.0
"""Seconds in which a directory that was just made may not be locked yet."""


@contextlib.contextmanager
def working_directory(out: Path) -> Iterator[Path]:
    """A directory beside *out*, so that the finished file can be renamed into place; gone afterwards in any case.

    What a killed conversion to *out* left there is removed.
    """
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        directory = make_directory(f".{out.name}.", out.parent)
    except OSError as error:
        raise UsageError(f"{visible(out.parent)}: cannot be written: {error.strerror}") from error
    with directory as name, locked(Path(name)):
        yield Path(name).absolute()


@contextlib.contextmanager
def scratch_directory(prefix: str) -> Iterator[Path]:
    """A directory for temporary files, gone afterwards in any case. What a killed program left there is removed."""
    with make_directory(prefix, Path(tempfile.gettempdir())) as name, locked(Path(name)):
        yield Path(name)


def make_directory(prefix: str, parent: Path) -> tempfile.TemporaryDirectory[str]:
    """A new directory, where those of killed programs are removed. Raises OSError."""
    remove_leftovers(prefix, parent)
    # Apptainer's root file systems may hold directories without write permission, so errors are not fatal here.
    return tempfile.TemporaryDirectory(prefix=prefix, dir=parent, ignore_cleanup_errors=True)


@contextlib.contextmanager
def locked(directory: Path) -> Iterator[None]:
    """Who works in a directory holds its lock: one that nobody holds is a leftover. Raises BlockingIOError."""
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    finally:
        os.close(descriptor)


def remove_leftovers(prefix: str, parent: Path) -> None:
    """Remove our directories in *parent*, whose users were killed a minute ago or more."""
    for directory in parent.glob(f"{glob.escape(prefix)}????????"):
        with contextlib.suppress(OSError):
            found = directory.lstat()
            if found.st_uid == os.geteuid() and time.time() - found.st_mtime > YOUNG:
                with locked(directory):
                    shutil.rmtree(directory, ignore_errors=True)
