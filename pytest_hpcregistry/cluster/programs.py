"""Pack what runs elsewhere: `python -m pytest_hpcregistry.cluster.programs DIRECTORY` makes both programs there.

The same sources give the same bytes, so that phase 1 changes nothing when nothing changed. What is not ours runs as
root on the controller too, so it is packed only when it is, byte for byte, a release that releases.json knows.
"""

from __future__ import annotations

import functools
import hashlib
import importlib.util
import json
import sys
import zipfile
from collections.abc import Iterable, Iterator
from io import BytesIO
from pathlib import Path

from ..core.errors import UsageError

PACKAGE = Path(__file__).resolve().parent.parent
CONTROLLER = (
    "__init__.py",
    "agent/*.py",
    "core/**/*.py",
    "controller/**/*.py",
    "transports/*.py",
)
AGENT = ("__init__.py", "agent/*.py")
CARRIED = {"ClusterShell": "ClusterShell", "PyYAML": "yaml"}  # distribution -> the package that is packed
RELEASES = Path(__file__).with_name("releases.json")  # by distribution and version; made by tools/releases.py
# A link to the program may be changed while it runs: what is imported later comes from where it was started.
START = """\
import os.path, sys
sys.path[0] = os.path.realpath(sys.path[0])
from pytest_hpcregistry.{}.__main__ import main
sys.exit(main())
"""
FIXED_TIME = (1980, 1, 1, 0, 0, 0)  # the earliest that a zip file can hold


@functools.cache
def build_controller() -> bytes:
    """This package's modules for the controller, with PyYAML and ClusterShell as installed here.

    Raises UsageError when those are not as released.
    """
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
    releases: dict[str, dict[str, str]] = json.loads(RELEASES.read_text())
    for distribution, package in CARRIED.items():
        directory = find(distribution, package)
        files = [(f"{package}/{path.relative_to(directory)}", path.read_bytes()) for path in directory.rglob("*.py")]
        if fingerprint(files) not in releases[distribution].values():
            raise refusal(distribution, directory, list(releases[distribution]))
        yield from files


def find(distribution: str, package: str) -> Path:
    """Where *package* is installed. It is not imported: nothing of it runs before it has been looked at."""
    found = importlib.util.find_spec(package)
    if found is None or not found.submodule_search_locations:
        raise UsageError(f"{distribution} is not installed for {sys.executable}", hint=f"pip install {distribution}")
    return Path(found.submodule_search_locations[0])


def fingerprint(files: Iterable[tuple[str, bytes]]) -> str:
    """SHA-256 over names and contents, in the order of the names; the length keeps one from running into the next."""
    total = hashlib.sha256()
    for name, data in sorted(files):
        total.update(f"{name}\0{len(data)}\0".encode())
        total.update(data)
    return total.hexdigest()


def refusal(distribution: str, directory: Path, known: list[str]) -> UsageError:
    import importlib.metadata  # slow to import, and only wanted here

    try:
        version = importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        version = "of no known version"
    what = f"{distribution} {version} in {directory}"
    if version in known:
        return UsageError(
            f"{what} is not as it was released, so it is not sent to the controller",
            hint=f"pip install --force-reinstall --no-deps {distribution}=={version}",
        )
    return UsageError(
        f"{what} is not one of the releases that may be sent to the controller ({', '.join(known)})",
        hint=f"pip install {distribution}=={known[-1]}",
    )


def main(directory: Path) -> int:
    """Write both programs; what keeps them from being packed is one line, since the role shows the last one."""
    try:
        controller, agent = build_controller(), build_agent()
    except UsageError as error:
        print(f"{error}; mend it with: {error.hint}", file=sys.stderr)  # noqa: T201
        return error.exit_code
    (directory / "controller.pyz").write_bytes(controller)
    (directory / "agent.pyz").write_bytes(agent)
    return 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
