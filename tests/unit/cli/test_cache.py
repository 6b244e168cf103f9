"""`cache show` and `cache clean`: what is shown, what is removed, and the exit codes."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from pytest_hpcregistry import cli
from pytest_hpcregistry.cli import cache as cache_command
from pytest_hpcregistry.core.errors import CommandFailed
from pytest_hpcregistry.images.caches.entry import Cache, Entry


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Our own, with two entries; this machine has nothing else."""
    programs = tmp_path / "bin"
    programs.mkdir()
    for name in ("du", "find", "sh"):
        (programs / name).symlink_to(f"/usr/bin/{name}")
    monkeypatch.setenv("PATH", str(programs))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    place = tmp_path / "hpcregistry"
    for name, size, made in (("old", 2_000_000, 1000.0), ("new", 1_000_000, 2_000_000_000.0)):
        (place / name).mkdir(parents=True)
        (place / name / "file").write_bytes(b"x" * size)
        os.utime(place / name, (made, made))
    return place


def run(*words: str) -> Result:
    return CliRunner().invoke(cli.commands, ["cache", *words])


def test_show(cache: Path) -> None:
    result = run("show")
    assert result.exit_code == 0
    lines = [line.split(maxsplit=4) for line in result.output.splitlines()]
    assert lines[0] == ["CACHE", "SIZE", "ENTRIES", "PATH"]
    assert lines[1] == ["hpcregistry", "3.0", "MB", "2", str(cache)]
    assert [line[:3] for line in lines[2:]] == [[name, "not", "there"] for name in ("apptainer", "podman", "docker")]
    assert "podman cannot be run: there is no such program" in result.output


def test_clean_empties_and_says_what_that_freed(cache: Path) -> None:
    result = run("clean")
    assert (result.exit_code, list(cache.iterdir())) == (0, [])
    assert result.output.splitlines() == [
        "✓ hpcregistry: old removed, 2.0 MB freed",
        "✓ hpcregistry: new removed, 1.0 MB freed",
        "3.0 MB freed",
    ]
    assert run("clean").output == "0 B freed\n"


def test_a_dry_run_says_what_is_used_and_does_not_count_it(monkeypatch: pytest.MonkeyPatch) -> None:
    entries = [Entry(name, 0.0, {f"/{name}": 5_000_000}, lambda days: None, name == "node") for name in ("node", "x")]
    monkeypatch.setattr(cache_command, "find_caches", lambda: [Cache("podman", "/", entries)])
    assert run("clean", "--dry-run").output.splitlines() == [
        "  podman: x, 5.0 MB",
        "! podman: node is left: a container uses it",
        "1 would be removed, which frees 5.0 MB at most",
    ]


def test_a_dry_run_removes_nothing(cache: Path) -> None:
    result = run("clean", "--dry-run", "--older-than", "30")
    assert result.output.splitlines() == [
        "  hpcregistry: old, 2.0 MB",
        "1 would be removed, which frees 2.0 MB at most",
    ]
    assert len(list(cache.iterdir())) == 2


@pytest.mark.parametrize(("words", "left"), [(["--older-than", "30"], ["new"]), (["--keep-below", "2MB"], ["new"])])
def test_only_what_is_old_or_too_much(cache: Path, words: list[str], left: list[str]) -> None:
    assert run("clean", *words).exit_code == 0
    assert [path.name for path in cache.iterdir()] == left


def test_what_is_left_is_named(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(path: Path) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("shutil.rmtree", refuse)
    result = run("clean", "--older-than", "30")
    assert (
        f"! hpcregistry: old is left: {cache}/old: cannot be removed: Permission denied\n0 B freed\n" in result.output
    )
    assert isinstance(result.exception, CommandFailed)
    assert str(result.exception) == "1 of 1 could not be removed: old"


@pytest.mark.parametrize("words", [["--keep-below", "many"], ["--keep-below", "-1"], ["--older-than", "-1"]])
def test_wrong_use_removes_nothing(cache: Path, words: list[str]) -> None:
    assert run("clean", *words).exit_code == 2
    assert len(list(cache.iterdir())) == 2
