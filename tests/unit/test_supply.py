"""Where what is installed, and what is sent to be run as root, comes from: locked, with hashes, and known."""

from __future__ import annotations

import importlib.metadata
import itertools
import json
import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

from pytest_hpcregistry.cluster import programs
from pytest_hpcregistry.core.errors import UsageError
from tests import ROOT

LOCKS = sorted((ROOT / "requirements").glob("*.txt"))
PIN = re.compile(r"([a-z0-9.-]+)==([^\s;]+)( ; [^\\]+)? \\")
HASH = re.compile(r"    --hash=sha256:[0-9a-f]{64}( \\)?")
REMARK = re.compile(r" +# +(via|-[rc]|[a-z])")
RELEASES: dict[str, dict[str, str]] = json.loads(programs.RELEASES.read_text())


def pins(name: str) -> dict[str, list[Version]]:
    """Distribution -> versions (a version may differ with the Python) that a lock file has."""
    found: dict[str, list[Version]] = {}
    for match in PIN.finditer((ROOT / "requirements" / name).read_text()):
        found.setdefault(match[1], []).append(Version(match[2]))
    return found


def wanted() -> Iterator[Requirement]:
    """What pyproject.toml and the files beside the lock ask for."""
    project: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text())
    extras = project["project"]["optional-dependencies"].values()
    lines = [*project["project"]["dependencies"], *project["build-system"]["requires"], *itertools.chain(*extras)]
    lines += (ROOT / "requirements" / "development.in").read_text().splitlines()
    yield from (Requirement(line) for line in lines if not line.startswith("#"))


@pytest.mark.parametrize("lock", LOCKS, ids=lambda path: path.name)
def test_a_lock_file_is_versions_and_hashes_and_nothing_else(lock: Path) -> None:
    """No index, no option and no path of the machine that made it."""
    lines = lock.read_text().splitlines()
    assert [line for line in lines if not (PIN.fullmatch(line) or HASH.fullmatch(line) or REMARK.match(line))] == []
    assert all(HASH.fullmatch(after) for line, after in itertools.pairwise(lines) if PIN.fullmatch(line))
    assert "//" not in lock.read_text()


def test_everything_that_is_asked_for_is_locked_within_its_bounds() -> None:
    """Or pyproject.toml was changed without `make lock`."""
    locked = pins("development.txt")
    assert len(locked) > 40
    asked = list(wanted())
    assert {"pip", "hatchling", "matplotlib", "PyYAML"} <= {one.name for one in asked}
    wrong = [str(one) for one in asked if not (versions := locked.get(canonicalize_name(one.name)))
             or not all(version in one.specifier for version in versions)]  # fmt: skip
    assert wrong == []


def test_what_the_locks_share_is_the_same() -> None:
    locked = pins("development.txt")
    for lock in LOCKS:
        shared = {name: versions for name, versions in pins(lock.name).items() if name in locked}
        assert {name: versions for name, versions in shared.items() if versions != locked[name]} == {}


def test_make_installs_nothing_that_is_not_locked() -> None:
    text = (ROOT / "Makefile").read_text()
    calls = [line for line in text.splitlines() if "pip install" in line]
    assert len(calls) == 2
    assert all("--require-hashes" in line or "--no-deps --no-build-isolation" in line for line in calls)


@pytest.mark.parametrize("name", programs.CARRIED)
def test_what_is_locked_may_be_sent(name: str) -> None:
    (version,) = pins("development.txt")[canonicalize_name(name)]
    assert str(version) in RELEASES[name]
    assert importlib.metadata.version(name) == str(version)


@pytest.mark.parametrize("name", programs.CARRIED)
def test_pip_installs_no_release_that_may_not_be_sent(name: str) -> None:
    """The bounds in pyproject.toml are the first and the last release of releases.json."""
    versions = [Version(version) for version in RELEASES[name]]
    (bounds,) = [one.specifier for one in wanted() if one.name == name]
    assert versions == sorted(versions)
    assert str(bounds) == f"<={versions[-1]},>={versions[0]}"


@pytest.fixture
def copies(tmp_path: Path) -> Path:
    """A directory that comes before where PyYAML and ClusterShell are installed, with a copy of both."""
    for name, package in programs.CARRIED.items():
        shutil.copytree(programs.find(name, package), tmp_path / "copies" / package)
    return tmp_path / "copies"


def run_archive(copies: Path, out: Path) -> subprocess.CompletedProcess[str]:
    """Pack as the role does."""
    out.mkdir()
    argv = [sys.executable, "-m", "pytest_hpcregistry.cluster.programs", str(out)]
    environment = {"PYTHONPATH": f"{copies}:{ROOT}", "PATH": "/usr/bin:/bin"}
    return subprocess.run(argv, env=environment, capture_output=True, text=True, check=False)


def test_what_is_as_released_is_packed(copies: Path, tmp_path: Path) -> None:
    done = run_archive(copies, tmp_path / "out")
    assert (done.returncode, done.stderr) == (0, "")
    assert (tmp_path / "out" / "controller.pyz").read_bytes() == programs.build_controller()


@pytest.mark.parametrize("file", ["yaml/loader.py", "yaml/__init__.py", "ClusterShell/RangeSet.py"])
@pytest.mark.parametrize("place", [0, 100, -1])
def test_one_changed_byte_is_not_packed(copies: Path, tmp_path: Path, file: str, place: int) -> None:
    data = bytearray((copies / file).read_bytes())
    data[place] ^= 1
    (copies / file).write_bytes(data)
    done = run_archive(copies, tmp_path / "out")
    name = "PyYAML" if file.startswith("yaml") else "ClusterShell"
    version = importlib.metadata.version(name)
    assert done.returncode == 2
    what = f"{name} {version} in {copies / Path(file).parent} is not as it was released"
    mend = f"pip install --force-reinstall --no-deps {name}=={version}"
    assert done.stderr == f"{what}, so it is not sent to the controller; mend it with: {mend}\n"
    assert list((tmp_path / "out").iterdir()) == []


def test_a_file_too_many_or_too_few_is_not_packed(copies: Path, tmp_path: Path) -> None:
    (copies / "yaml" / "more.py").touch()
    assert "is not as it was released" in run_archive(copies, tmp_path / "1").stderr
    (copies / "yaml" / "more.py").unlink()
    assert run_archive(copies, tmp_path / "2").returncode == 0
    (copies / "yaml" / "tokens.py").rename(copies / "yaml" / "token.py")
    assert "is not as it was released" in run_archive(copies, tmp_path / "3").stderr


def test_nothing_of_it_runs_before_it_was_looked_at(copies: Path, tmp_path: Path) -> None:
    (copies / "yaml" / "__init__.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')")
    (copies / "ClusterShell" / "__init__.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')")
    assert run_archive(copies, tmp_path / "out").returncode == 2
    assert not (tmp_path / "ran").exists()


def test_a_release_that_is_not_known_says_which_are(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.metadata, "version", lambda name: "7.0")
    with pytest.raises(UsageError) as refused:
        raise programs.refusal("PyYAML", Path("/x/yaml"), ["6.0.3", "6.0.4"])
    assert (
        str(refused.value)
        == "PyYAML 7.0 in /x/yaml is not one of the releases that may be sent to the controller (6.0.3, 6.0.4)"
    )
    assert refused.value.hint == "pip install PyYAML==6.0.4"


def test_a_package_that_is_not_there() -> None:
    with pytest.raises(UsageError, match="PyYAML is not installed for") as refused:
        programs.find("PyYAML", "no_such_package")
    assert refused.value.hint == "pip install PyYAML"


def test_the_fingerprint_tells_names_from_contents() -> None:
    told = [[("a", b"bc")], [("ab", b"c")], [("a", b"b"), ("c", b"")], [("a", b""), ("c", b"b")], [("c", b"b")]]
    assert len({programs.fingerprint(files) for files in told}) == len(told)
    assert programs.fingerprint([("a", b"1"), ("b", b"2")]) == programs.fingerprint([("b", b"2"), ("a", b"1")])
