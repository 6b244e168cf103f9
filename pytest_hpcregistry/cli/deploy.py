"""deploy: bring SIF files to the cluster, and prove it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import click

from ..cluster import deploy as deploying
from ..cluster import image_signatures
from ..cluster.arguments import SyncOptions
from ..cluster.client import ALL, ControllerClient
from ..core.errors import UsageError
from ..core.events import WouldDeploy
from ..core.names import visible
from ..report.schema import Lines
from .node_results import end, listening
from .options import SIF, engine_options, node_options, require_option
from .output import answers
from .show import show, shown

BUILT = Path("build/containers/apptainer")


class Deploy(click.Group):
    """A group whose command `default` need not be named."""

    default = "single"

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        named = not args or args[0] in (*self.commands, *ctx.help_option_names)
        return super().parse_args(ctx, args if named else [self.default, *args])


@click.group("deploy", cls=Deploy)
def command() -> None:
    """Copy SIF files to the cluster.

    With --sync-nodes to all nodes too, and with --verify they are read back there. What is no command is a file:
    `deploy SIF…` is `deploy single SIF…`, with the options in deploy single --help.

    \b
    Example:
      hpc-container-manager deploy --sync-nodes --verify build/containers/apptainer/pytorch.sif build/tools.sif
    """


def deploy_options(function: Any) -> Any:
    """What every deploy can be told: the names of deploying.deploy's arguments, and dry_run."""
    function = require_option(engine_options(function))
    text = "Check them and say what would be done; change nothing."
    function = click.option("-n", "--dry-run", is_flag=True, help=text)(function)
    text = "First run the checks of the images on this machine, and deploy none if one fails."
    function = click.option("--test", is_flag=True, help=text)(function)
    text = "Deploy without the scan that the cluster file asks for."
    function = click.option("--no-scan", is_flag=True, help=text)(function)
    text = "Deploy images that no node's machine runs, too."
    function = click.option("--any-architecture", is_flag=True, help=text)(function)
    function = click.option("-v", "--verify", is_flag=True, help="Read the images back from every disk.")(function)
    return click.option("-s", "--sync-nodes", is_flag=True, help="Bring them to all compute nodes too.")(function)


def several_options(function: Any) -> Any:
    """What a deploy of several images can be told."""
    text = "How many images are sent at once."
    function = click.option("-p", "--parallel", type=click.IntRange(1, 16), default=1, help=text)(function)
    text = "The directory to deploy to [default: the first of registry.directories]."
    return click.option("-r", "--registry-path", help=text)(function)


@command.command("to-cluster")
@answers(Lines)
@click.argument("path", metavar="SIF", type=SIF)
@click.argument("target")
@deploy_options
@node_options
def deploy_to_cluster(path: Path, target: str, client: ControllerClient, **how: Any) -> None:
    """Deploy SIF as TARGET in the registry.

    \b
    Example:
      hpc-container-manager deploy to-cluster build/pytorch.sif \\
        /opt/containers/ml-frameworks/pytorch.sif --controller hpc-controller --sync-nodes --verify
    """
    deploy([(path, target)], client, **how)


@command.command("single")
@answers(Lines)
@click.argument("paths", metavar="SIF...", nargs=-1, required=True, type=SIF)
@several_options
@deploy_options
@node_options
def deploy_single(paths: Sequence[Path], registry_path: str | None, client: ControllerClient, **how: Any) -> None:
    """Deploy each SIF under its own name.

    \b
    Example:
      hpc-container-manager deploy single -s -v build/containers/apptainer/pytorch.sif
    """
    deploy([(path, target_of(path, registry_path, client)) for path in paths], client, **how)


@command.command("all")
@answers(Lines)
@click.argument("directory", type=SIF, default=BUILT)
@several_options
@deploy_options
@node_options
def deploy_all(directory: Path, registry_path: str | None, client: ControllerClient, **how: Any) -> None:
    """Deploy every SIF file in a directory.

    DIRECTORY is build/containers/apptainer by default.

    \b
    Example:
      hpc-container-manager deploy all --sync-nodes --verify --dry-run
    """
    paths = sorted(directory.glob("*.sif"))
    if not paths:
        raise UsageError(
            f"{visible(directory)}: there is no *.sif file", hint="convert an image first, or name the directory"
        )
    deploy([(path, target_of(path, registry_path, client)) for path in paths], client, **how)


def deploy(wanted: Sequence[tuple[Path, str]], client: ControllerClient, *, dry_run: bool, **how: Any) -> None:
    """Deploy each file to its target, or say what that would come to."""
    if client.choice != ALL and not how["sync_nodes"]:
        raise click.UsageError("--nodes and --exclude choose nodes for --sync-nodes")
    if how["required"] and not how["sync_nodes"]:
        raise click.UsageError("--require is for --sync-nodes")
    images = deploying.check_all(wanted, client)
    if not dry_run:
        with shown() as listener:
            deploying.deploy(images, client, listener, **how)
        return
    if how["test"]:
        deploying.run_checks(images, show)
    scanned = bool(client.cluster.scan.command) and not how["no_scan"]
    for image in images:
        image_signatures.look(image.path, image.name, client.cluster.registry, show)
        found = deploying.look(image, client, any_architecture=how["any_architecture"])
        size = 0 if found.present else image.size
        show(WouldDeploy(image.name, str(image.path), size, scanned))
    if how["sync_nodes"]:
        plan_sync(images, client, how["options"])


def plan_sync(images: Sequence[deploying.Image], client: ControllerClient, options: SyncOptions) -> None:
    """Say what a sync would bring to which node, if *images* were published."""
    assume = {image.name: {"digest": image.digest, "size": image.size} for image in images}
    with listening(dry_run=True) as listener:
        finished = client.sync(
            listener, replace(options, repair=False), names=list(assume), dry_run=True, assume=assume
        )
    end(finished, "sync")


def target_of(path: Path, registry_path: str | None, client: ControllerClient) -> str:
    registry = client.cluster.registry
    return f"{(registry_path or f'{registry.path}/{registry.directories[0]}').rstrip('/')}/{path.name}"
