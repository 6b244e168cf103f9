"""How events, data and errors are shown: the one way out of the command line."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext, suppress
from io import StringIO
from typing import TextIO

import click

from ..core.errors import HpcRegistryError
from ..core.events import Event, Listener, UnderWay
from ..core.listeners import seldom_waiting, throttled
from ..core.names import printable, visible
from ..core.wire import to_data
from ..report import lines
from ..report.schema import Lines
from . import output

TELL_EVERY = 10  # seconds between two lines of progress where there is no terminal
WAIT_EVERY = 60  # and between two that only say what is waited for


FINDINGS = ("✗", "!")
"""How lines begin that --quiet leaves."""


def say(text: str, *, err: bool = False) -> None:
    """Say what is done, in one line or more; with --json or --quiet it is left out, but on standard error."""
    if err:
        click.echo(printable(text), err=True)
    elif not output.current.quiet or text.startswith(FINDINGS):
        tell(text)


def tell(text: str) -> None:
    """Print what was asked for, for people: the one way out of the command line, so that nothing in it is obeyed."""
    if not output.current.as_json:
        click.echo(printable(text))


def say_error(error: HpcRegistryError) -> None:
    """Print what happened, and a line for each thing to do about it."""
    text = printable(f"error: {error}")
    click.echo(click.style(text, fg="red") if is_coloured(sys.stderr) else text, err=True)
    for hint in error.hint.splitlines():
        say(f"hint: {hint}", err=True)


def is_coloured(stream: TextIO | None) -> bool:
    """Whether *stream* is a terminal that shows colours, and nobody has asked for none: https://no-color.org. None is
    one that is closed."""
    return stream is not None and stream.isatty() and is_capable(os.environ) and not os.environ.get("NO_COLOR")


def is_capable(environ: Mapping[str, str]) -> bool:
    return environ.get("TERM", "dumb") not in ("dumb", "unknown")


def say_usage_error(error: click.ClickException) -> None:
    """As click itself does, but for what it quotes of the command line."""
    if isinstance(error, click.exceptions.NoArgsIsHelpError):
        say(error.format_message(), err=True)  # our own help, of many lines
        return
    shown = StringIO()
    error.show(shown)
    text = shown.getvalue().replace(error.message, visible(error.message))
    say(text.rstrip("\n"), err=True)


@contextmanager
def shown(every: float | None = None) -> Iterator[Listener]:
    """A listener for what takes long: bars on a terminal, elsewhere lines, with one of progress *every* so many seconds
    [TELL_EVERY].
    """
    if output.current.as_json or output.current.quiet:
        yield show
    elif sys.stdout.isatty() and is_capable(os.environ):
        from ..report import bars  # slow to import, and of no use without a terminal

        with bars.on_this_terminal() as shower:
            yield shower.listen
    else:
        yield seldom_waiting(WAIT_EVERY, throttled(TELL_EVERY if every is None else every, show))


def show(event: Event) -> None:
    """Show one event as a line, if it is one for people; as JSON, where the command's answer is lines of it."""
    if output.current.as_json:
        if output.current.shape is Lines:
            output.current.line(to_data(event))
        return
    line = lines.describe(event, verbose=output.current.verbosity > 0)
    if line and output.current.quiet:
        line = "\n".join(find_findings(line))
    if line:
        # stdout may be closed (`… | head`): ignore that for progress, the next important line raises.
        with suppress(OSError) if isinstance(event, UnderWay) else nullcontext():
            style = lines.COLOURS.get(line[0]) if is_coloured(sys.stdout) else None
            click.echo(click.style(line, fg=style) if style else line)


def find_findings(text: str) -> Iterator[str]:
    """The lines that --quiet leaves, each with those that go on with it."""
    found = False
    for line in text.split("\n"):
        found = line.startswith(FINDINGS) or (found and line.startswith(" "))
        if found:
            yield line


def show_document(text: str) -> None:
    """Print what is written already: JSON for programs, or a script with its tabs."""
    click.echo(text, nl=False)


def show_table(rows: list[list[str]]) -> None:
    """Print rows, the first as heading, as what was asked for; on a terminal in lines that fit."""
    for line in lines.table(rows, shutil.get_terminal_size().columns if sys.stdout.isatty() else None):
        tell(line)
