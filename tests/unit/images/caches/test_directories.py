"""Our own cache and Apptainer's. A stand-in shows what Apptainer is asked; tests/lab/test_cache.py has the real one."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from pytest_hpcregistry.core.cache import cache_directory, only_one
from pytest_hpcregistry.core.errors import CommandFailed
from pytest_hpcregistry.images.caches.directories import find_apptainer, find_own
from pytest_hpcregistry.transports.local import LocalTransport

HERE = LocalTransport()
APPTAINER = """#!/bin/sh
[ "$1" = --version ] || echo "$@" >> "$HOME/asked"
[ ! -e "$HOME/fails" ] || { echo "FATAL: no" >&2; exit 255; }
"""


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("XDG_CACHE_HOME", "APPTAINER_CACHEDIR", "SINGULARITY_CACHEDIR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    return tmp_path


def write(path: Path, size: int = 100_000, made: float = 1000.0) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"x" * size)
    os.utime(path, (made, made))
    return path


def blocks(path: Path) -> int:
    return path.stat().st_blocks * 512


def test_without_a_cache_of_ours(home: Path) -> None:
    assert find_own(HERE).missing == f"no directory {home}/.cache/hpcregistry"


def test_our_own(home: Path) -> None:
    place = cache_directory()
    file, inner = write(place / "lab.tar"), write(place / "demo-0123" / "x.sif", 50_000)
    elsewhere = write(home / "elsewhere" / "file")
    (place / "link").symlink_to(elsewhere.parent)
    write(place / "containers.conf")
    with only_one("demo"):
        pass
    found = find_own(HERE)
    assert (found.path, found.missing) == (str(place), "")
    entries = {entry.name: entry for entry in found.entries}
    assert set(entries) == {"lab.tar", "demo-0123", "link"}
    assert entries["lab.tar"].made == 1000.0
    assert entries["lab.tar"].parts == {str(file): blocks(file)}
    assert sum(entries["demo-0123"].parts.values()) == blocks(inner) + blocks(inner.parent)
    entries["demo-0123"].remove(None)
    entries["link"].remove(None)
    assert sorted(path.name for path in place.iterdir()) == ["containers.conf", "demo.lock", "lab.tar"]
    assert elsewhere.exists()


def test_what_is_being_made_stays() -> None:
    file = write(cache_directory() / "lab.tar")
    (entry,) = find_own(HERE).entries
    with only_one("node-image"), pytest.raises(CommandFailed, match=r"in use: node-image\.lock is held"):
        entry.remove(None)
    assert file.exists()
    entry.remove(None)
    assert not file.exists()


def test_what_cannot_be_removed() -> None:
    file = write(cache_directory() / "lab.tar")
    (entry,) = find_own(HERE).entries
    file.unlink()
    with pytest.raises(CommandFailed, match=r"lab\.tar: cannot be removed: No such file"):
        entry.remove(None)


def test_without_apptainer() -> None:
    assert find_apptainer(HERE).missing == "there is no Apptainer"


@pytest.mark.parametrize("program", ["apptainer", "singularity"])
@pytest.mark.parametrize("set_elsewhere", [False, True])
def test_apptainers(home: Path, program: str, set_elsewhere: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    (home / program).write_text(APPTAINER)
    (home / program).chmod(0o755)
    place = home / (f"else where/{program}" if set_elsewhere else f".{program}") / "cache"
    if set_elsewhere:
        monkeypatch.setenv(f"{program.upper()}_CACHEDIR", str(place.parent))
    assert find_apptainer(HERE) == find_apptainer(HERE)
    assert find_apptainer(HERE).entries == []
    write(place / "blob" / "one", made=3000.0)
    write(place / "blob" / "two", made=2000.0)
    found = find_apptainer(HERE)
    assert (found.name, found.path, found.missing) == (program, str(place), "")
    (entry,) = found.entries
    assert entry.made == 2000.0
    assert entry.parts[str(place)] >= 200_000
    entry.remove(None)
    entry.remove(30)
    assert (home / "asked").read_text() == "cache clean --force\ncache clean --force --days 30\n"


def test_an_apptainer_that_cannot_empty_it(home: Path) -> None:
    (home / "apptainer").write_text(APPTAINER)
    (home / "apptainer").chmod(0o755)
    write(home / ".apptainer" / "cache" / "x")
    (entry,) = find_apptainer(HERE).entries
    (home / "fails").touch()
    with pytest.raises(CommandFailed, match="FATAL: no"):
        entry.remove(None)
