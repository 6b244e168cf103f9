"""Where the controller program's events go: JSON lines for programs, log lines for people.

A listener that can't be reached any more, such as a workstation that went away, must not stop the work.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, TextIO, TypeVar

from ..core.errors import RUN_SETUP, HpcRegistryError
from ..core.events import Event, Failed, Listener, Noticed
from ..core.listeners import seldom_waiting, throttled, to_all
from ..core.messages import describe
from ..core.names import printable, visible
from ..core.wire import to_line

if TYPE_CHECKING:
    from ..core.settings import Settings

Result = TypeVar("Result")
TELL_EVERY = 30  # seconds between two lines of progress in the log
WAIT_EVERY = 60  # seconds between two that only say what is waited for


def json_lines(stream: TextIO) -> Listener:
    """Write each event as one line of JSON; once nobody reads any more, go on in silence."""

    def listen(event: Event) -> None:
        try:
            stream.write(to_line(event) + "\n")
            stream.flush()
        except (OSError, ValueError):  # ValueError: the stream is closed
            pass

    return listen


def log_lines(path: str, otherwise: Listener | None = None) -> Listener:
    """Append to the log file, opened for each line so that logrotate can move it away at any time.

    That it cannot be written is said once, to *otherwise* or on standard error.
    """
    unwritable = False

    def listen(event: Event) -> None:
        nonlocal unwritable
        lines = describe(event)
        if lines:
            try:
                with open(path, "a", encoding="utf-8") as log:  # noqa: PTH123
                    log.writelines(stamp(line) for line in lines)
            except OSError as error:
                said, unwritable = unwritable, True
                if not said and otherwise:
                    otherwise(Noticed(f"the log {visible(path)} cannot be written: {error.strerror}"))
                elif not said:
                    sys.stderr.write(f"{visible(path)}: {error.strerror}\n")

    return listen


def plain_lines(stream: TextIO) -> Listener:
    """The log's lines for the operator who started the program by hand; silence once nobody reads, as above."""

    def listen(event: Event) -> None:
        try:
            stream.writelines(stamp(line) for line in describe(event))
            stream.flush()
        except (OSError, ValueError):
            pass

    return listen


def stamp(line: str) -> str:
    """`[YYYY-MM-DD HH:MM:SS] line`, with control characters made visible: names in it may come from anywhere."""
    return time.strftime("[%Y-%m-%d %H:%M:%S] ") + visible(printable(line)) + "\n"


def listener_of(arguments: argparse.Namespace, config: Settings) -> Listener:
    shown = json_lines(sys.stdout) if arguments.json else plain_lines(sys.stdout)
    log = log_lines(config.sync.log, shown)
    lines = log if arguments.json else to_all(log, shown)
    told = seldom_waiting(WAIT_EVERY, throttled(TELL_EVERY, lines))
    return to_all(told, shown) if arguments.json else told


def report_differences(arguments: argparse.Namespace, config: Settings, listener: Listener) -> None:
    """Report what the cluster file says and is not in force."""
    from ..core.settings import differences

    for sentence in differences(arguments.settings or {}, config):
        listener(Noticed(f"{sentence}: {RUN_SETUP}"))


def logged(config: Settings, work: Callable[[], Result]) -> Result:
    """Have *work* done; if it is not even begun, the log says why, for cron's sake."""
    try:
        return work()
    except HpcRegistryError as error:
        log_lines(config.sync.log)(Failed(error.what, where=error.where or None))
        raise
