"""Listeners put together."""

from __future__ import annotations

from pytest_hpcregistry.core.events import Event, Noticed, Waiting
from pytest_hpcregistry.core.listeners import seldom_waiting


def test_what_is_waited_for_is_passed_on_at_the_beginning_and_each_minute() -> None:
    now, passed = [0.0], list[Event]()
    listen = seldom_waiting(60, passed.append, clock=lambda: now[0])
    for moment in (0, 2, 59, 60, 61, 121):
        now[0] = moment
        listen(Waiting(str(moment)))
        listen(Noticed(str(moment)))
    assert [event.id for event in passed if isinstance(event, Waiting)] == ["0", "60", "121"]
    assert sum(isinstance(event, Noticed) for event in passed) == 6
