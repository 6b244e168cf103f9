"""Take in a release of what the controller program carries: `python -m tools.releases PyYAML==6.0.4 ...`

Fetches the release's source distribution and its wheels by pip, compares the modules in all of them, and writes their
fingerprint where `cluster/programs.py` looks for it.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from collections.abc import Iterator
from pathlib import Path

from pytest_hpcregistry.cluster.programs import CARRIED, RELEASES, fingerprint

PYTHONS = ("3.9", "3.10", "3.11", "3.12", "3.13", "3.14")
PLATFORMS = ("manylinux2014_x86_64", "manylinux_2_17_x86_64", "manylinux_2_28_x86_64")
WHEELS = ["--only-binary=:all:", *(f"--platform={name}" for name in PLATFORMS)]
SOURCES = [["--no-binary=:all:"], *([*WHEELS, f"--python-version={version}"] for version in PYTHONS)]
ABSENT = re.compile(r"No matching distribution found")


def main(words: list[str]) -> int:
    known = json.loads(RELEASES.read_text()) if RELEASES.exists() else {}
    for word in words:
        name, _, version = word.partition("==")
        known.setdefault(name, {})[version] = agreed(name, version)
    ordered = {name: {v: known[name][v] for v in sorted(known[name], key=as_numbers)} for name in sorted(known)}
    RELEASES.write_text(json.dumps(ordered, indent=2) + "\n")
    return 0


def as_numbers(version: str) -> list[int]:
    return [int(part) for part in version.split(".")]


def agreed(name: str, version: str) -> str:
    """The fingerprint that all files of this release give; a release whose files differ is not taken in."""
    with tempfile.TemporaryDirectory() as directory:
        for number, options in enumerate(SOURCES):
            download(f"{name}=={version}", options, Path(directory, str(number)))
        prints = {path.name: fingerprint(read(path, CARRIED[name])) for path in sorted(Path(directory).glob("*/*"))}
    for file, found in prints.items():
        print(f"{found}  {file}", flush=True)  # noqa: T201 - a script for people
    if len(set(prints.values())) != 1:
        sys.exit(
            f"{name} {version}: its files do not hold the same modules" if prints else f"{name} {version}: no files"
        )
    return next(iter(prints.values()))


def download(release: str, options: list[str], directory: Path) -> None:
    argv = [
        sys.executable,
        "-m",
        "pip",
        "download",
        "--quiet",
        "--no-deps",
        "--dest",
        str(directory),
        *options,
        release,
    ]
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    if done.returncode != 0 and not ABSENT.search(done.stderr):  # not every release has a wheel for every Python
        sys.exit(f"{release}: pip download said: {done.stderr.strip()}")


def read(path: Path, package: str) -> Iterator[tuple[str, bytes]]:
    """The modules of *package* in a wheel, or below lib/ in a source distribution, by their name when installed."""
    if path.suffix == ".whl":
        with zipfile.ZipFile(path) as wheel:
            for name in wheel.namelist():
                if name.startswith(f"{package}/") and name.endswith(".py"):
                    yield name, wheel.read(name)
        return
    with tarfile.open(path) as source:
        for member in source:
            name = member.name.partition("/lib/")[2]
            if name.startswith(f"{package}/") and name.endswith(".py"):
                stream = source.extractfile(member)
                assert stream is not None
                yield name, stream.read()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
