"""Options that several commands have: which cluster, and how bytes reach the nodes."""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from ..cluster.arguments import SyncOptions
from ..cluster.client import open_client
from ..config.load import load_cluster
from ..config.options import CLUSTER_OPTIONS
from ..core.coverage import Required, read_required
from ..core.fields import read_rate
from ..core.model import SYNC_METHODS, Cluster
from ..core.nodeset import Choice
from . import output
from .known_names import complete_nodes

SIF = click.Path(path_type=Path)
OF_WHICH_CLUSTER = tuple(option.name for option in CLUSTER_OPTIONS)


def refuse(names: tuple[str, ...], because: str) -> None:
    """Raise UsageError for an option that is of no use here."""
    context = click.get_current_context()
    for option in context.command.params:
        given = context.get_parameter_source(str(option.name)) == click.core.ParameterSource.COMMANDLINE
        if given and option.name in names:
            raise click.UsageError(f"{option.opts[-1]} {because}")


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
        return function(*args, cluster=load(cluster, controller=controller, user=user, key=key), **kwargs)

    return wrapper


def load(cluster: Path | None, **which: Any) -> Cluster:
    """The cluster that these options name, and from here on the one that the command is about."""
    found = load_cluster(cluster, **which)
    output.current.about(found)
    return found


def client_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """As cluster_options, but the function gets a `client` of the controller, closed at its end."""

    @cluster_options
    @functools.wraps(function)
    def wrapper(*args: Any, cluster: Cluster, nodes: str = "", exclude: str = "", **kwargs: Any) -> Any:
        with open_client(cluster, Choice(nodes, exclude)) as client:
            return function(*args, client=client, **kwargs)

    return wrapper


def node_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """As client_options, with --nodes and --exclude, by which the `client` asks and changes these nodes only."""
    return nodes_options(client_options(function))


def nodes_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """Add --nodes and --exclude; the function gets each, "" where it was not given."""
    text = "Only these nodes: c[001-010], or @gpu, a group of the controller's ClusterShell."
    function = nodes_option("-w", "--nodes", help=text)(function)
    return nodes_option("-x", "--exclude", help="All nodes but these.")(function)


def dry_run_option(function: Callable[..., Any]) -> Callable[..., Any]:
    """Add --dry-run."""
    text = "Only say what would be done, and where; change nothing."
    return click.option("-n", "--dry-run", is_flag=True, help=text)(function)


def nodes_option(*names: str, help: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:  # noqa: A002
    """Add an option that, as with clush, may be given several times; the function gets all of them as one node set."""
    return click.option(
        *names, metavar="NODESET", multiple=True, callback=one_set, shell_complete=complete_nodes, help=help
    )


def one_set(context: click.Context, option: click.Parameter, given: tuple[str, ...]) -> str:
    """What was given, "" where nothing was; an empty text, as of a variable that is not set, would mean all nodes."""
    if not all(text.strip() for text in given):
        raise click.BadParameter("names no node")
    if len(given) > 1 and any(operator in text for text in given for operator in "!&^"):
        # A node set is read from left to right: an operator of one would be of those before it, too.
        raise click.BadParameter("given several times, it must not use !, & and ^")
    return ",".join(given)


def wait_option(function: Callable[..., Any]) -> Callable[..., Any]:
    text = "Fail at once where another sync or gc is at work [default: wait for its end]."
    return click.option("--no-wait", is_flag=True, help=text)(function)


def require_option(function: Callable[..., Any]) -> Callable[..., Any]:
    """Add --require; the function gets it as `required`, None where it was not given."""
    text = "So many nodes, or such a share of all (95%), must have been asked and be well; else the exit code is 3."
    return click.option("--require", "required", metavar="NODES", callback=require, help=text)(function)


def require(context: click.Context, option: click.Parameter, text: str | None) -> Required | None:
    try:
        return None if text is None else read_required(text)
    except ValueError as error:
        raise click.BadParameter(str(error)) from None


def engine_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """Add --engine, --limit-rate, --repair and --no-wait; the function gets them as `options`."""

    @click.option(
        "--engine", type=click.Choice(SYNC_METHODS), help="How bytes reach the nodes [default: the cluster file's]."
    )
    @click.option(
        "--limit-rate",
        metavar="RATE",
        help="The most that one machine sends, to all nodes together: bytes/s, or 500K, 100M, 1G (powers of 1024); "
        "0: no limit.",
    )
    @click.option(
        "--repair", is_flag=True, help="First read the images on every machine, and replace copies that are damaged."
    )
    @wait_option
    @functools.wraps(function)
    def wrapper(
        *args: Any, engine: str | None, limit_rate: str | None, repair: bool, no_wait: bool, **kwargs: Any
    ) -> Any:
        try:
            options = SyncOptions(engine, read_rate(limit_rate) if limit_rate is not None else None, repair, no_wait)
        except ValueError as error:
            raise click.BadParameter(str(error), param_hint="--limit-rate") from None
        return function(*args, options=options, **kwargs)

    return wrapper
