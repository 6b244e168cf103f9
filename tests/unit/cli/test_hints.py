"""What to do about an error reaches the screen, from wherever it was made: the agent, the session, an engine."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from click.testing import CliRunner

from pytest_hpcregistry import agent
from pytest_hpcregistry.cli import commands
from pytest_hpcregistry.core.errors import HpcRegistryError
from pytest_hpcregistry.testing.transport import FakeTransport
from tests.fakes.nodes import FakeNodes
from tests.fakes.settings import change
from tests.unit.controller.test_rollout import start

NAME = "ml-frameworks/x.sif"


@pytest.fixture
def nodes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeNodes:
    found = FakeNodes(tmp_path, "c1", "c2")
    found.use(monkeypatch)
    found.publish(NAME)
    return found


def no_python(nodes: FakeNodes) -> list[str]:
    nodes.trouble("c2", "no-python")
    return ["sync"]


def own_registry(nodes: FakeNodes) -> list[str]:
    return ["sync", "--engine", "shared"]


def another_version(nodes: FakeNodes) -> list[str]:
    nodes.trouble("c2", "nonsense")
    return ["sync"]


def no_answer_to_gc(nodes: FakeNodes) -> list[str]:
    nodes.trouble("c2", "no-python")
    return ["gc"]


def of_the_controller(nodes: FakeNodes) -> list[str]:
    (nodes.registry / agent.CATALOG).unlink()
    return ["sync"]


@pytest.mark.parametrize(
    ("trouble", "hint"),
    [
        (no_python, "is Python >= 3.6 there, and has phase 1 been run?"),
        (own_registry, "is the file system mounted there? Or set sync.method to auto"),
        (another_version, "is it of another version?"),
        (no_answer_to_gc, "is Python >= 3.6 there, and has phase 1 been run?"),
        (of_the_controller, "hpc-container-manager registry setup"),
    ],
)
def test_a_hint_reaches_the_screen_and_the_events(
    nodes: FakeNodes, trouble: object, hint: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The real controller program and agent; what it prints is what the command line is given."""
    assert callable(trouble)
    words = trouble(nodes)
    done = start(nodes, "--json", *words)
    transport = FakeTransport(*done.stdout.splitlines(), exit_code=done.returncode, stderr=done.stderr)
    monkeypatch.setattr("pytest_hpcregistry.cluster.client.open_transport", lambda cluster: transport)
    shown = CliRunner().invoke(commands, [words[0], "--controller", "hpc"], standalone_mode=False)
    assert isinstance(shown.exception, HpcRegistryError)
    assert hint in shown.exception.hint
    events = [json.loads(line) for line in done.stdout.splitlines()]
    machines = [one for event in events for one in event.get("machines", {}).values()]
    assert any(hint in (one.get("hint") or "") for one in [*events, *machines])


def test_a_refusal_of_the_agent_keeps_its_hint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who shall send to a node that phase 1 has not seen says what to do: a note, as the others are served."""
    nodes = FakeNodes(tmp_path, "c1", "c2")
    nodes.use(monkeypatch)
    nodes.publish(NAME, os.urandom(150_000))
    nodes.settings = change(nodes.settings, method="relay")
    for node in ("c1", "c2"):  # whichever comes first in the chain is to send to the other
        (nodes.root / node / "registry" / agent.PEERS).write_text("")
    done = start(
        nodes, "--json", "sync", "--engine", "relay", "--limit-rate", "50000"
    )  # one must not have all before the other comes
    notes = [json.loads(line).get("message", "") for line in done.stdout.splitlines()]
    assert any("run phase 1 on all nodes: hpc-container-manager registry setup" in note for note in notes)
