"""What happens, told to whoever listens: a dict with "event" (its name, in the past tense) and plain values."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

Event = dict[str, Any]
Listener = Callable[[Event], None]


def to_all(*listeners: Listener) -> Listener:
    """One listener that passes each event on to all of *listeners*, from many threads: all see the same order."""
    one_at_a_time = threading.Lock()

    def listen(event: Event) -> None:
        with one_at_a_time:
            for listener in listeners:
                listener(event)

    return listen
