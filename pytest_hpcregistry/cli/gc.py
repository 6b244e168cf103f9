"""gc: free the bytes that nothing refers to."""

from __future__ import annotations

import click

from ..cluster.client import ControllerClient
from ..cluster.outcomes import raise_worst, sync_failures
from ..core.history import read_grace
from ..report.schema import Lines
from .options import client_options, wait_option
from .output import answers
from .show import shown


def read_option(context: click.Context, option: click.Parameter, text: str | None) -> int | None:
    """Seconds."""
    try:
        return None if text is None else read_grace(text)
    except ValueError as error:
        raise click.BadParameter(str(error)) from None


@click.command("gc")
@answers(Lines)
@click.option(
    "--keep", type=click.IntRange(0), metavar="N", help="Versions kept beside the current one [default: registry.keep]."
)
@click.option(
    "--grace",
    callback=read_option,
    metavar="TIME",
    help="Keep what was still referenced so long ago: 14d, 12h, 90s, or seconds [default: 1h].",
)
@click.option("-n", "--dry-run", is_flag=True, help="Only say what would be freed; change nothing.")
@wait_option
@client_options
def command(keep: int | None, grace: int | None, dry_run: bool, no_wait: bool, client: ControllerClient) -> None:
    """Free the bytes that nothing refers to.

    Objects that no version in the catalog and no name of an image refers to are removed, on the controller and on all
    nodes. Objects in use, or unreferenced for less than an hour, are kept. Files that the catalog does not know are
    reported, never removed.

    A node that cannot be asked, and on which Slurm does not count either, is not counted, and no failure. Where nodes
    share the controller's registry, nothing there is freed while one of them is silent.

    It runs on the controller, and waits there for the end of a sync. Interrupted while it waits, it is withdrawn; what
    has begun goes on there: see running and cancel.

    \b
    Examples:
      hpc-container-manager gc --dry-run
      hpc-container-manager gc --keep 1 --grace 14d
    """
    with shown() as listener:
        finished = client.gc(listener, keep=keep, grace=grace, dry_run=dry_run, no_wait=no_wait)
    hint = "repair what is named above, then: hpc-container-manager gc"
    raise_worst(sync_failures(finished, hint))
