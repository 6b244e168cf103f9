"""The facts of a whole cluster: in which order they are asked for, and what Slurm says of itself."""

from __future__ import annotations

from typing import Any

import pytest

from pytest_hpcregistry import agent
from pytest_hpcregistry.controller import facts, limits, lock
from pytest_hpcregistry.core.errors import CommandFailed, HpcRegistryError, Unreachable
from pytest_hpcregistry.testing.listener import recorder
from pytest_hpcregistry.transports import CommandResult
from tests.unit.controller.test_answers import FACTS


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """What is asked of whom, in order; c2 cannot be reached, and c3 tells nonsense."""
    found: list[Any] = []

    def ask_facts(node: str, request: Any, **how: Any) -> Any:
        found.append((node, request, how))
        if node == "c2":
            raise Unreachable("no\nroute", where="c2")
        return {} if node == "c3" else FACTS

    def gather_here(request: Any) -> dict[str, Any]:
        found.append(("controller", request))
        return {"images": ["mine"]}

    def slurm() -> dict[str, Any]:
        found.append("slurm")
        return {"error": None}

    monkeypatch.setattr(facts, "ask_facts", ask_facts)
    monkeypatch.setattr(facts, "slurm_facts", slurm)
    monkeypatch.setattr(agent, "gather", gather_here)
    return found


def request(*nodes: str, **more: Any) -> dict[str, Any]:
    words = {"agent": {"registry": "/nowhere", "content": True}, "controller": {"content": False, "texts": ["/x"]}}
    return {"nodes": list(nodes), "window": 1, "connect_timeout": 3, "timeout": 7, **words, **more}


def test_the_controller_is_asked_after_its_nodes(asked: list[Any]) -> None:
    events: list[Any] = []
    found = facts.gather(request("c1", "c2", "c3"), recorder(events))
    told = {event["node"]: event["facts"] for event in events}
    how = {"connect_timeout": 3, "timeout": 7}
    of_a_node = {"registry": "/nowhere", "content": True}
    assert asked == [
        *((node, of_a_node, how) for node in ("c1", "c2", "c3")),
        ("controller", {"registry": "/nowhere", "content": False, "texts": ["/x"]}),
        "slurm",
    ]
    assert found["controller"] == {"images": ["mine"], "slurm": {"error": None}}
    assert found["sync"] == {"under_way": False, "meanwhile": False, "catalog_age": None}
    assert found["nodes"] == ["c1", "c2", "c3"]
    nonsense = told.pop("c3")["unreachable"]
    assert told == {"c1": FACTS, "c2": {"unreachable": "no\\nroute", "hint": ""}}
    assert nonsense.startswith("the agent's answer to facts makes no sense: ")


@pytest.mark.parametrize(("wait", "waits"), [({}, [0, 0]), ({"for_sync": 2, "for_end": 3}, [2, 3])])
def test_it_waits_no_longer_than_it_may(
    wait: dict[str, int], waits: list[float], asked: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    waited: list[Any] = []
    monkeypatch.setattr(lock.Watch, "wait_for_beginning", lambda watch, seconds: waited.append(seconds))
    monkeypatch.setattr(lock.Watch, "wait_for_end", lambda watch, seconds, on_wait: waited.append(seconds))
    facts.gather(request("c1", wait=wait), print)
    assert waited == waits
    assert len(asked) == 3


def test_what_a_sync_does_while_it_looks_is_told(asked: list[Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """The look begins after the wait, and before the first node is asked."""
    monkeypatch.setattr(lock.Watch, "wait_for_end", lambda watch, seconds, on_wait: asked.append("waited"))
    monkeypatch.setattr(lock.Watch, "start", lambda watch: asked.append("looks"))
    monkeypatch.setattr(lock.Watch, "tell", lambda watch: asked.append("told"))
    facts.gather(request("c1"), print)
    assert [one if isinstance(one, str) else one[0] for one in asked] == [
        *("looks", "waited", "looks", "c1", "controller", "slurm", "told")
    ]


def test_the_window_is_as_large_as_open_files_allow(asked: list[Any], monkeypatch: pytest.MonkeyPatch) -> None:
    reckoned: list[Any] = []
    windows: list[int] = []

    def make_room(nodes: int, window: int, **how: int) -> limits.Room:
        reckoned.append((nodes, window, how))
        return limits.Room(nodes, 5)

    def fan_out(nodes: list[str], ask: Any, *, window: int) -> dict[str, Any]:
        windows.append(window)
        return {}

    monkeypatch.setattr(facts, "make_room", make_room)
    monkeypatch.setattr(facts, "fan_out", fan_out)
    facts.gather(request("c1", "c2", window=9), print)
    assert reckoned == [(2, 9, {"held": 0, "each": 3})]
    assert windows == [5]


def test_a_reason_is_without_the_nodes_name() -> None:
    assert facts.unreachable("c1", HpcRegistryError("no\nroute", where="c1", hint="h")) == {
        "unreachable": "no\\nroute", "hint": "h",
    }  # fmt: skip
    assert facts.unreachable("c1", HpcRegistryError("no route", where="c11"))["unreachable"] == "c11: no route"


def test_what_slurm_says(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Any] = []
    text = "Configuration data as of 2025\nA b = c = d \n\nEmpty=\n"

    def run(where: str, argv: list[str], **how: Any) -> CommandResult:
        asked.append((where, argv, how))
        return CommandResult(where, tuple(argv), 0, text, "", 0.0)

    monkeypatch.setattr(facts, "run_process", run)
    monkeypatch.setattr(facts, "slurm_nodes", lambda: {"c1": "idle"})
    config = {"A b": "c = d", "Empty": ""}
    assert facts.slurm_facts() == {"error": None, "nodes": {"c1": "idle"}, "config": config}
    assert asked == [("controller", ["scontrol", "show", "config"], {"timeout": 20})]


def test_slurm_that_says_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    def no_answer() -> dict[str, str]:
        raise CommandFailed("Slurm:\nno")

    monkeypatch.setattr(facts, "slurm_nodes", no_answer)
    assert facts.slurm_facts() == {"error": "Slurm:\\nno", "nodes": {}, "config": {}}
