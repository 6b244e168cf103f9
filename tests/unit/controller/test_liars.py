"""A node that lies, whatever it says: its own failure, and nobody else's."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import Any

import pytest

from pytest_hpcregistry import agent
from pytest_hpcregistry.controller import answers, gc
from pytest_hpcregistry.controller import session as sessions
from pytest_hpcregistry.controller.engines.chain import Chain
from pytest_hpcregistry.controller.engines.relay import Transfer
from pytest_hpcregistry.controller.session import NodeSession
from pytest_hpcregistry.controller.sync import sync
from pytest_hpcregistry.core.errors import CommandFailed
from pytest_hpcregistry.testing.listener import recorder
from tests.fakes import liar
from tests.fakes.nodes import FakeNodes
from tests.fakes.registry import NEW, OLD, make_registry, publish, stage
from tests.fakes.settings import change

NAME = "ml-frameworks/x.sif"
NODES = ("c1", "c2", "c3")
# What a node may say of itself, and what is escaped where it is shown.
TRUTHS = {
    *(("have", path, "null") for path in (("names", NAME), ("catalog_digest",))),
    *(("have", ("changed", 0), kind) for kind in ("text", "hostile")),
    ("have", ("changed",), "missing"),
    ("have", ("probe",), "null"),
    ("gc", ("shared",), "true"),
    ("gc", ("attachments",), "missing"),
    *(("gc", (place, 0), kind) for place in ("debris", "unmanaged") for kind in ("text", "hostile")),
}
OF_FIELDS = [lie for lie in liar.lies() if lie["path"]]


def name_of(lie: dict[str, Any]) -> str:
    return "-".join([lie["to"], *map(str, lie["path"]), lie["kind"]])


@pytest.mark.parametrize("lie", OF_FIELDS, ids=name_of)
def test_every_field_of_every_message_has_a_form(lie: dict[str, Any]) -> None:
    true = {**liar.ANSWERS, **liar.EVENTS}[lie["to"]]
    said = liar.changed(true, lie["path"], lie["kind"])

    def check() -> None:
        if lie["to"] in liar.EVENTS:
            answers.check_event("c1", {"event": lie["to"], **said})
        else:
            answers.check_answer("c1", lie["to"], said)

    if json.dumps(said) == json.dumps(true) or (lie["to"], tuple(lie["path"]), lie["kind"]) in TRUTHS:
        check()
        return
    with pytest.raises(CommandFailed, match=r"^c1: the agent.s .* is malformed: ") as caught:
        check()
    assert str(caught.value).isprintable()
    assert len(str(caught.value)) < 300


@pytest.mark.parametrize("verb", ["have", "relay", "gc"])
def test_an_answer_is_checked_though_it_says_that_it_is_an_event(nodes: FakeNodes, verb: str) -> None:
    """What has an id is an answer, whatever else it has."""
    with NodeSession("c1", nodes.settings) as session:
        session.asked[7] = verb
        line = json.dumps({"id": 7, "event": "zzz", "objects": 5})
        with pytest.raises(CommandFailed, match=f"^c1: the agent's answer to {verb} is malformed: "):
            session.understand(f"hpcregistry {session.nonce} {line}")


def test_there_are_many_lies() -> None:
    assert len(OF_FIELDS) > 300
    assert len({name_of(lie) for lie in liar.lies()}) == len(list(liar.lies()))


@pytest.fixture
def nodes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeNodes:
    found = FakeNodes(tmp_path, *NODES)
    found.use(monkeypatch)
    (tmp_path / "liar.pyz").write_bytes(liar.build_liar())
    found.trouble("c3", "lies")
    return found


def tell(nodes: FakeNodes, **lie: Any) -> None:
    (nodes.root / "liar.pyz.lie").write_text(json.dumps({"path": [], **lie}))


def run(nodes: FakeNodes) -> tuple[dict[str, str], list[dict[str, Any]]]:
    told: list[dict[str, Any]] = []
    outcomes = sync(nodes.settings, None, None, recorder(told))
    return {node: outcome.message or outcome.state for node, outcome in outcomes.items()}, told


def test_a_liar_that_is_honest_for_once_is_synced(nodes: FakeNodes) -> None:
    nodes.publish(NAME)
    assert run(nodes)[0] == dict.fromkeys(NODES, "synced")


MESSAGES = [kind for kind in liar.MESSAGES if kind not in ("missing", "late", "endless-errors")]


@pytest.mark.parametrize("kind", MESSAGES)
def test_a_message_that_is_none_costs_nobody_else_anything(nodes: FakeNodes, kind: str) -> None:
    nodes.publish(NAME)
    tell(nodes, to="have", kind=kind)
    began = time.monotonic()
    states, _ = run(nodes)
    assert time.monotonic() - began < 30
    said = states.pop("c3")
    assert states == {"c1": "synced", "c2": "synced"}
    assert said
    assert said.isprintable()
    assert len(said) < 500


def test_a_deadline_holds_while_lines_come(nodes: FakeNodes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sessions, "PASSED_OVER", 1 << 40)
    tell(nodes, to="have", kind="endless-lines")
    with NodeSession("c3", nodes.settings) as session:
        began = time.monotonic()
        with pytest.raises(Exception, match="c3: no answer in time"):
            session.ask("have", {}, timeout=2)
        assert 1.9 < time.monotonic() - began < 6


@pytest.mark.parametrize("arrived", ["null", "text", "huge", "negative", "fraction"])
def test_a_node_that_lies_about_its_progress_is_taken_out_of_the_chain(nodes: FakeNodes, arrived: str) -> None:
    nodes.settings = change(nodes.settings, method="relay")
    nodes.publish(NAME, os.urandom(1 << 20))
    tell(nodes, to="has", path=["arrived"], kind=arrived)
    states, _ = run(nodes)
    assert "is malformed: arrived is not a whole number" in states.pop("c3")
    assert states == {"c1": "synced", "c2": "synced"}


def test_an_intruder_with_the_certificate_is_refused_and_named(nodes: FakeNodes) -> None:
    """It goes to the ports of all others and stays there, under names of links that nobody expects."""
    nodes.settings = change(nodes.settings, method="relay", limit_rate=1 << 20)
    tell(nodes, to="nothing", kind="intruder")
    for _ in range(3):  # on a busy machine a node may be too slow by itself
        nodes.publish(NAME, os.urandom(6 << 20))
        states, told = run(nodes)
        assert states == dict.fromkeys(NODES, "synced")
        said = [event["message"] for event in told if event["event"] == "noticed"]
        assert [text for text in said if "without being told to: refused" in text], said
        taken_out = [text for text in said if "taken out of the chain" in text]
        if not taken_out:
            break
    assert taken_out == []


@pytest.mark.parametrize("error", [KeyError("x"), OverflowError("x"), RecursionError()])
def test_the_end_of_the_conductor_ends_the_relay_and_the_others_go_on_by_star(
    nodes: FakeNodes, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    def tick(chain: Chain, now: float) -> None:
        raise error

    monkeypatch.setattr(Chain, "tick", tick)
    monkeypatch.setattr(Transfer, "connect", lambda *link: None)  # or all may be there before the first tick
    nodes.settings = change(nodes.settings, method="relay")
    nodes.publish(NAME)
    began = time.monotonic()
    states, told = run(nodes)
    assert states == dict.fromkeys(NODES, "synced")
    assert time.monotonic() - began < 60
    said = [event["message"] for event in told if event["event"] == "noticed"]
    assert said  # one line, or, on a busy machine, one for each round of nodes
    for line in said:
        assert line.startswith(f"the relay ended, {type(error).__name__}: {error}: c")
        assert line.endswith(" get their bytes from the controller, by star")


@pytest.mark.parametrize(("path", "kind"), [(["objects"], "missing"), (["in_use"], "list"), (["young"], "negative")])
def test_gc_goes_on_beside_a_liar(nodes: FakeNodes, path: list[str], kind: str) -> None:
    nodes.publish(NAME)
    run(nodes)
    tell(nodes, to="gc", path=path, kind=kind)
    freed = gc.collect(nodes.settings, lambda event: None, keep=2, grace=0, by="me")
    assert {machine: one.state for machine, one in freed.items()} == {
        "controller": "freed",
        "c1": "freed",
        "c2": "freed",
        "c3": "failed",
    }


@pytest.fixture(scope="module")
def true_facts(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """What an agent tells of a registry with an image, a leftover in staging/ and all that can be asked for."""
    registry = make_registry(tmp_path_factory.mktemp("facts"))
    publish(registry, NEW)
    stage(registry, OLD)
    asked = {
        "registry": str(registry),
        "directories": ["ml-frameworks"],
        "content": True,
        "inspect": True,
        "host": True,
    }
    more = {"users": ["root"], "groups": ["root"], "readers": ["nobody"], "texts": ["/etc/hostname"]}
    facts = json.loads(json.dumps(agent.gather({**asked, **more})))
    facts["images"][0]["inspect"] = {"exit": 0, "says": "x"}
    facts["host"]["denied"] = {"nobody": ["x"]}
    facts["host"]["authorized_keys"] = [{"fingerprint": "a" * 64, "options": "restrict"}]
    return facts


# What a field of the facts may be too: by its name, or by that of what it is in.
TIMES = {"time", "modified"}
NAMES = {"hostname", "owner", "group", "name", "mount", "type", "source", "says", "options"}
INSIDE = {"texts", "denied", "nobody", "programs"}
MAY_BE_NULL = {"paths", "texts", "users", "groups", "nobody", "denied", "programs"}


@pytest.mark.parametrize("kind", liar.VALUES)
def test_every_field_of_the_facts_has_a_form(kind: str, true_facts: Any) -> None:
    assert answers.check_answer("c1", "facts", true_facts) is true_facts
    paths = list(liar.fields(true_facts))
    assert len(paths) > 100
    taken = {path for path in paths if is_taken(liar.changed(true_facts, list(path), kind))}
    if kind in ("fraction", "negative"):
        assert {path[-1] for path in taken} <= TIMES | {"exit"}
    elif kind in ("text", "hostile", "long"):
        odd = {path for path in taken if path[-1] not in NAMES and path[-2] not in INSIDE}
        assert not odd
    elif kind == "null":
        assert {path for path in taken if path[-1] not in ("catalog_digest", "object", "inspect", "runtime")} <= {
            path for path in paths if MAY_BE_NULL & set(path[:-1])
        }
    else:
        assert not taken


def is_taken(facts: Any) -> bool:
    try:
        answers.check_answer("c1", "facts", facts)
    except CommandFailed:
        return False
    return True


def test_a_fact_that_is_missing_is_missed(true_facts: Any) -> None:
    host = true_facts["host"]
    for key in {*true_facts} - {"host"}:
        assert not is_taken({name: value for name, value in true_facts.items() if name != key}), key
    for key in host:
        less = {name: value for name, value in host.items() if name != key}
        assert not is_taken({**true_facts, "host": less}), key
