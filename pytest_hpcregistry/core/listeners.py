"""Listeners of events, put together."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from .events import Event, Listener, Waiting


def to_all(*listeners: Listener) -> Listener:
    """One listener that passes each event on to all of *listeners*, from many threads: all see the same order."""
    one_at_a_time = threading.Lock()

    def listen(event: Event) -> None:
        with one_at_a_time:
            for listener in listeners:
                listener(event)

    return listen


def seldom_waiting(seconds: float, listener: Listener, clock: Callable[[], float] = time.monotonic) -> Listener:
    """Pass each event on, but of those that only say what is waited for one in so many *seconds*."""
    passed: float | None = None

    def listen(event: Event) -> None:
        nonlocal passed
        if isinstance(event, Waiting):
            if passed is not None and clock() - passed < seconds:
                return
            passed = clock()
        listener(event)

    return listen
