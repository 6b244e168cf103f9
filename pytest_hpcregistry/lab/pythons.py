"""Older Pythons, for machines of the lab whose system has one: those that this machine has, by its PATH or by pyenv."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

from ..core.errors import UsageError
from ..transports.process import run_process

PREFIX = "import sys; print(sys.base_prefix)"


def find(version: str) -> Path:
    """Where a Python of that version, such as 3.6, is installed. Raises UsageError when there is none."""
    for program in candidates(version):
        said = run_process("this machine", [str(program), "-c", PREFIX], timeout=30)
        if said.exit_code == 0:
            return Path(said.stdout.strip())
    raise UsageError(f"this machine has no Python {version}", hint=f"pyenv install {version}")


def candidates(version: str) -> Iterator[Path]:
    """Programs that may be that Python: pyenv's own name for it fails where another one is chosen."""
    if found := shutil.which(f"python{version}"):
        yield Path(found)
    pyenv = Path(os.environ.get("PYENV_ROOT") or Path.home() / ".pyenv")
    yield from sorted(pyenv.glob(f"versions/{version}.*/bin/python{version}"))
