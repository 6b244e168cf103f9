"""Build the controller program: `python -m pytest_hpcregistry.controller.archive DEST` writes one runnable archive.

The same sources give the same bytes, so that phase 1 changes nothing when nothing changed.
"""

from __future__ import annotations

import sys
import zipfile
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path

import ClusterShell
import yaml

PACKAGE = Path(__file__).resolve().parent.parent
MODULES = (
    "__init__.py",
    "agent.py",
    "catalog.py",
    "documents.py",
    "errors.py",
    "fanout.py",
    "filetype.py",
    "naming.py",
    "nodeset.py",
    "sif.py",
    "controller/*.py",
    "engines/*.py",
    "transports/__init__.py",
    "transports/local.py",
)
START = "import sys\nfrom pytest_hpcregistry.controller.__main__ import main\nsys.exit(main())\n"
FIXED_TIME = (1980, 1, 1, 0, 0, 0)  # the earliest that a zip file can hold


def build() -> bytes:
    """The archive: this package's modules for the controller, PyYAML and ClusterShell as installed here."""
    buffer = BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in sorted(contents()):
            archive.writestr(zipfile.ZipInfo(name, FIXED_TIME), data, zipfile.ZIP_DEFLATED)
    return b"#!/usr/bin/env python3\n" + buffer.getvalue()


def contents() -> Iterator[tuple[str, bytes]]:
    yield "__main__.py", START.encode()
    for pattern in MODULES:
        for path in PACKAGE.glob(pattern):
            yield f"pytest_hpcregistry/{path.relative_to(PACKAGE)}", path.read_bytes()
    for module in (yaml, ClusterShell):
        directory = Path(module.__path__[0])
        for path in directory.rglob("*.py"):
            yield f"{directory.name}/{path.relative_to(directory)}", path.read_bytes()


if __name__ == "__main__":
    Path(sys.argv[1]).write_bytes(build())
