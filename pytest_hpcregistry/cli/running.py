"""running: what runs on the controller."""

from __future__ import annotations

from dataclasses import asdict

import click

from ..cluster.client import ControllerClient
from ..core.messages import running
from ..core.running import WORKING
from .options import client_options
from .show import say, show_json


@click.command("running")
@click.option("--json", "as_json", is_flag=True, help="One document with every field, for programs.")
@client_options
def command(as_json: bool, client: ControllerClient) -> None:
    """Show what runs on the controller.

    Syncs, gcs, rollbacks and deploys, whoever began them, with how far they are and the nodes that are not done. Of
    those that sync or free, one is at work, and the others wait.

    \b
    Examples:
      hpc-container-manager running
      hpc-container-manager running --json
    """
    found, name = client.running(), client.cluster.controller.name
    if as_json:
        show_json({"running": [asdict(one) for one in found.commands], "locked": found.locked})
        return
    at_work = any(one.state == WORKING for one in found.commands)
    for one in found.commands:
        say(running(one) + ("   (stop it: hpc-container-manager cancel)" if one.state == WORKING else ""))
    if found.locked and not at_work:
        say(f"a command of which nothing is known holds the lock on {name}")
    elif not found.commands:
        say(f"nothing runs on {name}")
