"""registry: phase 1."""

from __future__ import annotations

from pathlib import Path

import click

from ..cluster.client import ControllerClient
from ..core.errors import CheckFailed
from ..core.names import visible
from ..setup import packer, playbook
from .options import SIF, client_options
from .show import say


@click.group("registry")
def command() -> None:
    """Phase 1: set up the registry on all machines."""


@command.command("setup")
@click.option("--check", is_flag=True, help="Only say what would change.")
@click.option("--diff", is_flag=True, help="Show the changes in files.")
@click.option("-e", "--extra-vars", multiple=True, metavar="K=V", help="Variables for the role, as ansible-playbook's.")
@client_options
def registry_setup(check: bool, diff: bool, extra_vars: tuple[str, ...], client: ControllerClient) -> None:
    """Set up the registry by Ansible; run twice, the second run changes nothing.

    \b
    Example:
      hpc-container-manager registry setup --check --diff
    """
    client.require_root()
    nodes = client.list_nodes()
    playbook.set_up(client.cluster, nodes, check=check, diff=diff, extra_vars=extra_vars, on_line=say)


@command.command("check-packer")
@click.argument("directory", type=SIF)
def registry_check_packer(directory: Path) -> None:
    """Find Packer templates that do not set packer_build=true.

    In an image that such a template in DIRECTORY builds, the role would set up a registry.

    \b
    Example:
      hpc-container-manager registry check-packer packer/
    """
    missing = packer.find_templates_without_packer_build(directory)
    if missing:
        raise CheckFailed(
            "\n".join(f"{visible(found)}: does not set packer_build=true" for found in missing),
            hint='add "-e", "packer_build=true" to the provisioner\'s extra_arguments',
        )
    say("✓ every Packer template with an Ansible provisioner sets packer_build=true")
