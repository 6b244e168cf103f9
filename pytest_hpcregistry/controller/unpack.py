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
    Raises CommandFailed when a file cannot be compiled.
    """
    link = archive.with_suffix("")
    directory = link.with_name(f"{link.name}-{hashlib.sha256(archive.read_bytes()).hexdigest()[:DIGITS]}")
    before = Path(os.path.realpath(link))
    if before == directory.resolve() and (directory / "__main__.py").is_file():
        return False
    new = Path(tempfile.mkdtemp(dir=link.parent, prefix=f".{directory.name}."))
    try:
        fill(new, archive)
        shutil.rmtree(directory, ignore_errors=True)
        new.rename(directory)
    finally:
        shutil.rmtree(new, ignore_errors=True)
    lead(link, directory)
    for other in link.parent.glob(f"{link.name}-*"):
        if other not in (directory, before):
            shutil.rmtree(other)
    return True


def fill(directory: Path, archive: Path) -> None:
    """With bytecode for the Python that runs this."""
    directory.chmod(0o755)
    with zipfile.ZipFile(archive) as files:
        files.extractall(directory)
    if not compileall.compile_dir(directory, quiet=2):
        raise CommandFailed(f"{archive} cannot be compiled by {sys.executable}", where="controller")


def lead(link: Path, directory: Path) -> None:
    new = link.with_name(f".{link.name}.{os.getpid()}")
    new.unlink(missing_ok=True)
    new.symlink_to(directory.name)
    new.replace(link)
