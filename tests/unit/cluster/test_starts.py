"""The start of an image by hand: the very command, on programs that are made up here."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from pytest_hpcregistry.agent.facts import run_bounded
from pytest_hpcregistry.cluster import starts
from pytest_hpcregistry.core.machine import Question
from pytest_hpcregistry.core.model import Cluster, Controller, Slurm

QUESTION = Question("/opt/containers", ["a"], host=True)
NAME = "a/x.sif"


def cluster(user: str = "root", run_as: str | None = "alice") -> Cluster:
    return Cluster(Controller("hpc", "hpc", user=user), slurm=Slurm(run_as=run_as))


def program(directory: Path, name: str, text: str) -> None:
    directory.joinpath(name).write_text(f"#!/bin/sh\n{text}\n")
    directory.joinpath(name).chmod(0o755)


@pytest.fixture
def node(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A node: alice is user 1000 there, and what Apptainer starts says where it is."""
    program(tmp_path, "runuser", f'echo "$1 $2" > {tmp_path}/as; shift 3; exec "$@"')
    program(tmp_path, "id", "echo 1000")
    program(tmp_path, "apptainer", f'echo "$@" > {tmp_path}/asked; ulimit -v > {tmp_path}/memory; echo "in $3"')
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    return tmp_path


def start(user: str = "root", run_as: str | None = "alice") -> list[str]:
    return [*starts.add_to(QUESTION, cluster(user, run_as)).start, NAME]


def test_it_is_started_by_the_ordinary_user_with_a_limit_of_memory(node: Path) -> None:
    assert run_bounded(start()) == {"returncode": 0, "stdout": "in /opt/containers/a/x.sif\n"}
    assert (node / "as").read_text() == "-u alice\n"
    assert (node / "asked").read_text().startswith("--quiet exec /opt/containers/a/x.sif /bin/sh -c ")
    assert int((node / "memory").read_text()) == 8 << 20, "KiB"


def test_what_it_says_of_an_error_is_kept_and_its_exit_code(node: Path) -> None:
    program(node, "apptainer", "echo FATAL: no >&2; exit 255")
    assert run_bounded(start()) == {"returncode": 255, "stdout": "FATAL: no\n"}


def test_a_user_that_is_not_there_is_said(node: Path) -> None:
    program(node, "runuser", 'echo "runuser: user $2 does not exist" >&2; exit 1')
    assert run_bounded(start()) == {"returncode": 1, "stdout": "runuser: user alice does not exist\n"}


def test_root_under_another_name_starts_nothing(node: Path) -> None:
    program(node, "id", "echo 0")
    assert run_bounded(start()) == {"returncode": 126, "stdout": "no image is started by root\n"}
    assert not (node / "asked").exists()


def test_one_that_hangs_is_ended_with_all_that_it_began(node: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(starts, "SECONDS", 0.3)
    program(node, "apptainer", f"sleep 60 & echo $! > {node}/left; wait")
    assert run_bounded(start())["returncode"] == 137
    left = Path("/proc", (node / "left").read_text().strip(), "stat")
    assert not left.exists() or ") Z " in left.read_text()


@pytest.mark.parametrize(("user", "run_as", "who"), [("bob", None, "bob"), ("bob", "alice", "alice")])
def test_who_starts_them(user: str, run_as: str | None, who: str) -> None:
    words = start(user, run_as)
    assert words[words.index("runuser") + 2] == who


@pytest.mark.parametrize(("user", "run_as"), [("root", None), ("bob", "root")])
def test_without_an_ordinary_user_nothing_is_started(user: str, run_as: str | None) -> None:
    assert starts.add_to(QUESTION, cluster(user, run_as)) == QUESTION


def test_only_the_image_that_was_chosen() -> None:
    assert starts.add_to(QUESTION, cluster(), "x.sif").started == ["x.sif"]
    assert starts.add_to(QUESTION, cluster()).started is None
