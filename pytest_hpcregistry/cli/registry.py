"""registry: phase 1."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import click

from ..cluster.client import ControllerClient
from ..core.errors import CheckFailed
from ..core.names import visible
from ..setup import packer, playbook
from ..setup.transcript import HostRecap
from .options import SIF, client_options
from .output import answer, answers
from .show import say


@dataclass(frozen=True)
class Setup:
    """How phase 1 ended: changes that were made, or with --check would be, on all hosts and on each; in seconds."""

    check: bool
    changed: int
    hosts: dict[str, HostRecap]
    seconds: float


@dataclass(frozen=True)
class Templates:
    """Packer templates that do not set packer_build=true."""

    missing: list[str]


@click.group("registry")
def command() -> None:
    """Phase 1: set up the registry on all machines."""


@command.command("setup")
@answers(Setup)
@click.option("--check", is_flag=True, help="Only say what would change.")
@click.option("--diff", is_flag=True, help="Show the changes in files.")
@click.option("-e", "--extra-vars", multiple=True, metavar="K=V", help="Variables for the role, as ansible-playbook's.")
@client_options
def registry_setup(check: bool, diff: bool, extra_vars: tuple[str, ...], client: ControllerClient) -> None:
    """Set up the registry by Ansible.

    Run twice, the second run changes nothing.

    \b
    Example:
      hpc-container-manager registry setup --check --diff
    """
    nodes = client.list_nodes()
    recap = playbook.set_up(client.cluster, nodes, check=check, diff=diff, extra_vars=extra_vars, on_line=say)
    answer(Setup(check, recap.changed, dict(recap.hosts), recap.seconds))


@command.command("check-packer")
@answers(Templates)
@click.argument("directory", type=SIF)
def registry_check_packer(directory: Path) -> None:
    """Find Packer templates without packer_build.

    In an image that a template in DIRECTORY builds without packer_build=true, the role would set up a registry.

    \b
    Example:
      hpc-container-manager registry check-packer packer/
    """
    missing = packer.find_templates_without_packer_build(directory)
    answer(Templates([str(found) for found in missing]))
    if missing:
        raise CheckFailed(
            "\n".join(f"{visible(found)}: does not set packer_build=true" for found in missing),
            hint='add "-e", "packer_build=true" to the provisioner\'s extra_arguments',
        )
    say("✓ every Packer template with an Ansible provisioner sets packer_build=true")
