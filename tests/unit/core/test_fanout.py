"""Fan-out: a result for each node, whatever happens on the others."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping

import pytest

from pytest_hpcregistry.core.errors import CommandFailed, Unreachable
from pytest_hpcregistry.core.fanout import fan_out, in_rounds, serve_rounds


def test_each_node_has_its_result_in_the_order_asked() -> None:
    first_is_last = threading.Event()

    def work(node: str) -> str:
        if node == "c3":
            first_is_last.wait(5)
        if node == "c2":
            first_is_last.set()
        return node.upper()

    assert list(fan_out(["c3", "c1", "c2"], work, window=2).items()) == [("c3", "C3"), ("c1", "C1"), ("c2", "C2")]


def test_a_failure_is_that_nodes_result() -> None:
    def work(node: str) -> str:
        if node == "c1":
            raise Unreachable("c1: no route")
        if node == "c2":
            raise CommandFailed("c2: disk full")
        return "well"

    results = fan_out(["c1", "c2", "c3"], work, window=3)
    assert isinstance(results["c1"], Unreachable)
    assert isinstance(results["c2"], CommandFailed)
    assert results["c3"] == "well"


@pytest.mark.parametrize("kind", [KeyError, TypeError, OverflowError, RecursionError, MemoryError, OSError])
def test_an_error_of_whatever_class_costs_its_node_only_and_is_named(kind: type[Exception]) -> None:
    def work(node: str) -> str:
        if node == "c2":
            raise kind("odd \x1b[31m")
        return "well"

    results = fan_out(["c1", "c2", "c3"], work, window=3)
    assert (results["c1"], results["c3"]) == ("well", "well")
    assert isinstance(results["c2"], CommandFailed)
    assert str(results["c2"]).startswith(f"c2: an unforeseen error: {kind.__name__}: ")
    assert "\x1b" not in str(results["c2"])


def test_no_nodes_give_no_results() -> None:
    assert fan_out([], str.upper, window=64) == {}


def most_at_once(nodes: int, window: int) -> int:
    """How many calls were in flight together: each waits until *window* of them are, or gives up soon."""
    lock, running, seen = threading.Lock(), [0], [0]
    full = threading.Event()

    def work(node: str) -> None:
        with lock:
            running[0] += 1
            seen[0] = max(seen[0], running[0])
            if running[0] >= window:
                full.set()
        full.wait(2)
        time.sleep(0.02)  # for one that should not be there to come in
        with lock:
            running[0] -= 1

    fan_out([f"c{number}" for number in range(nodes)], work, window=window)
    return seen[0]


def test_the_window_is_used_and_kept() -> None:
    assert most_at_once(nodes=40, window=8) == 8


def test_one_at_a_time() -> None:
    assert most_at_once(nodes=5, window=1) == 1


# --- in rounds


def test_who_is_late_holds_nobody_up_and_is_not_lost() -> None:
    first_round_is_over = threading.Event()

    def work(node: str) -> str:
        if node == "late":
            assert first_round_is_over.wait(20)
        if node == "bad":
            raise Unreachable("bad: no route")
        return f"{node} answered"

    rounds = in_rounds(["late", "c1", "bad", "c2"], work, window=4)
    first = next(rounds)
    assert (first["c1"], first["c2"], str(first["bad"])) == ("c1 answered", "c2 answered", "bad: no route")
    assert "late" not in first
    first_round_is_over.set()
    assert list(rounds) == [{"late": "late answered"}]


def test_who_answers_in_time_is_in_one_round() -> None:
    names = [f"c{number}" for number in range(20)]
    (only,) = in_rounds(names, str.upper, window=3)
    assert list(only) == names


def serve(rounds: list[list[str]], *, stuck: str, may_be_left: float) -> list[list[str]]:
    """Serve rounds of nodes; one node waits until all rounds have begun, or a moment. Returns which had begun then."""
    finished: set[str] = set()
    began: list[list[str]] = []
    all_began = threading.Event()

    def work(nodes: Mapping[str, object]) -> None:
        began.append(list(nodes))
        finished.update(set(nodes) - {stuck})
        if len(began) == len(rounds):
            all_began.set()
        if stuck in nodes:
            all_began.wait(0.5)
            seen.append(len(began))
            finished.add(stuck)

    seen: list[int] = []
    serve_rounds(
        [dict.fromkeys(nodes, 0) for nodes in rounds],
        work,
        is_finished=finished.__contains__,
        may_be_left=may_be_left,
    )
    assert began == rounds
    return began[: seen[0]]


def test_a_round_does_not_wait_for_the_last_node_of_the_one_before() -> None:
    rounds = [["c1", "c2"], ["c3"], ["c4"]]
    assert serve(rounds, stuck="c2", may_be_left=0.1) == rounds
    assert serve(rounds, stuck="c2", may_be_left=0.0) == rounds[:1], "unless none may be left"


def test_the_failure_of_a_round_is_raised_when_all_have_ended() -> None:
    served: list[str] = []

    def work(nodes: Mapping[str, object]) -> None:
        served.extend(nodes)
        if "c1" in nodes:
            raise CommandFailed("controller: an object is gone")

    with pytest.raises(CommandFailed, match="an object is gone"):
        serve_rounds([{"c1": 0}, {"c2": 0}], work, is_finished=served.__contains__, may_be_left=0.1)
    assert served == ["c1", "c2"]
