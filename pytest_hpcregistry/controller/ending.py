"""How this program is ended, and how it notices that whoever gave it its command has gone."""

from __future__ import annotations

import select
import signal
import sys
from types import FrameType
from typing import NoReturn

from ..transports.process import ENDING, end_all


class Interrupted(KeyboardInterrupt):
    """A command of ours was interrupted: `why`, if that is known, and what to do about what it has left undone."""

    def __init__(self, why: str, hint: str) -> None:
        super().__init__(why)
        self.why, self.hint = why, hint


hung_up: list[int] = []
"""SIGHUP came: the terminal or the connection has gone."""


def handle_signals() -> None:
    """SIGTERM and SIGINT end what runs, as KeyboardInterrupt. SIGHUP is only remembered: what was begun is brought to
    its end without a workstation (a closed laptop), and what still waits looks at `sender_has_gone`."""
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, end)
    if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:  # as nohup leaves it
        signal.signal(signal.SIGHUP, lambda number, _: hung_up.append(number))


def end(number: int, frame: FrameType | None) -> NoReturn:
    """Programs that were started are ended here: threads that wait for them would keep this one from its end."""
    end_all()
    raise KeyboardInterrupt


def is_being_ended() -> bool:
    """Whether what runs is being ended, so that a program or connection which breaks off now says nothing of a node."""
    return ENDING.is_set()


def sender_has_gone() -> bool:
    """Whether SIGHUP came, or nobody reads standard output any more: sshd closes it when its client goes away."""
    try:
        poll = select.poll()
        poll.register(sys.stdout.fileno(), 0)
        closed = any(mask & (select.POLLERR | select.POLLHUP) for _, mask in poll.poll(0))
    except (OSError, ValueError):  # there is none, so there never was anybody who read it
        closed = False
    return closed or bool(hung_up)
