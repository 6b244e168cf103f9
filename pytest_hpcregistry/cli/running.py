"""running: what runs on the controller."""

from __future__ import annotations

from dataclasses import dataclass

import click

from ..cluster.client import ControllerClient
from ..core.messages import running
from ..core.running import WORKING, Running
from .options import client_options
from .output import answer, answers
from .show import tell


@dataclass(frozen=True)
class Commands:
    """What runs, waits or has begun; `locked`: whether anything has the turn to sync or free."""

    running: list[Running]
    locked: bool


@click.command("running")
@answers(Commands)
@client_options
def command(client: ControllerClient) -> None:
    """Show what runs on the controller.

    Syncs, gcs, rollbacks and deploys, whoever began them, with how far they are and the nodes that are not done. Of
    those that sync or free, one is at work, and the others wait.

    \b
    Examples:
      hpc-container-manager running
      hpc-container-manager running --json
    """
    found, name = client.running(), client.cluster.controller.name
    answer(Commands(found.commands, found.locked))
    at_work = any(one.state == WORKING for one in found.commands)
    for one in found.commands:
        tell(running(one) + ("   (stop it: hpc-container-manager cancel)" if one.state == WORKING else ""))
    if found.locked and not at_work:
        tell(f"a command of which nothing is known holds the lock on {name}")
    elif not found.commands:
        tell(f"nothing runs on {name}")
