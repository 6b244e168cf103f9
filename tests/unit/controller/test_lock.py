"""The lock of a sync, and who looks at it without changing anything."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from pytest_hpcregistry import agent
from pytest_hpcregistry.controller import lock
from pytest_hpcregistry.controller.facts import gather
from pytest_hpcregistry.controller.lock import Watch, only_one_sync
from pytest_hpcregistry.core.machine import FactsRequest, Question, Syncing
from pytest_hpcregistry.testing.listener import recorder


@pytest.fixture
def registry(tmp_path: Path) -> Path:
    (tmp_path / ".registry").mkdir()
    return tmp_path


def listing(registry: Path) -> dict[str, tuple[int, int]]:
    return {str(path): (path.stat().st_mtime_ns, path.stat().st_ctime_ns) for path in registry.rglob("*")}


def nothing() -> None:
    pass


def test_looking_changes_nothing(registry: Path) -> None:
    for _ in range(2):
        before = listing(registry)
        watch = Watch(str(registry))
        watch.wait_for_end(5, nothing)
        assert watch.tell() == Syncing()
        assert listing(registry) == before
        with only_one_sync(str(registry)):
            pass


def test_a_sync_that_runs_or_ran(registry: Path) -> None:
    watch = Watch(str(registry))
    with only_one_sync(str(registry)):
        assert watch.tell().under_way
        assert watch.meanwhile
        from_its_midst = Watch(str(registry))
    for one in (watch, from_its_midst):
        assert not one.under_way
        assert one.meanwhile
    watch.start()
    assert not watch.meanwhile


def test_a_sync_that_waited_when_the_look_began(registry: Path) -> None:
    """Its lock file was opened before: that is not when it began."""
    waiting = threading.Thread(target=lambda: sync_once(registry))
    with only_one_sync(str(registry)):
        waiting.start()
        time.sleep(0.2)
        watch = Watch(str(registry))
        watch.running = False  # as if the look had begun between the two
    waiting.join()
    assert watch.meanwhile


def sync_once(registry: Path, seconds: float = 0.0) -> None:
    with only_one_sync(str(registry)):
        time.sleep(seconds)


@contextmanager
def later(wait: float, registry: Path, seconds: float = 0.0) -> Iterator[None]:
    """A sync of so many *seconds* that begins later."""
    timer = threading.Timer(wait, sync_once, [registry, seconds])
    timer.start()
    yield
    timer.join()


def test_waiting_for_the_end_of_a_sync(registry: Path) -> None:
    told: list[str] = []
    begun, end = threading.Event(), threading.Event()

    def sync() -> None:
        with only_one_sync(str(registry)):
            begun.set()
            end.wait(10)

    thread = threading.Thread(target=sync)
    thread.start()
    begun.wait(10)
    watch = Watch(str(registry))
    watch.wait_for_end(0, lambda: told.append("never"))
    watch.wait_for_end(0.3, lambda: told.append("bounded"))
    assert watch.under_way
    threading.Timer(0.3, end.set).start()
    watch.wait_for_end(20, lambda: told.append("waits"))
    assert not watch.under_way
    thread.join()
    assert told == ["bounded", "waits"]


def test_waiting_for_a_sync_to_begin(registry: Path) -> None:
    began = time.monotonic()
    Watch(str(registry)).wait_for_beginning(0.2)
    assert 0.1 < time.monotonic() - began < 5
    with later(0.2, registry):
        Watch(str(registry)).wait_for_beginning(60)
    assert time.monotonic() - began < 10


def test_between_two_looks_it_sleeps(registry: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    slept, real = list[float](), time.sleep

    def sleep(seconds: float) -> None:
        slept.append(seconds)
        real(seconds)

    monkeypatch.setattr(time, "sleep", sleep)
    watch = Watch(str(registry))
    watch.wait_for_beginning(0.25)
    begun = len(slept)
    with only_one_sync(str(registry)):
        watch.wait_for_end(0.25, nothing)
    assert set(slept) == {0.1}
    assert 1 <= begun <= 3
    assert 1 <= len(slept) - begun <= 3


def test_how_old_the_catalog_is(registry: Path) -> None:
    catalog = registry / agent.CATALOG
    catalog.touch()
    os.utime(catalog, (time.time() - 100, time.time() - 100))
    watch = Watch(str(registry))
    assert watch.tell().catalog_age == pytest.approx(100, abs=5)
    with agent.locked(str(registry)):  # names change before the catalog does
        assert watch.tell().catalog_age == 0
    os.utime(catalog, (time.time() + 100, time.time() + 100))  # another machine's clock
    assert watch.tell().catalog_age == 0


def test_gather_waits_and_says_so(registry: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pytest_hpcregistry.controller.facts.ask_facts", lambda node, *_, **how: {"node": node})
    monkeypatch.setattr(lock, "POLL", 0.01)
    request = FactsRequest(["c1"], 1, 1, 1, Question(str(registry), []), wait_for_end=0.1)
    said: list[Any] = []
    with only_one_sync(str(registry)):
        found = gather(request, recorder(said))
    assert [event for event in said if event["event"] == "noticed"] == [
        {"event": "noticed", "message": "a sync is under way: waiting for its end"}
    ]
    said.clear()
    assert found.syncing.under_way
    assert gather(request, recorder(said)).syncing == Syncing()
    assert "noticed" not in {event["event"] for event in said}
    with later(0.2, registry, 0.3):
        longer = replace(request, wait_for_sync=10, wait_for_end=10)
        assert not gather(longer, recorder(said)).syncing.meanwhile


def test_who_has_to_wait_for_another_sync_is_told(registry: Path) -> None:
    waited: list[bool] = []
    with only_one_sync(str(registry), lambda: waited.append(True)):
        pass
    assert waited == [], "there was nobody to wait for"
    with only_one_sync(str(registry)):
        thread = threading.Thread(target=take, args=(registry, waited))
        thread.start()
        until(lambda: bool(waited))
    thread.join()
    assert waited[-1] is False
    assert set(waited[:-1]) == {True}, "again and again"


def test_who_waits_is_not_overtaken(registry: Path) -> None:
    """By one that takes the lock again as soon as it has let go of it."""
    waits, had_it, turns = threading.Event(), threading.Event(), 0

    def wait_for_it() -> None:
        with only_one_sync(str(registry), waits.set):
            had_it.set()

    thread = threading.Thread(target=wait_for_it)
    with only_one_sync(str(registry)):
        thread.start()
        waits.wait(30)
    while not had_it.is_set():
        with only_one_sync(str(registry)):
            turns += 1
    thread.join()
    assert turns <= 1


def test_a_wait_can_be_given_up(registry: Path) -> None:
    def give_up() -> None:
        raise KeyError

    with only_one_sync(str(registry)), pytest.raises(KeyError), only_one_sync(str(registry), give_up):
        pass


@pytest.mark.parametrize("make", [os.mkfifo, lambda path: path.symlink_to("/dev/zero"), Path.mkdir])
def test_what_is_in_its_place_holds_nobody_up(registry: Path, make: Callable[[Path], None]) -> None:
    make(registry / ".registry" / "sync.lock")
    assert not Watch(str(registry)).under_way
    with pytest.raises(OSError), only_one_sync(str(registry)):
        pass


def take(registry: Path, waited: list[bool]) -> None:
    with only_one_sync(str(registry), lambda: waited.append(True)):
        waited.append(False)


def until(is_so: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 20
    while not is_so():
        assert time.monotonic() < deadline
        time.sleep(0.01)
