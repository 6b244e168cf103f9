"""Unpack this program beside its archive and compile it: out of an archive all is compiled anew at each start."""

from __future__ import annotations

import compileall
import hashlib
import os
import shutil
import sys
import tempfile
import zipfile
from pathlib import Path

from ..core.errors import CommandFailed

DIGITS = 12  # of the archive's SHA-256, which name a directory


def unpack(archive: Path) -> bool:
    """Let `NAME`, a link beside *archive* `NAME.pyz`, lead to a directory with its files; whether that was to be done.

    The link is changed at one stroke, and the directory before it stays: a program that runs finds its files there.
    Raises CommandFailed when a file cannot be compiled, or something else is in the way.
    """
    link = archive.with_suffix("")
    if link.exists() and not link.is_symlink():
        raise CommandFailed(
            f"{link} is in the way: it is no link of ours", where="controller", hint=f"move {link} away"
        )
    directory = link.with_name(f"{link.name}-{hashlib.sha256(archive.read_bytes()).hexdigest()[:DIGITS]}")
    before = Path(os.path.realpath(link))
    if before == directory.resolve() and is_whole(directory, archive):
        return False
    remove_others(link, keep={directory, before})
    new = Path(tempfile.mkdtemp(dir=link.parent, prefix=f".{directory.name}."))
    try:
        fill(new, archive)
        remove(directory)
        new.rename(directory)
    finally:
        shutil.rmtree(new, ignore_errors=True)
    lead(link, directory)
    return True


def is_whole(directory: Path, archive: Path) -> bool:
    """Whether *directory* has every module of the archive, byte for byte, and no other."""
    with zipfile.ZipFile(archive) as files:
        wanted = {directory / name: files.read(name) for name in files.namelist()}
    try:
        return set(directory.rglob("*.py")) == set(wanted) and all(
            path.read_bytes() == data for path, data in wanted.items()
        )
    except OSError:
        return False


def fill(directory: Path, archive: Path) -> None:
    """With bytecode for the Python that runs this."""
    directory.chmod(0o755)
    with zipfile.ZipFile(archive) as files:
        files.extractall(directory)
    if not compileall.compile_dir(directory, quiet=2):
        raise CommandFailed(f"{archive} cannot be compiled by {sys.executable}", where="controller")


def lead(link: Path, directory: Path) -> None:
    new = link.with_name(f".{link.name}.{os.getpid()}")
    new.symlink_to(directory.name)
    new.replace(link)


def remove_others(link: Path, keep: set[Path]) -> None:
    """Versions before the one before, and what an unpacking left that was killed."""
    for pattern in (f"{link.name}-*", f".{link.name}-*", f".{link.name}.[0-9]*"):
        for path in set(link.parent.glob(pattern)) - keep:
            remove(path)


def remove(path: Path) -> None:
    """Whatever it is, if it is there."""
    if path.is_symlink() or path.is_file():
        path.unlink()
    elif path.exists():
        shutil.rmtree(path)
