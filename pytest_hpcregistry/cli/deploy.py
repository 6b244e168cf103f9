"""deploy: bring SIF files to the cluster, and prove it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from ..cluster import deploy as deploying
from ..cluster.client import ControllerClient
from ..core.errors import UsageError
from ..core.names import visible
from .options import SIF, client_options, engine_options
from .show import say, show, shown

BUILT = Path("build/containers/apptainer")


@click.group("deploy")
def command() -> None:
    """Copy SIF files to the cluster, and check them there."""


def deploy_options(function: Any) -> Any:
    """What every deploy can be told, by the names of deploying.deploy's arguments."""
    function = engine_options(function)
    text = "First run the checks of the images on this machine, and deploy none if one fails."
    function = click.option("--test", is_flag=True, help=text)(function)
    text = "Deploy without the scan that the cluster file asks for."
    function = click.option("--no-scan", is_flag=True, help=text)(function)
    text = "Deploy images that no node's machine runs, too."
    function = click.option("--any-architecture", is_flag=True, help=text)(function)
    function = click.option("-v", "--verify", is_flag=True, help="Read the images back from every disk.")(function)
    return click.option("-s", "--sync-nodes", is_flag=True, help="Bring them to all compute nodes too.")(function)


@command.command("to-cluster")
@click.argument("path", metavar="SIF", type=SIF)
@click.argument("target")
@deploy_options
@client_options
def deploy_to_cluster(path: Path, target: str, client: ControllerClient, **how: Any) -> None:
    """Deploy SIF under the name TARGET in the registry.

    \b
    Example:
      hpc-container-manager deploy to-cluster build/pytorch.sif \\
        /opt/containers/ml-frameworks/pytorch.sif --controller hpc-controller --sync-nodes --verify
    """
    image = deploying.check(path, target, client)
    with shown() as listener:
        deploying.deploy([image], client, listener, **how)


@command.command("single")
@click.argument("path", metavar="SIF", type=SIF)
@click.option("-r", "--registry-path", help="The directory to deploy to [default: REGISTRY/ml-frameworks].")
@deploy_options
@client_options
def deploy_single(path: Path, registry_path: str | None, client: ControllerClient, **how: Any) -> None:
    """Deploy SIF under its own name.

    \b
    Example:
      hpc-container-manager deploy single -s -v build/containers/apptainer/pytorch.sif
    """
    image = deploying.check(path, target_of(path, registry_path, client), client)
    with shown() as listener:
        deploying.deploy([image], client, listener, **how)


@command.command("all")
@click.argument("directory", type=SIF, default=BUILT)
@click.option("-r", "--registry-path", help="The directory to deploy to [default: REGISTRY/ml-frameworks].")
@click.option("-n", "--dry-run", is_flag=True, help="Check them and say what would be done; change nothing.")
@click.option("-p", "--parallel", type=click.IntRange(1, 16), default=1, help="How many images are sent at once.")
@deploy_options
@client_options
def deploy_all(
    directory: Path, registry_path: str | None, dry_run: bool, parallel: int, client: ControllerClient, **how: Any
) -> None:
    """Deploy every SIF file in DIRECTORY [default: build/containers/apptainer].

    \b
    Example:
      hpc-container-manager deploy all --sync-nodes --verify --dry-run
    """
    paths = sorted(directory.glob("*.sif"))
    if not paths:
        raise UsageError(
            f"{visible(directory)}: there is no *.sif file", hint="convert an image first, or name the directory"
        )
    images = [deploying.check(path, target_of(path, registry_path, client), client) for path in paths]
    if dry_run:
        if how["test"]:
            deploying.run_checks(images, show)
        scanned = "" if how["no_scan"] or not client.cluster.scan.command else ", after a scan"
        for image in images:
            present = deploying.look(image, client, any_architecture=how["any_architecture"])
            size = 0 if present else image.size
            say(f"would deploy {visible(image.path)} as {image.name}{scanned}, sending {size} bytes")
        return
    with shown() as listener:
        deploying.deploy(images, client, listener, parallel=parallel, **how)


def target_of(path: Path, registry_path: str | None, client: ControllerClient) -> str:
    registry = client.cluster.registry
    return f"{(registry_path or f'{registry.path}/{registry.directories[0]}').rstrip('/')}/{path.name}"
