"""Files that are written for a user: nothing of theirs is overwritten by accident, and nothing is there by half."""

from __future__ import annotations

import os
from pathlib import Path

from ..core.errors import CommandFailed, UsageError
from ..core.names import visible
from .workspace import working_directory


def check_output(out: Path, force: bool, source: Path | None = None) -> None:
    """Raise UsageError where *out* must not be written: it is no regular file, is the *source* that it shall be made
    of, or exists without *force*."""
    if not (out.is_symlink() or out.exists()):
        return
    if not (out.is_symlink() or out.is_file()):
        raise UsageError(f"{visible(out)} exists and is not a regular file")
    if source is not None and out.exists() and source.exists() and out.samefile(source):
        raise UsageError(f"{visible(out)} is what it shall be made of", hint="give it another name")
    if not force:
        raise UsageError(f"{visible(out)} exists already", hint="give --force to overwrite it, or another name")


def write_file(out: Path, content: bytes) -> None:
    """Write *out* whole or not at all. Raises UsageError or CommandFailed when it cannot be written."""
    with working_directory(out) as directory:
        made = directory / "content"
        try:
            made.write_bytes(content)
        except OSError as error:
            raise CommandFailed(f"{visible(out)}: cannot be written: {error.strerror}") from error
        put_in_place(made, out, 0o644)


def put_in_place(made: Path, out: Path, mode: int = 0o755) -> None:
    """Give the finished file its name; after this it survives a loss of power."""
    try:
        made.chmod(mode)
        fsync(made)
        made.replace(out)
        fsync(out.parent)
    except OSError as error:
        raise CommandFailed(f"{visible(out)}: cannot be written: {error.strerror}") from error


def fsync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
