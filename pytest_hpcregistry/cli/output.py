"""How this run answers: to people, quietly, or in JSON; begun and ended in one place for every command."""

from __future__ import annotations

import functools
import json
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import click

from ..core.history import now
from ..core.model import Cluster
from ..core.records import plain
from ..report.schema import BEGUN, ENDED, SCHEMA_VERSION, ClusterName, Head, Lines
from . import verbose
from .endings import describe

Decorator = Callable[[Callable[..., Any]], Callable[..., Any]]
JSON_HELP = "Print JSON, errors too; its schema: hpc-container-manager schema COMMAND."
VERBOSE_HELP = "Show each remote command with its time; twice: more."
QUIET_HELP = "Show only what was asked for, findings and errors."


class Output:
    """The answer of one run. `shape` is what its command prints as JSON: a dataclass, Lines, or None for neither."""

    def __init__(self, words: Sequence[str] = ()) -> None:
        before = words[: words.index("--")] if "--" in words else words
        self.as_json = "--json" in before  # errors of the arguments themselves are JSON, too
        self.quiet = False
        self.verbosity = 0
        self.shape: Any = None
        self.head = Head(SCHEMA_VERSION, "", now())
        self.result: Any = None
        self.begun = False
        self.lock = threading.Lock()

    def enter(self, command: str, shape: Any) -> None:
        """This command runs now."""
        self.shape = shape
        self.head = Head(SCHEMA_VERSION, command, self.head.time)

    def about(self, cluster: Cluster) -> None:
        """Which cluster is meant: it stands at the head of what is said."""
        name = ClusterName(cluster.controller.name, cluster.controller.host)
        self.head = Head(SCHEMA_VERSION, self.head.command, self.head.time, name)
        if self.as_json and self.shape is Lines:
            self.begin()

    def begin(self) -> None:
        if not self.begun:
            self.begun = True
            print_json({"event": BEGUN, **plain(self.head)})

    def line(self, data: dict[str, Any]) -> None:
        """Print one event. Many threads may call it."""
        with self.lock:
            self.begin()
            print_json(data)

    def end(self, error: BaseException | None) -> None:
        """Print what is still to be printed as JSON: the object, or the last line."""
        ending = describe(error)
        if not self.as_json or not ending or (self.shape is None and not ending.error):
            return
        around = plain(self.head), plain(ending)
        if self.shape is Lines:
            self.begin()
            print_json({"event": ENDED, **around[0], **around[1]})
        elif self.result is None:
            print_json({**around[0], **around[1]})
        else:
            print_json({**around[0], **plain(self.result), **around[1]}, indent=2)


current = Output()
"""Of the run that goes on: commands are run one after the other."""


@contextmanager
def one_run(words: Sequence[str]) -> Iterator[None]:
    """A run with these arguments. Raises OSError when its answer cannot be written."""
    global current  # noqa: PLW0603 - threads that deploy ask for it, too
    current = Output(words)
    try:
        yield
    except BaseException as error:
        current.end(error)
        raise
    else:
        current.end(None)
    finally:
        verbose.end()
        current = Output()


def answer(result: Any) -> None:
    """What a command found: its document with --json, printed at its end. It may still be filled until then."""
    current.result = result


def print_json(data: dict[str, Any], indent: int | None = None) -> None:
    click.echo(json.dumps(data, indent=indent))  # not cut: it would be no JSON


def answers(shape: Any) -> Decorator:
    """Add --json, --verbose and --quiet to a command, above all its other options. *shape* is what its JSON is: the
    dataclass that it gives to `answer`, Lines for the events that it shows, or None where its result is a document
    already.
    """

    def decorate(function: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(function)
        def wrapper(*args: Any, **kwargs: Any) -> Any:
            current.enter(click.get_current_context().command_path.partition(" ")[2], shape)
            return function(*args, **kwargs)

        wrapper.__dict__["shape"] = shape
        own: list[click.Parameter] = wrapper.__dict__.setdefault("__click_params__", [])
        before = list(own)
        taken = {name for option in before for name in option.opts}
        decorated = how_much(wrapper, short="-v" not in taken)
        decorated = flag("--json", take_json, JSON_HELP)(decorated) if shape is not None else decorated
        own[:] = [*own[len(before) :], *before]  # in a help, the command's own stand first
        return decorated

    return decorate


def how_much(function: Callable[..., Any], *, short: bool = True) -> Callable[..., Any]:
    """Add --verbose, with -v where that is free, and --quiet."""
    function = flag("--quiet", take_quiet, QUIET_HELP)(function)
    names = ("-v", "--verbose") if short else ("--verbose",)
    return click.option(*names, count=True, expose_value=False, callback=take_verbosity, help=VERBOSE_HELP)(function)


def flag(name: str, take: Callable[[click.Context, click.Parameter, bool], None], text: str) -> Decorator:
    return click.option(name, is_flag=True, expose_value=False, callback=take, help=text)


def take_json(context: click.Context, option: click.Parameter, given: bool) -> None:
    current.as_json = current.as_json or given


def take_quiet(context: click.Context, option: click.Parameter, given: bool) -> None:
    current.quiet = current.quiet or given


def take_verbosity(context: click.Context, option: click.Parameter, given: int) -> None:
    current.verbosity += given
    if current.verbosity:
        verbose.begin(current.verbosity)
