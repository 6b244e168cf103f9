"""How far the asking of nodes is: who has answered, and who is waited for."""

from __future__ import annotations

from pytest_hpcregistry.core.asking import FEW, Answers
from pytest_hpcregistry.core.events import Asked, Asking, Event, NodeAnswered, UnderWay
from pytest_hpcregistry.core.listeners import throttled

NODES = [f"c{number:03}" for number in range(1, 101)]


def answers(*events: Event, at: float = 0.0) -> Answers:
    found = Answers()
    for event in events:
        found.take(event, at)
    return found


def test_who_has_answered_and_what_was_read() -> None:
    found = answers(Asking(NODES), *(NodeAnswered(node, 2_000_000) for node in NODES[:-1]))
    assert found.text(130.0) == "99 of 100 nodes have answered after 2:10, 198 MB read, waiting for c100"
    assert not found.idle
    found.take(Asked(), 131.0)
    assert found.idle


def test_many_are_not_named() -> None:
    assert answers(Asking(NODES)).text(0.0) == "0 of 100 nodes have answered"
    assert answers(Asking(NODES[:FEW])).text(0.0).endswith("waiting for c[001-008]")


def test_another_look_begins_anew() -> None:
    found = answers(Asking(NODES), NodeAnswered("c001", 5), Asked(), Asking(["c001"]), at=9.0)
    assert found.text(9.0) == "0 of 1 nodes have answered, waiting for c001"


def test_what_a_node_is_called_does_nothing_to_a_terminal() -> None:
    assert "\\x1b" in answers(Asking(["c\x1bx"])).text(0.0)


def test_lines_where_there_is_no_terminal() -> None:
    now = 0.0
    told: list[Event] = []
    listen = throttled(60, told.append, lambda: now)
    listen(Asking(["c1", "c2", "c3"]))
    now = 30.0
    listen(NodeAnswered("c1", 0))
    now = 61.0
    listen(NodeAnswered("c2", 0))
    text = "2 of 3 nodes have answered after 1:01, waiting for c3"
    assert [event for event in told if isinstance(event, UnderWay)] == [UnderWay("facts", text)]
    now = 200.0
    listen(Asked())
    assert isinstance(told[-1], Asked), "it is over"
