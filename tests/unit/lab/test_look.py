"""`lab status`: each machine by its host's name, with what Slurm says of the node, whatever Slurm calls it."""

from __future__ import annotations

import importlib
import json
from pathlib import Path

import pytest

from pytest_hpcregistry.core import documents
from pytest_hpcregistry.lab import site, state
from pytest_hpcregistry.lab.look import MachineStatus
from pytest_hpcregistry.transports import CommandResult

look = importlib.import_module("pytest_hpcregistry.lab.look")  # the package has a function of that name
SITE = "about: x\ncontroller: login1\nnodes: n[1-2]\nnode_names: rack7-[1-2]\ngate: gate\n"


def answer(stdout: str, exit_code: int = 0) -> CommandResult:
    return CommandResult(where="", argv=(), exit_code=exit_code, stdout=stdout, stderr="", seconds=0.0)


@pytest.fixture(autouse=True)
def running(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A lab `a`, of whose machines n2 has no container any more."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    shape = site.read(documents.parse(SITE, "x.yaml"), "x")
    made = state.new("a", None, shape)
    monkeypatch.setattr(look, "load", lambda _: made)
    found = [
        {
            "Name": made.container(machine),
            "State": {"Status": "running"},
            "NetworkSettings": {"Networks": {"a": {"IPAddress": "10.0.0.2"}}},
        }
        for machine in ("login1", "n1", "gate")
    ]
    monkeypatch.setattr(look, "podman", lambda *_: answer(json.dumps(found)))
    monkeypatch.setattr(look, "execute", lambda *_: answer("rack7-1 idle\nrack7-1 idle\nrack7-2 down*\n"))


def test_machines_are_shown_with_what_slurm_says_of_them() -> None:
    assert look.look("a") == [
        MachineStatus("login1", "running", "10.0.0.2", "up"),
        MachineStatus("n1", "running", "10.0.0.2", "idle"),
        MachineStatus("n2", "gone", "-", "down*"),
        MachineStatus("gate", "running", "10.0.0.2", "-"),
    ]


def test_a_slurmctld_that_does_not_answer_is_said_of_all_but_those_it_never_knew(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(look, "execute", lambda *_: answer("", 1))
    assert [machine.slurm for machine in look.look("a")] == ["no answer", "no answer", "no answer", "-"]
