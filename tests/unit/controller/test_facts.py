"""The facts of a whole cluster: in which order they are asked for, and what Slurm says of itself."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import Any

import pytest

from pytest_hpcregistry import agent
from pytest_hpcregistry.controller import facts, limits, lock
from pytest_hpcregistry.core.catalog import Catalog
from pytest_hpcregistry.core.errors import HpcRegistryError, Unreachable
from pytest_hpcregistry.core.events import CatalogPart, Event, NodeFacts
from pytest_hpcregistry.core.machine import FactsRequest, Question, SlurmFacts, Syncing
from pytest_hpcregistry.core.records import plain
from pytest_hpcregistry.core.routes import Route
from pytest_hpcregistry.testing.facts import entry
from tests.unit.controller.test_answers import ANSWER as FACTS

SLOW = 0.05  # seconds for c1


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """What is asked of whom, in order; c2 cannot be reached, and c3 tells nonsense."""
    found: list[Any] = []

    def ask_facts(node: str, request: Any, **how: Any) -> Any:
        found.append((node, request, how))
        time.sleep(SLOW if node == "c1" else 0)
        if node == "c2":
            raise Unreachable("no\nroute", where="c2")
        return {"c3": {}, "c4": {**FACTS, "host": None}, "c5": {**FACTS, "host": {**FACTS["host"], "texts": {}}}}.get(
            node, FACTS
        )

    def gather_here(request: Any) -> dict[str, Any]:
        found.append(("controller", request))
        return FACTS

    def slurm() -> SlurmFacts:
        found.append(("slurm",))
        return SlurmFacts()

    def read_catalog(path: str, most: int) -> str:
        found.append((path,))
        return "catalog"

    monkeypatch.setattr(facts, "ask_facts", ask_facts)
    monkeypatch.setattr(facts, "ask_slurm", slurm)
    monkeypatch.setattr(agent, "gather", gather_here)
    monkeypatch.setattr(facts, "read_text", read_catalog)
    return found


def request(*nodes: str, window: int = 1, host: bool = True, **more: Any) -> FactsRequest:
    question = Question("/nowhere", ["a"], content=True, host=host, texts=["/y"])
    return FactsRequest(list(nodes), window, 3, 7, question, texts=["/x"], **more)


def test_each_node_is_an_event_and_the_catalog_is_read_last(asked: list[Any]) -> None:
    """What is published meanwhile leaves a machine behind the catalog, never ahead of it."""
    events: list[Event] = []
    found = facts.gather(request("c1", "c2", "c3", "c4", "c5"), events.append)
    told = {event.node: event for event in events if isinstance(event, NodeFacts)}
    question = {**plain(Question("/nowhere", ["a"], content=True, host=True)), "texts": ["/y"]}
    how = {"route": Route(), "connect_timeout": 3, "timeout": 7}
    assert asked[0] == asked[-1] == ("/nowhere/.registry/catalog.yaml",), "first for its directories, then to be told"
    assert sorted(asked[1:-1], key=str) == [
        *((node, question, how) for node in ("c1", "c2", "c3", "c4", "c5")),
        ("controller", {**question, "texts": ["/y", "/x"]}),
        ("slurm",),
    ]
    assert plain(found.controller) == FACTS
    assert (found.slurm, found.syncing, found.nodes) == (SlurmFacts(), Syncing(), 5)
    assert events[-1] == CatalogPart("catalog")
    assert plain(told["c1"].facts) == FACTS
    assert told["c1"].seconds >= SLOW > told["c2"].seconds
    assert told["c2"] == NodeFacts("c2", unreachable="no\\nroute", hint="")
    for node in ("c3", "c4"):
        assert str(told[node].unreachable).startswith("the agent's answer to facts is malformed: ")
    assert told["c5"].unreachable == "the agent's answer to facts lacks text /y"
    assert "of another version" in str(told["c5"].hint)


def test_directories_that_only_the_catalog_knows_are_looked_into(
    asked: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A cluster file that lacks one, as after a change of the registry, lets no image seem to be missing."""
    catalog = Catalog({name: entry() for name in ("a/x.sif", "old/y.sif", "base/z.sif", "old/w.sif")}).to_text()
    monkeypatch.setattr(facts, "read_text", lambda path, most: catalog)
    facts.gather(request("c1"), lambda _: None)
    assert {one[0]: one[1]["directories"] for one in asked if len(one) > 1} == {
        "c1": ["a", "base", "old"],
        "controller": ["a", "base", "old"],
    }


def test_slurm_is_asked_once_whoever_names_the_nodes(asked: list[Any], monkeypatch: pytest.MonkeyPatch) -> None:
    assert facts.gather(request("c1", host=False), lambda _: None).slurm == SlurmFacts()
    assert asked.count(("slurm",)) == 1
    asked.clear()
    view = SlurmFacts(nodes={"c7": "drained"}, reasons={"c7": '"disk swap"'})

    def ask_slurm() -> SlurmFacts:
        asked.append(("slurm",))
        return view

    monkeypatch.setattr(facts, "ask_slurm", ask_slurm)
    assert facts.gather(replace(request(), nodes=None), lambda _: None).slurm == view
    assert asked.count(("slurm",)) == 1
    assert [one[0] for one in asked if one[0] == "c7"] == ["c7"]


def test_images_are_started_on_nodes_that_count_and_nowhere_else(
    asked: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    catalog = Catalog({name: entry() for name in ("a/x.sif", "a/y.sif")}).to_text()
    monkeypatch.setattr(facts, "read_text", lambda path, most: catalog)
    monkeypatch.setattr(
        facts, "ask_slurm", lambda: SlurmFacts(nodes={"c1": "idle", "c6": "drained", "c7": "allocated"})
    )

    def started(only: list[str] | None, text: str = catalog) -> dict[str, Any]:
        asked.clear()
        monkeypatch.setattr(facts, "read_text", lambda path, most: text)
        wanted = request("c1", "c6", "c7", "c8")
        question = replace(wanted.question, start=["start", "it"], started=only)
        facts.gather(replace(wanted, question=question), print)
        assert {one[1]["start"] == [] for one in asked if one[0] == "controller"} == {True}
        assert [one[2]["timeout"] for one in asked if one[0] == "c6"] == [7]
        return {one[0]: one[1].get("started") for one in asked}

    everywhere = ["a/x.sif", "a/y.sif"]
    assert started(None) == {"c1": everywhere, "c6": [], "c7": everywhere, "c8": everywhere, "controller": None}
    assert [one[2]["timeout"] for one in asked if one[0] == "c1"] == [7 + 2 * 31]
    assert started(["y.sif"])["c1"] == started(["a/y.sif"])["c1"] == ["a/y.sif"]
    assert started(None, "version: 9")["c1"] == []


@pytest.mark.parametrize(("wait", "waits"), [({}, [0, 0]), ({"wait_for_sync": 2, "wait_for_end": 3}, [2, 3])])
def test_it_waits_no_longer_than_it_may(
    wait: dict[str, Any], waits: list[float], asked: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    waited: list[Any] = []
    monkeypatch.setattr(lock.Watch, "wait_for_beginning", lambda watch, seconds: waited.append(seconds))
    monkeypatch.setattr(lock.Watch, "wait_for_end", lambda watch, seconds, on_wait: waited.append(seconds))
    facts.gather(request("c1", **wait), print)
    assert waited == waits
    assert len(asked) == 5


def test_what_a_sync_does_while_it_looks_is_told(asked: list[Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """The look begins after the wait, and before the first node is asked."""
    monkeypatch.setattr(lock.Watch, "wait_for_end", lambda watch, seconds, on_wait: asked.append("waited"))
    monkeypatch.setattr(lock.Watch, "start", lambda watch: asked.append("looks"))
    monkeypatch.setattr(lock.Watch, "tell", lambda watch: asked.append("told"))
    facts.gather(request("c1"), print)
    order = [one if isinstance(one, str) else one[0] for one in asked]
    assert order[:3] == ["looks", "waited", "looks"]
    assert order[-2:] == ["/nowhere/.registry/catalog.yaml", "told"]
    assert order[3] == "/nowhere/.registry/catalog.yaml"
    assert sorted(order[4:-2]) == ["c1", "controller", "slurm"]


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
    failed = facts.unreachable("c1", HpcRegistryError("no\nroute", where="c1", hint="h"))
    assert failed == NodeFacts("c1", unreachable="no\\nroute", hint="h")
    assert facts.unreachable("c1", HpcRegistryError("no route", where="c11")).unreachable == "c11: no route"
