"""Listeners of events, put together."""

from __future__ import annotations

import threading

from .events import Event, Listener


def to_all(*listeners: Listener) -> Listener:
    """One listener that passes each event on to all of *listeners*, from many threads: all see the same order."""
    one_at_a_time = threading.Lock()

    def listen(event: Event) -> None:
        with one_at_a_time:
            for listener in listeners:
                listener(event)

    return listen
