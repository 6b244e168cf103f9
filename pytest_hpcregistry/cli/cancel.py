"""cancel: end what is at work on the controller."""

from __future__ import annotations

from dataclasses import dataclass

import click

from ..cluster.client import ControllerClient
from ..core.errors import HpcRegistryError
from ..core.history import FAILED, INTERRUPTED, OK, Record
from ..core.messages import running, what_next
from ..core.running import Running
from ..report.history import describe
from .options import client_options
from .output import answer, answers
from .show import say


@dataclass(frozen=True)
class Cancelled:
    """How the command ended that was at work, and what waited for it, which is at work then."""

    ended: Record
    waiting: list[Running]


@click.command("cancel")
@answers(Cancelled)
@client_options
def command(client: ControllerClient) -> None:
    """End what is at work on the controller.

    A sync, gc or rollback ends as by Ctrl-C there: its transfers are stopped, nodes that are done stay done, and no
    node has half an image. The history says who cancelled it. What waits for it is not ended, and is at work then.

    Exit code 0 when it has ended, 2 when nothing is at work, 4 when it does not end.

    \b
    Example:
      hpc-container-manager cancel
    """
    cancelled = client.cancel()
    how = cancelled.how
    answer(Cancelled(how, cancelled.waiting))
    mark = "✓" if how.state in (INTERRUPTED, OK) else "✗"
    say(f"{mark} {describe(how)}")
    for one in cancelled.waiting:
        say(f"  next: {running(one)}")
    if how.state in (INTERRUPTED, FAILED):
        say(f"hint: {what_next(how)}", err=True)
    if mark == "✗":
        raise HpcRegistryError(f"the {how.command} did not end by this: it ended as {how.state}")
