"""How far a transfer is: what has changed is told once, as it is at that time."""

from __future__ import annotations

import threading
import time
from typing import Any

import pytest

from pytest_hpcregistry.controller import meter
from pytest_hpcregistry.controller.meter import Meter
from pytest_hpcregistry.core.events import Event
from pytest_hpcregistry.testing.listener import recorder


class Clock:
    """In the place of `closing`: it waits as long as the test says, and then no longer."""

    def __init__(self, *rounds: dict[str, int]) -> None:
        self.rounds = list(rounds)
        self.waited: list[float] = []

    def drive(self, one: Meter) -> None:
        def wait(seconds: float) -> bool:
            self.waited.append(seconds)
            if not self.rounds:
                return True
            for node, size in self.rounds.pop(0).items():
                one.moved(node, size)
            return False

        one.closing.wait = wait  # type: ignore[method-assign, assignment]
        one.run()


def test_what_has_changed_is_told_once() -> None:
    told: list[dict[str, Any]] = []
    clock = Clock({}, {"c1": 1, "c2": 0}, {"c1": 1}, {"c1": 3}, {"c2": 5, "c1": 3})
    clock.drive(Meter(recorder(told)))
    assert told == [{"event": "progress", "bytes": one} for one in ({"c1": 1, "c2": 0}, {"c1": 3}, {"c2": 5})]
    assert clock.waited == [1.0] * 6


def test_it_runs_while_it_is_open(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(meter, "INTERVAL", 0.01)
    heard, told = threading.Event(), list[dict[str, Any]]()

    def listen(event: Event) -> None:
        recorder(told)(event)
        heard.set()

    with Meter(listen) as one:
        one.moved("c1", 7)
        assert heard.wait(10)
    assert told == [{"event": "progress", "bytes": {"c1": 7}}]
    assert not one.thread.is_alive()
    assert one.thread.daemon


def test_its_end_does_not_wait_for_the_next_round() -> None:
    began = time.monotonic()
    with Meter(lambda event: None):
        pass
    assert time.monotonic() - began < 0.9
