"""history: who changed what, when, and how it ended."""

from __future__ import annotations

from dataclasses import asdict

import click

from ..cluster.client import ControllerClient
from ..cluster.history import History, read
from ..core.errors import Undetermined
from ..core.history import read_since
from ..core.messages import count
from ..report.history import describe
from .options import client_options
from .show import say, show_json

USUAL = "7d"


def since_option(context: click.Context, option: click.Parameter, text: str | None) -> str | None:
    """As it was given, if it is a time: an age counts from the controller's clock, which wrote the history."""
    try:
        if text is not None:
            read_since(text)
    except ValueError as error:
        raise click.BadParameter(str(error)) from None
    return text


@click.command("history")
@click.option(
    "--since",
    metavar="WHEN",
    callback=since_option,
    help="From then on: 7d, 2h, 30m, 2026-11-01, 2026-11-01T12:00 (UTC) [default: 7d, or all with --last].",
)
@click.option("--image", metavar="NAME", help="Only what names this image; a sync of all images names none.")
@click.option("-n", "--last", type=click.IntRange(1), metavar="N", help="Only the last N.")
@click.option("--json", "as_json", is_flag=True, help="One document with every field, for programs.")
@client_options
def command(since: str | None, image: str | None, last: int | None, as_json: bool, client: ControllerClient) -> None:
    """Show who changed what, when, and how it ended.

    Deploy, sync, rollback, gc, sign, the test of an image on the cluster, and setup, when it changed something. The
    newest come last, as with sacct; times are UTC. A command ends as ok, failed or interrupted, is running, or was
    killed. `by USER from ADDRESS` is what the controller knows, `as USER@HOST` what the sender said of itself. Nothing
    is noted of `test SIF` without --on: no controller takes part in it.

    \b
    Examples:
      hpc-container-manager history
      hpc-container-manager history --since 2026-11-01 --image pytorch.sif
      hpc-container-manager history --last 20 --json
    """
    found = read(client, since=since or (None if last else USUAL), image=image, last=last)
    if as_json:
        show_json({"records": [asdict(one) for one in found.records], "unreadable_lines": found.unreadable})
    else:
        show_records(found, "" if last and not since else f" since {since or USUAL}")
    if found.odd:
        what, hint = "; ".join(found.odd), "move it away: the next command begins a new file"
        raise Undetermined(
            f"not all of the history can be read: {what}", where=client.cluster.controller.name, hint=hint
        )


def show_records(found: History, when: str) -> None:
    for one in found.records:
        say(describe(one))
    if not found.records and not found.odd:
        say(f"nothing is noted{when}")
    if found.unreadable:
        say(f"! {count(found.unreadable, 'line')} of the history cannot be read", err=True)
