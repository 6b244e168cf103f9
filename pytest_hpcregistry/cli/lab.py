"""lab: a real cluster in containers on this machine."""

from __future__ import annotations

import click

from .. import lab
from .options import show_json


@click.group("lab")
def lab_group() -> None:
    """A real Slurm and Apptainer cluster in containers on this machine, to try everything on. Needs root and Podman."""


NAME = click.option("--name", default="default", show_default=True, help="Labs of other names run side by side.")


@lab_group.command("up")
@click.option("--nodes", type=click.IntRange(1, 64), default=3, show_default=True, help="How many compute nodes.")
@NAME
def up(nodes: int, name: str) -> None:
    """Start the lab, or find it running; the first start builds the node image and keeps it."""
    state = lab.up(name, nodes, on_step=lambda text, seconds: click.echo(f"  {text} ({seconds:.1f} s)"))
    click.echo(f"lab {name}: {nodes} nodes idle. Use it as any cluster:")
    click.echo(f"  export HPC_CLUSTER={state.cluster_file}")


@lab_group.command("status")
@click.option("--json", "as_json", is_flag=True, help="For programs.")
@NAME
def status(name: str, as_json: bool) -> None:
    """Say what runs."""
    state = lab.status(name)
    if as_json:
        show_json({"name": name, "cluster_file": str(state.cluster_file)})
    else:
        click.echo(str(state))


@lab_group.command("down")
@NAME
def down(name: str) -> None:
    """Stop the lab and remove all of it but the node image."""
    lab.down(name)
    click.echo(f"lab {name}: gone")


GROUP = (lab_group,)
