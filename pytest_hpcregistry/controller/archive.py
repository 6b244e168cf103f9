"""Pack what runs elsewhere: `python -m pytest_hpcregistry.controller.archive DIRECTORY` makes both programs there.

The same sources give the same bytes, so that phase 1 changes nothing when nothing changed.
"""

from __future__ import annotations

import sys
import zipfile
from collections.abc import Iterable, Iterator
from io import BytesIO
from pathlib import Path

import ClusterShell
import yaml

PACKAGE = Path(__file__).resolve().parent.parent
CONTROLLER = (
    "__init__.py",
    "agent/*.py",
    "catalog.py",
    "documents.py",
    "errors.py",
    "fanout.py",
    "filetype.py",
    "naming.py",
    "nodeset.py",
    "pace.py",
    "sif.py",
    "controller/*.py",
    "engines/*.py",
    "transports/__init__.py",
    "transports/conversation.py",
    "transports/local.py",
)
AGENT = ("__init__.py", "agent/*.py")
START = "import sys\nfrom pytest_hpcregistry.{}.__main__ import main\nsys.exit(main())\n"
FIXED_TIME = (1980, 1, 1, 0, 0, 0)  # the earliest that a zip file can hold


def build_controller() -> bytes:
    """This package's modules for the controller, PyYAML and ClusterShell as installed here."""
    return pack([("__main__.py", START.format("controller").encode()), *ours(CONTROLLER), *theirs()])


def build_agent() -> bytes:
    """What phase 1 installs on the nodes."""
    return pack([("__main__.py", START.format("agent").encode()), *ours(AGENT)])


def pack(contents: Iterable[tuple[str, bytes]]) -> bytes:
    buffer = BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in sorted(contents):
            archive.writestr(zipfile.ZipInfo(name, FIXED_TIME), data, zipfile.ZIP_DEFLATED)
    return b"#!/usr/bin/env python3\n" + buffer.getvalue()


def ours(patterns: Iterable[str]) -> Iterator[tuple[str, bytes]]:
    for pattern in patterns:
        for path in PACKAGE.glob(pattern):
            yield f"pytest_hpcregistry/{path.relative_to(PACKAGE)}", path.read_bytes()


def theirs() -> Iterator[tuple[str, bytes]]:
    for module in (yaml, ClusterShell):
        directory = Path(module.__path__[0])
        for path in directory.rglob("*.py"):
            yield f"{directory.name}/{path.relative_to(directory)}", path.read_bytes()


if __name__ == "__main__":
    Path(sys.argv[1], "controller.pyz").write_bytes(build_controller())
    Path(sys.argv[1], "agent.pyz").write_bytes(build_agent())
