"""What many commands share: which cluster, and how its events are shown."""

from __future__ import annotations

import functools
import json
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext, suppress
from io import StringIO
from pathlib import Path
from typing import Any

import click

from ..cluster.client import open_client
from ..config.fields import read_rate
from ..config.load import SYNC_METHODS, load_cluster
from ..config.options import CLUSTER_OPTIONS
from ..core.errors import HpcRegistryError
from ..core.events import Event, Listener, UnderWay, to_line
from ..core.model import Cluster
from ..core.names import printable, visible
from ..core.pace import told_every
from ..report import lines

SIF = click.Path(path_type=Path)
TELL_EVERY = 10  # seconds between two lines of progress where there is no terminal


def which_cluster(function: Callable[..., Any]) -> Callable[..., Any]:
    """Add --cluster, --controller, --user and --key; the function gets each as it was given."""
    for option in reversed(CLUSTER_OPTIONS):
        kind = SIF if option.metavar == "FILE" else str
        function = click.option(f"--{option.name}", type=kind, metavar=option.metavar, help=option.help)(function)
    return function


def cluster_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """As which_cluster, but the function gets the loaded `cluster`."""

    @which_cluster
    @functools.wraps(function)
    def wrapper(
        *args: Any, cluster: Path | None, controller: str | None, user: str | None, key: Path | None, **kwargs: Any
    ) -> Any:
        return function(*args, cluster=load_cluster(cluster, controller=controller, user=user, key=key), **kwargs)

    return wrapper


def client_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """As cluster_options, but the function gets a `client` of the controller, closed at its end."""

    @cluster_options
    @functools.wraps(function)
    def wrapper(*args: Any, cluster: Cluster, **kwargs: Any) -> Any:
        with open_client(cluster) as client:
            return function(*args, client=client, **kwargs)

    return wrapper


def engine_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """Add --engine and --limit-rate; the function gets `how`, words for the controller's sync."""

    @click.option(
        "--engine", type=click.Choice(SYNC_METHODS), help="How bytes reach the nodes [default: the cluster file's]."
    )
    @click.option("--limit-rate", metavar="RATE", help="What one machine may send: bytes/s, or 500K, 100M, 1G.")
    @functools.wraps(function)
    def wrapper(*args: Any, engine: str | None, limit_rate: str | None, **kwargs: Any) -> Any:
        how = ["--engine", engine] if engine else []
        try:
            how += ["--limit-rate", str(read_rate(limit_rate))] if limit_rate else []
        except ValueError as error:
            raise click.BadParameter(str(error), param_hint="--limit-rate") from None
        return function(*args, how=how, **kwargs)

    return wrapper


def say(text: str, *, err: bool = False) -> None:
    """Print text, of one line or more: the one way out of the command line, so that nothing in it is obeyed there."""
    click.echo(printable(text), err=err)


def say_error(error: HpcRegistryError) -> None:
    """Print what happened, and a line for each thing to do about it."""
    click.secho(printable(f"error: {error}"), fg="red", err=True)
    for hint in error.hint.splitlines():
        say(f"hint: {hint}", err=True)


def say_usage_error(error: click.ClickException) -> None:
    """As click itself does, but for what it quotes of the command line."""
    shown = StringIO()
    error.show(shown)
    text = shown.getvalue().replace(error.message, visible(error.message))
    say(text.rstrip("\n"), err=True)


@contextmanager
def shown() -> Iterator[Listener]:
    """A listener for what takes long: bars on a terminal, elsewhere lines, with one of progress now and then."""
    if sys.stdout.isatty() and os.environ.get("TERM", "dumb") not in ("dumb", "unknown"):
        from ..report import bars  # slow to import, and of no use without a terminal

        with bars.on_this_terminal() as shower:
            yield shower.listen
    else:
        yield told_every(TELL_EVERY, show)


def show(event: Event) -> None:
    """Show one event as a line, if it is one for people."""
    line = lines.describe(event)
    if line:
        # Nobody reads any more? An upload must not fail of it: it is said of the next line that matters.
        with suppress(OSError) if isinstance(event, UnderWay) else nullcontext():
            say(line, err=line.startswith("✗"))


def show_json_line(event: Event) -> None:
    """Print one event for programs."""
    click.echo(to_line(event))  # not cut: it would be no JSON


def show_json(data: Any) -> None:
    """Print data for programs."""
    click.echo(json.dumps(data, indent=2))


def show_table(rows: list[list[str]]) -> None:
    """Print rows, the first as heading."""
    for line in lines.table(rows):
        say(line)
