"""How a run can end: signals, and every kind of failure with its exit code and its words."""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Iterator
from typing import NoReturn

import click

from ..core.errors import HpcRegistryError
from ..report.schema import End

ENDING = (signal.SIGTERM, signal.SIGHUP)


class Ended(KeyboardInterrupt):
    """SIGTERM or SIGHUP came: what has begun is cleared up as after ctrl-c. The first argument is the signal."""


def end(number: int, frame: object) -> NoReturn:
    for each in ENDING:
        signal.signal(each, signal.SIG_IGN)  # clearing up is not to be ended by the next one
    raise Ended(number)


@contextlib.contextmanager
def ended_by_signals() -> Iterator[None]:
    """Raise Ended for SIGTERM and SIGHUP, but for one that is ignored, as nohup leaves it."""
    before = {number: signal.getsignal(number) for number in ENDING}
    heard = [number for number in ENDING if before[number] is not signal.SIG_IGN]
    try:
        for number in heard:
            signal.signal(number, end)
        yield
    finally:
        for number in heard:
            signal.signal(number, before[number])


def failure_of(error: OSError) -> HpcRegistryError:
    """A file that cannot be read or written, as any other failure."""
    name = "" if error.filename is None else f"{error.filename}: "
    return HpcRegistryError(f"{name}{error.strerror or error}")


def interruption(cause: BaseException | None) -> End:
    """The exit code that a shell would give for the signal. What becomes of what was asked for elsewhere the exception
    notes.
    """
    number = signal.Signals(cause.args[0] if isinstance(cause, Ended) else signal.SIGINT)
    said = "interrupted" if number == signal.SIGINT else f"ended by {number.name}"
    return End(128 + number, "\n".join(getattr(cause, "__notes__", [])) or said)


def describe(error: BaseException | None) -> End | None:
    """The end of a run as JSON has it; None for a fault of this program, and for what is no end of a command."""
    if error is None or (isinstance(error, SystemExit) and error.code in (None, 0)):
        return End(0)
    if isinstance(error, OSError):
        error = failure_of(error)
    if isinstance(error, HpcRegistryError):
        return End(error.exit_code, str(error), error.hint or None)
    if isinstance(error, click.exceptions.NoArgsIsHelpError):
        return End(error.exit_code, "no command is named", "--help has them all")
    if isinstance(error, click.ClickException):
        return End(error.exit_code, error.format_message())
    if isinstance(error, click.Abort):  # which click makes of KeyboardInterrupt
        return interruption(error.__cause__)
    return interruption(error) if isinstance(error, KeyboardInterrupt) else None
