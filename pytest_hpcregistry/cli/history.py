"""history: who changed what, when, and how it ended."""

from __future__ import annotations

from dataclasses import dataclass

import click

from ..cluster.client import ControllerClient
from ..cluster.history import read
from ..core.errors import Undetermined
from ..core.history import Record, read_since
from ..core.messages import count
from ..report.history import describe
from .known_names import complete_images
from .options import client_options
from .output import answer, answers
from .show import say, tell

USUAL = "7d"


@dataclass(frozen=True)
class History:
    """What was asked for, the newest last; so many lines of the history cannot be read."""

    records: list[Record]
    unreadable_lines: int


def since_option(context: click.Context, option: click.Parameter, text: str | None) -> str | None:
    """As it was given, if it is a time: an age counts from the controller's clock, which wrote the history."""
    try:
        if text is not None:
            read_since(text)
    except ValueError as error:
        raise click.BadParameter(str(error)) from None
    return text


@click.command("history")
@answers(History)
@click.option(
    "--since",
    metavar="WHEN",
    callback=since_option,
    help="From then on: 7d, 2h, 30m, 2026-11-01, 2026-11-01T12:00 (UTC) [default: 7d, or all with --last].",
)
@click.option(
    "--image",
    metavar="NAME",
    shell_complete=complete_images,
    help="Only what names this image; a sync of all images names none.",
)
@click.option("-n", "--last", type=click.IntRange(1), metavar="N", help="Only the last N.")
@client_options
def command(since: str | None, image: str | None, last: int | None, client: ControllerClient) -> None:
    """Show who changed what and how it ended.

    With the time of each. Deploy, sync, rollback, gc, sign, the test of an image on the cluster, and setup, when it
    changed something. The newest come last, as with sacct; times are UTC. A command ends as ok, failed or interrupted,
    is running, or was killed. `by USER from ADDRESS` is what the controller knows, `as USER@HOST` what the sender said
    of itself. Nothing is noted of `test SIF` without --on: no controller takes part in it.

    \b
    Examples:
      hpc-container-manager history
      hpc-container-manager history --since 2026-11-01 --image pytorch.sif
      hpc-container-manager history --last 20 --json
    """
    found = read(client, since=since or (None if last else USUAL), image=image, last=last)
    answer(History(found.records, found.unreadable))
    for one in found.records:
        tell(describe(one))
    if not found.records and not found.odd:
        tell("nothing is noted" + (f" since {since or USUAL}" if since or not last else ""))
    if found.odd:
        what, hint = "; ".join(found.odd), "move it away: the next command begins a new file"
        raise Undetermined(
            f"not all of the history can be read: {what}", where=client.cluster.controller.name, hint=hint
        )
    if found.unreadable:
        say(f"! {count(found.unreadable, 'line')} of the history cannot be read", err=True)
