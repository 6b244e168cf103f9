"""Open files: what so many nodes need is reckoned first, and no node keeps its own longer than it must."""

from __future__ import annotations

import errno
import resource
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from pytest_hpcregistry import agent
from pytest_hpcregistry.controller import __main__ as program
from pytest_hpcregistry.controller import facts as controller_gather
from pytest_hpcregistry.controller import gc, limits, rollout
from pytest_hpcregistry.controller.engines import star
from pytest_hpcregistry.controller.facts import gather
from pytest_hpcregistry.controller.limits import BASE, FACTS, FEWEST, RSYNC, SESSION, Room, make_room
from pytest_hpcregistry.controller.session import NodeSession
from pytest_hpcregistry.controller.sync import sync
from pytest_hpcregistry.core import fanout
from pytest_hpcregistry.core.errors import UsageError
from pytest_hpcregistry.core.machine import FactsRequest, Question
from pytest_hpcregistry.testing.listener import recorder
from tests.fakes.nodes import FakeNodes
from tests.fakes.settings import change

NAME = "ml-frameworks/x.sif"
OF_A_SYNC = {"held": SESSION, "each": RSYNC}
# What one image on three nodes, one at a time, leaves no room for: the third session, or the first.
ROOM_FOR_TWO, ROOM_FOR_NONE = BASE + 1 + 2 * SESSION + RSYNC, BASE + SESSION + RSYNC


def allow(monkeypatch: pytest.MonkeyPatch, files: int) -> None:
    monkeypatch.setattr(limits, "open_files", lambda: files)


# --- the reckoning


@pytest.mark.parametrize(
    ("nodes", "window", "allowed", "room"),
    [
        (300, 64, 1024, (300, 64)),
        (3, 64, 1024, (3, 3)),
        (300, 64, BASE + 300 * SESSION + 64 * RSYNC, (300, 64)),  # and not one left
        (300, 64, BASE + 300 * SESSION + 64 * RSYNC - 1, (300, 63)),
        (475, 64, 1024, (475, 21)),  # narrower, and all at once
        (10_000, 64, 1024, (432, 64)),  # in groups
        (10_000, 64, BASE + FEWEST * (SESSION + RSYNC), (8, 8)),
        (10_000, 2, BASE + 2 * (SESSION + RSYNC), (2, 2)),
    ],
)
def test_how_many_nodes_there_is_room_for(
    monkeypatch: pytest.MonkeyPatch, nodes: int, window: int, allowed: int, room: tuple[int, int]
) -> None:
    allow(monkeypatch, allowed)
    found = make_room(nodes, window, **OF_A_SYNC)
    assert (found.nodes, found.window) == room
    assert (found.note == "") == (room == (nodes, min(nodes, window)))


@pytest.mark.parametrize("held", [0, SESSION])
@pytest.mark.parametrize("files", [0, 100])
def test_there_is_never_room_for_more_than_is_allowed(monkeypatch: pytest.MonkeyPatch, held: int, files: int) -> None:
    reckoned = 0
    for allowed in range(40, 3000, 7):
        allow(monkeypatch, allowed)
        for nodes in (1, 2, 7, 9, 100, 1000):
            for window in (1, 8, 64):
                try:
                    room = make_room(nodes, window, held=held, each=FACTS, files=files)
                except UsageError:
                    assert allowed < BASE + files + min(FEWEST, nodes, window) * (held + FACTS)
                    continue
                reckoned += 1
                assert BASE + files + held * room.nodes + FACTS * room.window <= allowed
                assert 1 <= room.window <= room.nodes <= nodes
    assert reckoned > 1000


def test_what_is_not_to_be_had_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    allow(monkeypatch, 64)
    with pytest.raises(UsageError) as caught:
        make_room(300, 64, **OF_A_SYNC, files=2)
    assert str(caught.value) == "controller: 300 nodes need 762 open files, 66 at the least, and 64 are allowed"
    assert all(word in caught.value.hint for word in ("ulimit -n", "LimitNOFILE=", "sync.window", "star"))


def test_star_helps_only_where_images_are_open(monkeypatch: pytest.MonkeyPatch) -> None:
    allow(monkeypatch, 33)
    with pytest.raises(UsageError) as caught:
        make_room(300, 64, **OF_A_SYNC)
    assert caught.value.hint == f"{limits.HINT}; a smaller sync.window needs fewer"


def test_less_than_was_asked_for_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    allow(monkeypatch, 1024)
    narrow, groups = make_room(475, 64, **OF_A_SYNC), make_room(10_000, 64, **OF_A_SYNC)
    assert "475 nodes need 1110 open files, and 1024 are allowed: " in narrow.note
    assert "the window is 21 instead of 64" in narrow.note
    assert "432 nodes come at a time" in groups.note


def test_no_limit_at_all(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resource, "getrlimit", lambda which: (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    assert make_room(10_000, 64, **OF_A_SYNC) == Room(10_000, 64)


def test_the_soft_limit_counts_and_becomes_the_hard_one(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Any] = []
    monkeypatch.setattr(resource, "getrlimit", {resource.RLIMIT_NOFILE: (200, 300)}.__getitem__)
    monkeypatch.setattr(resource, "setrlimit", lambda *words: asked.append(words))
    assert limits.open_files() == 200
    limits.raise_limit()
    assert asked == [(resource.RLIMIT_NOFILE, (300, 300))]


@pytest.mark.parametrize("error", [ValueError("not allowed to raise maximum limit"), OSError(1, "not permitted")])
def test_a_limit_that_stays_as_it_is(error: Exception, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise error

    before = limits.open_files()
    monkeypatch.setattr(resource, "setrlimit", refuse)
    limits.raise_limit()
    assert limits.open_files() == before


def test_the_program_takes_what_it_may_have() -> None:
    code = (
        "import resource, sys; from pytest_hpcregistry.controller import __main__ as program;"
        "program.COMMANDS['try-key'] = lambda _: print(resource.getrlimit(resource.RLIMIT_NOFILE)) or 0;"
        "sys.argv[1:] = ['try-key']; program.main()"
    )
    argv = ["sh", "-c", 'ulimit -Sn 200 && ulimit -Hn 300 && exec "$@"', "sh", sys.executable, "-c", code]
    assert subprocess.run(argv, capture_output=True, text=True, check=True).stdout == "(300, 300)\n"


@pytest.mark.parametrize(
    ("error", "says"),
    [
        (OSError(errno.EMFILE, "Too many open files"), "controller: Too many open files"),
        (OSError(errno.EACCES, "Permission denied", "/x"), "controller: Permission denied: /x"),
        (OSError("only words"), "controller: only words"),
        (TimeoutError(), "controller: TimeoutError"),
    ],
)
def test_what_the_system_says_is_put_into_words(error: OSError, says: str) -> None:
    told = program.in_words(error)
    assert str(told) == says
    assert ("ulimit" in told.hint) == (error.errno == errno.EMFILE)


# --- what is held


@pytest.fixture
def nodes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeNodes:
    """Three nodes that lack an image, one at a time, and all in one round however busy this machine is."""
    monkeypatch.setattr(fanout, "PATIENCE", 60)
    found = FakeNodes(tmp_path, "c1", "c2", "c3")
    found.use(monkeypatch)
    found.publish(NAME)
    found.settings = change(found.settings, window=1)
    return found


class Sessions:
    """All that were ever begun."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.begun: list[NodeSession] = []
        self.most = 0
        init = NodeSession.__init__

        def begin(session: NodeSession, *words: Any) -> None:
            init(session, *words)
            self.begun.append(session)
            self.most = max(self.most, len(self.open()))

        monkeypatch.setattr(NodeSession, "__init__", begin)

    def open(self) -> list[str]:
        return sorted(one.node for one in self.begun if one.conversation.ended is None)


@pytest.fixture
def sessions(monkeypatch: pytest.MonkeyPatch) -> Sessions:
    return Sessions(monkeypatch)


def watch(monkeypatch: pytest.MonkeyPatch, place: Any, name: str, sessions: Sessions) -> list[list[str]]:
    """Which sessions are open each time when a function is called."""
    real, seen = getattr(place, name), list[list[str]]()

    def call(*words: Any) -> Any:
        seen.append(sessions.open())
        return real(*words)

    monkeypatch.setattr(place, name, call)
    return seen


def run(nodes: FakeNodes, **settings: Any) -> tuple[dict[str, str], list[dict[str, Any]]]:
    told: list[dict[str, Any]] = []
    outcomes = sync(change(nodes.settings, **settings), None, None, recorder(told))
    return {node: outcome.state for node, outcome in outcomes.items()}, told


def test_star_leaves_a_node_when_that_is_done(
    nodes: FakeNodes, sessions: Sessions, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = watch(monkeypatch, star, "send", sessions)
    assert run(nodes, method="star")[0] == dict.fromkeys(("c1", "c2", "c3"), "synced")
    assert seen == [["c1", "c2", "c3"], ["c2", "c3"], ["c3"]]
    assert sessions.open() == []


def test_star_leaves_a_node_that_failed(nodes: FakeNodes, sessions: Sessions, monkeypatch: pytest.MonkeyPatch) -> None:
    nodes.trouble("c1", "exit-11")
    seen = watch(monkeypatch, star, "send", sessions)
    assert run(nodes, method="star")[0] == {"c1": "failed", "c2": "synced", "c3": "synced"}
    assert seen == [["c1", "c2", "c3"], ["c2", "c3"], ["c3"]]


def test_shared_leaves_a_node_when_that_is_done(
    tmp_path: Path, sessions: Sessions, monkeypatch: pytest.MonkeyPatch
) -> None:
    nodes = FakeNodes(tmp_path, "c1", "c2")
    nodes.use(monkeypatch)
    nodes.publish(NAME)
    for node in ("c1", "c2"):
        (nodes.root / node / "registry").rename(nodes.root / node / "own")
        (nodes.root / node / "registry").symlink_to(nodes.registry)
    seen = watch(monkeypatch, rollout.Rollout, "publish", sessions)
    assert run(nodes, window=1)[0] == {"c1": "unchanged", "c2": "unchanged"}
    assert seen == [["c1", "c2"], ["c2"]]


def test_relay_keeps_all_as_they_send_on(nodes: FakeNodes, sessions: Sessions, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = watch(monkeypatch, rollout.Rollout, "publish", sessions)
    assert run(nodes, method="relay")[0] == dict.fromkeys(("c1", "c2", "c3"), "synced")
    assert seen == [["c1", "c2", "c3"]] * 3
    assert sessions.open() == []


@pytest.mark.parametrize("trouble", ["nonsense", "list"])
def test_a_node_that_is_not_served_is_left_at_once(
    nodes: FakeNodes, sessions: Sessions, monkeypatch: pytest.MonkeyPatch, trouble: str
) -> None:
    nodes.trouble("c1", trouble)
    seen = watch(monkeypatch, star, "send", sessions)
    assert run(nodes, method="star")[0] == {"c1": "failed", "c2": "synced", "c3": "synced"}
    assert seen == [["c2", "c3"], ["c3"]]


# --- less than is needed


@pytest.mark.parametrize("method", ["star", "relay"])
def test_nodes_come_in_groups_where_there_is_no_room_for_all(
    nodes: FakeNodes, sessions: Sessions, monkeypatch: pytest.MonkeyPatch, method: str
) -> None:
    allow(monkeypatch, ROOM_FOR_TWO)
    states, told = run(nodes, method=method)
    assert states == dict.fromkeys(("c1", "c2", "c3"), "synced")
    assert sessions.most == 2
    assert [sorted(event["bytes"]) for event in told if event["event"] == "transfer_started"] == [["c1", "c2"], ["c3"]]
    assert [event["event"] for event in told[:2]] == ["sync_started", "noticed"]
    assert "2 nodes come at a time" in told[1]["message"]


def test_a_sync_without_room_asks_no_node(nodes: FakeNodes, monkeypatch: pytest.MonkeyPatch) -> None:
    allow(monkeypatch, ROOM_FOR_NONE)
    before = set(nodes.registry.rglob("*"))
    with pytest.raises(UsageError, match="3 nodes need"):
        run(nodes)
    assert nodes.asked("c1") == []
    assert {path for path in nodes.registry.rglob("*") if not path.name.startswith("sync")} == before


def test_gc_without_room_forgets_nothing(nodes: FakeNodes, monkeypatch: pytest.MonkeyPatch) -> None:
    nodes.publish(NAME, b"2")
    before = (nodes.registry / agent.CATALOG).read_text()
    allow(monkeypatch, BASE + SESSION - 1)
    with pytest.raises(UsageError, match="3 nodes need"):
        gc.collect(nodes.settings, lambda event: None, keep=0, grace=0, by="me")
    assert (nodes.registry / agent.CATALOG).read_text() == before
    assert nodes.asked("c1") == []


@pytest.fixture
def dozen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeNodes:
    """Twelve nodes, all at once."""
    found = FakeNodes(tmp_path, *(f"c{number:02}" for number in range(1, 13)))
    found.use(monkeypatch)
    found.publish(NAME)
    found.settings = change(found.settings, window=12)
    return found


def most_at_once(monkeypatch: pytest.MonkeyPatch, place: Any, name: str) -> list[int]:
    """How many threads were in a function, each time when one came in."""
    real, inside, seen, counting = getattr(place, name), [0], list[int](), threading.Lock()

    def call(*words: Any, **how: Any) -> Any:
        with counting:
            inside[0] += 1
            seen.append(inside[0])
        time.sleep(0.05)
        try:
            return real(*words, **how)
        finally:
            with counting:
                inside[0] -= 1

    monkeypatch.setattr(place, name, call)
    return seen


def test_a_sync_works_on_no_more_at_once_than_there_is_room_for(
    dozen: FakeNodes, monkeypatch: pytest.MonkeyPatch
) -> None:
    allow(monkeypatch, BASE + 12 * SESSION + FEWEST * RSYNC)
    seen = most_at_once(monkeypatch, star, "send")
    states, told = run(dozen, method="star")
    assert set(states.values()) == {"synced"}
    assert (len(seen), max(seen)) == (12, FEWEST)
    assert "the window is 8 instead of 12" in told[1]["message"]


def test_gc_asks_no_more_at_once_than_there_is_room_for(
    dozen: FakeNodes, sessions: Sessions, monkeypatch: pytest.MonkeyPatch
) -> None:
    allow(monkeypatch, BASE + FEWEST * SESSION)
    told: list[dict[str, Any]] = []
    freed = gc.collect(dozen.settings, recorder(told), keep=0, grace=0, by="me")
    assert {one.state for one in freed.values()} == {"freed"}
    assert (len(sessions.begun), sessions.most <= FEWEST) == (12, True)
    assert "the window is 8 instead of 12" in told[1]["message"]


def test_facts_are_asked_of_no_more_at_once_than_there_is_room_for(monkeypatch: pytest.MonkeyPatch) -> None:
    allow(monkeypatch, BASE + FEWEST * FACTS)
    monkeypatch.setattr(controller_gather, "ask_facts", lambda *_, **__: {})
    monkeypatch.setattr(agent, "gather", lambda request: {"objects": {}, "images": [], "catalog_digest": None})
    seen = most_at_once(monkeypatch, controller_gather, "ask_facts")
    names = [f"c{number}" for number in range(12)]
    told: list[dict[str, Any]] = []
    gather(FactsRequest(names, 12, 2, 20, Question("/nowhere", [])), recorder(told))
    assert {event["node"] for event in told if event["event"] == "node_facts"} == set(names)
    assert (len(seen), max(seen)) == (12, FEWEST)


def test_facts_without_room(nodes: FakeNodes, monkeypatch: pytest.MonkeyPatch) -> None:
    allow(monkeypatch, BASE + FACTS - 1)
    with pytest.raises(UsageError, match="3 nodes need 35 open files, 35 at the least, and 34 are allowed"):
        gather(FactsRequest(["c1", "c2", "c3"], 1, 2, 20, Question("/nowhere", [])), print)
    assert nodes.asked("c1") == []
