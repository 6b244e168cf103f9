"""Rates and times left: calm, honest about a stall, and never done before the last byte."""

from __future__ import annotations

import pytest

from pytest_hpcregistry.core import pace
from pytest_hpcregistry.core.events import (
    Event,
    Failed,
    ImageProgress,
    ImageSent,
    NodeFinished,
    Progress,
    SyncFinished,
    SyncStarted,
    TransferStarted,
    UnderWay,
)
from pytest_hpcregistry.core.listeners import throttled
from pytest_hpcregistry.core.pace import Track, Transfers
from pytest_hpcregistry.core.wire import from_data

MB = 1_000_000


def track(size: int, *seen: tuple[float, int]) -> Track:
    made = Track(size)
    for now, arrived in seen:
        made.take(arrived, now)
    return made


# --- one track


@pytest.mark.parametrize(
    ("seen", "now", "rate", "left"),
    [
        ([], 9, 0, None),
        ([(5, 10)], 5, 0, None),  # how long the first bytes took is not known
        ([(5, 10), (6, 20)], 6, 10, 8),
        ([(5, 10), (6, 20)], 8.9, 10, 8),  # no flicker between two words
        ([(5, 10), (6, 20)], 15, 1, 80),  # nothing comes any more
        ([(5, 10), (6, 20)], 30, 0, None),
        ([(0, 10), (1, 30), (20, 40), (22, 50)], 22, 20 / 21, 52.5),  # what is older than the window counts no more
        ([(0, 0), (100, 10), (101, 20)], 101, 10, 8),  # it waited for its turn before
        ([(1, 80), (2, 90), (3, 10), (4, 15)], 4, 5, 17),  # begun again
        ([(1, 90), (2, 100)], 2, 10, 0),
        ([(1, 90), (2, 900)], 2, 10, 0),  # more than was announced
    ],
)
def test_rate_and_time_left(seen: list[tuple[float, int]], now: float, rate: float, left: float | None) -> None:
    found = track(100, *seen)
    assert found.rate(now) == pytest.approx(rate)
    assert found.left(now) == (None if left is None else pytest.approx(left))


@pytest.mark.parametrize(("arrived", "size", "said"), [(0, 10, 0), (999, 1000, 99), (10, 10, 100), (0, 0, 100)])
def test_percent(arrived: int, size: int, said: int) -> None:
    assert pace.percent(track(size, (0, arrived))) == said


@pytest.mark.parametrize(
    ("size", "said"),
    [
        (0, "0 B"),
        (900, "900 B"),
        (37_200, "37 kB"),
        (999_600, "1.0 MB"),
        (999.7e9, "1.0 TB"),
        (9_940_000, "9.9 MB"),
        (9_960_000, "10 MB"),
        (85 * MB, "85 MB"),
        (2.14e9, "2.1 GB"),
    ],
)
def test_amounts(size: float, said: str) -> None:
    assert pace.amount(size) == said


@pytest.mark.parametrize(("seconds", "said"), [(0.1, "0:01"), (25, "0:25"), (61, "1:01"), (3725.2, "1:02:06")])
def test_durations(seconds: float, said: str) -> None:
    assert pace.duration(seconds) == said


# --- all of them


def started(**lacking: int) -> Transfers:
    found = Transfers()
    found.take(SyncStarted(what="all images", nodes=[*lacking, "late"]), 0)
    found.take(TransferStarted(bytes=lacking, engine="x", why="x"), 0)
    return found


def arrive(transfers: Transfers, now: float, **arrived: int) -> None:
    transfers.take(Progress(bytes=arrived), now)


def finish(transfers: Transfers, now: float, node: str, state: str = "synced") -> None:
    transfers.take(NodeFinished(node=node, state=state, what="x"), now)


def line(transfers: Transfers, now: float) -> str:
    ((what, text),) = transfers.lines(now)
    assert what == "all images"
    return text


def test_the_whole_is_the_sum_and_as_slow_as_the_slowest() -> None:
    found = started(c1=100 * MB, c2=100 * MB)
    assert line(found, 0) == "0 of 3 nodes, 0 % of 200 MB"
    arrive(found, 1, c1=10 * MB, c2=1 * MB)
    assert line(found, 1) == "0 of 3 nodes, 5 % of 200 MB"
    arrive(found, 2, c1=20 * MB, c2=2 * MB)
    assert line(found, 2) == "0 of 3 nodes, 11 % of 200 MB, 11 MB/s, about 1:38 left"  # 98 MB at c2's 1 MB/s
    arrive(found, 3, c1=90 * MB)
    finish(found, 4, "c1")
    assert line(found, 4) == "1 of 3 nodes, 51 % of 200 MB, 30 MB/s, about 1:38 left"


def test_nodes_that_answered_late_make_it_more() -> None:
    found = started(c1=10 * MB)
    arrive(found, 1, c1=10 * MB)
    found.take(TransferStarted(bytes={"late": 30 * MB}, engine="x", why="x"), 2)
    assert line(found, 2) == "0 of 2 nodes, 25 % of 40 MB"


@pytest.mark.parametrize("state", ["failed", "unreachable"])
def test_nothing_more_is_waited_for_of_a_node_that_failed(state: str) -> None:
    found = started(c1=10 * MB, c2=10 * MB)
    arrive(found, 1, c1=10 * MB, c2=5 * MB)
    finish(found, 2, "c2", state)
    arrive(found, 3, c2=7 * MB)  # a word that was on its way
    assert line(found, 3) == "0 of 3 nodes done, 1 failed (c2), 100 % of 15 MB"


def test_a_node_that_was_up_to_date_or_never_answered_is_not_waited_for() -> None:
    found = started(c1=0)
    finish(found, 1, "c1", "unchanged")
    finish(found, 1, "late", "unreachable")
    assert line(found, 1) == "1 of 2 nodes done, 1 failed (late)"
    assert found.left(1) is None


def test_a_stall_has_no_time_left() -> None:
    found = started(c1=100 * MB)
    arrive(found, 1, c1=10 * MB)
    arrive(found, 2, c1=20 * MB)
    assert found.left(2) == pytest.approx(8)
    assert line(found, 60) == "0 of 2 nodes, 20 % of 100 MB"


def test_an_upload_is_on_its_way_until_it_is_sent_or_failed() -> None:
    found = Transfers()
    for name in ("a.sif", "b.sif"):
        found.take(ImageProgress(name=name, bytes=10 * MB, size=100 * MB), 1)
    found.take(ImageProgress(name="a.sif", bytes=20 * MB, size=100 * MB), 2)
    assert found.lines(2) == [("a.sif", "20 % of 100 MB, 10 MB/s, about 0:08 left"), ("b.sif", "10 % of 100 MB")]
    found.take(ImageSent(name="a.sif", bytes=1), 3)
    assert not found.idle
    found.take(Failed(name="b.sif", message="b.sif: no"), 3)
    assert found.idle


def test_a_second_sync_begins_anew() -> None:
    found = started(c1=10 * MB)
    finish(found, 1, "c1")
    found.take(SyncFinished(states={}, what="x"), 2)
    assert found.idle
    assert found.lines(2) == []
    found.take(SyncStarted(what="all images", nodes=["c1"]), 3)
    assert line(found, 3) == "0 of 1 nodes"


# --- now and then


def test_a_line_at_most_every_so_often_and_only_while_something_is_under_way() -> None:
    now, heard = [0.0], list[Event]()
    listen = throttled(10, heard.append, clock=lambda: now[0])

    def say(at: float, event: str, **words: object) -> list[Event]:
        heard.clear()
        now[0] = at
        told = from_data({"event": event, **words})
        assert told
        listen(told)
        assert heard[0] == told
        return heard[1:]

    assert say(99, "image_checked", name="x", digest="x", size=1) == []
    assert say(199, "sync_started", what="x.sif", nodes=["c1", "c2"]) == []
    assert say(200, "transfer_started", engine="star", why="x", bytes={"c1": 100 * MB}) == []
    assert say(208, "progress", bytes={"c1": 10 * MB}) == []
    text = "0 of 2 nodes, 20 % of 100 MB, 10 MB/s, about 0:08 left"
    assert say(209, "progress", bytes={"c1": 20 * MB}) == [UnderWay(what="x.sif", text=text)]
    assert say(218, "progress", bytes={"c1": 30 * MB}) == []
    assert list(map(type, say(219, "node_finished", node="c2", state="unchanged", what="x"))) == [UnderWay]
    assert say(299, "sync_finished", what="x", states={}) == []
    assert say(399, "noticed", message="") == []


def test_nodes_that_failed_are_not_among_those_that_are_done() -> None:
    found = Transfers()
    found.take(SyncStarted("all images", ["c1", "c2", "c3", "c4"]), 0)
    for node, state in (("c1", "synced"), ("c2", "unreachable"), ("c3", "failed"), ("c4", "not counted")):
        found.take(NodeFinished(node, "all images", state), 1)
    assert found.lines(1) == [("all images", "2 of 4 nodes done, 2 failed (c[2-3])")]
    found.take(SyncStarted("all images", ["c1"]), 2)
    assert found.lines(2) == [("all images", "0 of 1 nodes")]
