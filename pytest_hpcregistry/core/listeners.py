"""Listeners of events, put together."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from .asking import Answers
from .events import Event, Listener, UnderWay, Waiting
from .pace import Transfers


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


def throttled(seconds: float, listener: Listener, clock: Callable[[], float] = time.monotonic) -> Listener:
    """Forward every event; while a transfer runs or nodes are asked, add an UnderWay every so many *seconds*, at most.

    There is no timer: the summary is emitted together with the next event. Many threads may call it.
    """
    transfers, answers = Transfers(), Answers()
    one_at_a_time = threading.Lock()
    told = clock()

    def listen(event: Event) -> None:
        nonlocal told
        with one_at_a_time:
            now = clock()
            if transfers.idle and answers.idle:
                told = now
            transfers.take(event, now)
            answers.take(event, now)
            listener(event)
            if now - told >= seconds and not (transfers.idle and answers.idle):
                told = now
                for what, text in [*transfers.lines(now), *([] if answers.idle else [("facts", answers.text(now))])]:
                    listener(UnderWay(what=what, text=text))

    return listen
