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
    said = "99 of 100 nodes have answered after 2:10, 198 MB read, 1.5 MB/s, waiting for c100"
    assert found.text(130.0) == said, "who has not said how long it took has no rate, and nobody knows how long still"
    assert not found.idle
    found.take(Asked(), 131.0)
    assert found.idle


def test_rate_time_left_and_the_slowest() -> None:
    found = answers(Asking(["c1", "c2", "c3", "c4"]), at=100.0)
    assert (found.size, found.left(101.0), found.slowest()) == (0, None, "")
    found.take(NodeAnswered("c1", 4_000_000_000, 10.0), 110.0)
    assert (found.size, found.left(110.0), found.slowest()) == (16_000_000_000, None, ""), "all should be there by now"
    assert found.left(104.0) == 6.0
    found.take(NodeAnswered("c2", 4_000_000_000, 40.0), 140.0)
    found.take(NodeAnswered("c3", 0, 41.0), 141.0)
    said = "slowest c2: 100 MB/s (others 400 MB/s)"
    assert found.text(141.0).endswith(f"8.0 GB read, 195 MB/s, {said}, waiting for c4")
    assert found.size == 12_000_000_000, "c4 has as much as the largest"
    assert found.left(115.0) == 1.0, "by the rate in between"


def test_more_nodes_than_are_asked_at_once_take_several_turns() -> None:
    found = answers(Asking(NODES, window=10), *(NodeAnswered(node, 1_000_000_000, 20.0) for node in NODES[:10]))
    assert found.left(20.0) == 180.0
    assert found.size == 100_000_000_000
    assert found.text(20.0).endswith("10 GB read, 500 MB/s, about 3:00 left, slowest c001: 50 MB/s (others 50 MB/s)")


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
