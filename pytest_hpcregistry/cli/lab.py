"""lab: a real cluster in containers on this machine."""

from __future__ import annotations

import os
from dataclasses import astuple, dataclass

import click

from .. import lab
from ..lab import site
from ..lab.look import MachineStatus
from ..lab.state import load
from .groups import Group
from .output import answer, answers
from .show import say, show_table, tell


@dataclass(frozen=True)
class LabName:
    """A lab."""

    name: str


@dataclass(frozen=True)
class Lab(LabName):
    """A lab that runs, and how many compute nodes it has."""

    cluster_file: str
    nodes: int


@dataclass(frozen=True)
class Machines(LabName):
    """The machines of a lab; `link_mbit` limits each one's link in Mbit/s, 0 does not."""

    site: str
    cluster_file: str
    link_mbit: int
    machines: list[MachineStatus]


@click.group("lab", cls=Group)
def command() -> None:
    """Run a cluster in containers, for trials.

    Real Slurm, Apptainer, sshd and rsync on this machine. Needs root and Podman.

    \b
    Examples:
      hpc-container-manager lab up
      hpc-container-manager lab down
    """


NAME = click.option("--name", default="default", show_default=True, help="Labs of other names run side by side.")


@command.command("up")
@answers(Lab)
@click.option(
    "--nodes", type=click.IntRange(1, site.MOST_NODES), help="How many compute nodes [default: the site's; 3]."
)
@click.option("--site", "site_name", metavar="SITE", help="The shape of the cluster: see lab sites [default: demo].")
@click.option(
    "--link-mbit", type=click.IntRange(0), metavar="N", help="Limit every machine's link to N Mbit/s; 0: no limit."
)
@NAME
def up(nodes: int | None, site_name: str | None, link_mbit: int | None, name: str) -> None:
    """Start the lab, or find it running.

    The first start builds the node image, which takes a minute or two, and keeps it. A limit of the links, in both
    directions, stays until another is given; a machine that was restarted is limited again by the next lab up.

    \b
    Examples:
      hpc-container-manager lab up --nodes 8 --name big
      hpc-container-manager lab up --nodes 8 --name big --link-mbit 100
      hpc-container-manager lab up --site ports --name other
    """

    def show_step(text: str, seconds: float) -> None:
        say(f"  {text} ({seconds:.1f} s)")

    state = lab.up(name, nodes, on_step=show_step, link_mbit=link_mbit, site_name=site_name)
    answer(Lab(name, str(state.cluster_file), len(state.nodes)))
    tell(f"lab {name}: {len(state.nodes)} nodes ready. Use it as any cluster:")
    tell(f"  export HPC_CLUSTER={state.cluster_file}")


@dataclass(frozen=True)
class Sites:
    """Each site -> what is particular to it."""

    sites: dict[str, str]


@command.command("sites")
@answers(Sites)
def sites() -> None:
    """List the sites that a lab can be.

    Each with what is particular to it.

    \b
    Example:
      hpc-container-manager lab sites
    """
    found = {name: site.load(name).about for name in site.names()}
    answer(Sites(found))
    show_table([["SITE", "IS"], *map(list, found.items())])


@command.command("status")
@answers(Machines)
@NAME
def status(name: str) -> None:
    """Show the machines and their states.

    Every machine's container, address and state in Slurm.

    \b
    Example:
      hpc-container-manager lab status --name big
    """
    machines = lab.look(name)
    state = load(name)
    link_mbit = state.link_mbit if state else 0
    site_name = state.site.name if state else site.DEMO
    cluster_file = str(lab.state_directory(name) / "cluster.yaml")
    answer(Machines(name, site_name, cluster_file, link_mbit, machines))
    show_table([["MACHINE", "CONTAINER", "ADDRESS", "SLURM"], *([*astuple(machine)] for machine in machines)])
    if link_mbit:
        tell(f"every link: {link_mbit} Mbit/s")
    tell(f"site: {site_name}")
    tell(f"cluster file: {cluster_file}")
    lab.status(name)  # after the table: an error when not all of it runs


@command.command("ssh", context_settings={"ignore_unknown_options": True})
@NAME
@click.argument("host", required=False)
@click.argument("command", nargs=-1, type=click.UNPROCESSED)
def ssh(name: str, host: str | None, command: tuple[str, ...]) -> None:
    """Log in to HOST, or run COMMAND there.

    As root, or another user as USER@HOST. Without HOST it is a login on the controller.

    \b
    Examples:
      hpc-container-manager lab ssh
      hpc-container-manager lab ssh alice@c001 id
      hpc-container-manager lab ssh --name big hpc-controller sinfo
    """
    lab.status(name)  # a lab that does not run is an error that says so, not a time-out
    argv = lab.ssh_argv(name, host)
    os.execvp(argv[0], [*argv, *command])  # noqa: S606 - the terminal is ssh's from here on


@command.command("down")
@answers(LabName)
@NAME
def down(name: str) -> None:
    """Stop the lab and remove it.

    The node image is kept.

    \b
    Example:
      hpc-container-manager lab down --name big
    """
    lab.down(name)
    answer(LabName(name))
    say(f"lab {name}: gone")
