"""convert, inspect, deploy: what is done with one image."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from ..cluster import deploy as deploying
from ..cluster.client import ControllerClient
from ..config.load import load_cluster
from ..core import sif
from ..core.digest import hash_file
from ..core.errors import UsageError
from ..core.names import visible
from ..images.convert import Converted, convert, default_output
from ..images.reproducible import LATEST
from ..transports import open_transport
from .options import SIF, client_options, engine_options, say, show_json, shown

BUILT = Path("build/containers/apptainer")


@click.group("convert")
def convert_group() -> None:
    """Make a SIF file of a Docker or Podman image."""


def convert_options(function: Any) -> Any:
    function = click.option("--force", "-f", is_flag=True, help="Overwrite OUT.")(function)
    function = click.option(
        "--source-date-epoch",
        "date",
        type=click.IntRange(0, LATEST),
        envvar="SOURCE_DATE_EPOCH",
        metavar="SECONDS",
        help="Date OUT so, in seconds since 1970 [default: as the image itself].",
    )(function)
    cluster = click.option("--cluster", type=SIF, envvar="HPC_CLUSTER", help="Build there without Apptainer here.")
    return cluster(function)


@convert_group.command("to-apptainer")
@click.argument("image")
@click.argument("out", type=SIF)
@convert_options
def convert_to_apptainer(image: str, out: Path, force: bool, date: int | None, cluster: Path | None) -> None:
    """Convert IMAGE to the SIF file OUT.

    IMAGE is NAME[:TAG] of the local Docker or Podman, docker-archive:FILE, oci-archive:FILE or docker://REFERENCE.
    Apptainer of this machine is used, or else the controller's. The same image gives the same file, byte for byte.

    \b
    Example:
      hpc-container-manager convert to-apptainer pytorch:latest build/containers/apptainer/pytorch.sif
    """
    run_convert(image, out, force, date, cluster)


@convert_group.command("single")
@click.argument("image")
@click.argument("out", type=SIF, required=False)
@convert_options
def convert_single(image: str, out: Path | None, force: bool, date: int | None, cluster: Path | None) -> None:
    """As to-apptainer; OUT may be left out.

    It is build/containers/apptainer/NAME.sif then.

    \b
    Example:
      hpc-container-manager convert single pytorch:latest
    """
    run_convert(image, out or default_output(image), force, date, cluster)


def run_convert(image: str, out: Path, force: bool, date: int | None, cluster_file: Path | None) -> None:
    say("Converting Docker image to Apptainer format...")
    transport = open_transport(load_cluster(cluster_file)) if cluster_file else None
    try:
        done: Converted = convert(image, out, force=force, date=date, builder=transport, on_line=say)
    finally:
        if transport:
            transport.close()
    say(f"✓ Successfully converted to {visible(out)} ({done.size / 1e6:.1f} MB, {done.seconds:.1f} s)")


@click.command("inspect")
@click.argument("path", metavar="SIF", type=SIF)
@click.option("--json", "as_json", is_flag=True, help="For programs.")
def inspect(path: Path, as_json: bool) -> None:
    """Show what is in a SIF file.

    A file that is no sound SIF is refused, and what is wrong with it said.

    \b
    Example:
      hpc-container-manager inspect build/containers/apptainer/pytorch.sif
    """
    found = sif.check(path)
    labels = sif.labels(path)
    digest = hash_file(path)
    if as_json:
        objects = [{"id": d.id, "type": d.type, "offset": d.offset, "size": d.size} for d in found.descriptors]
        show_json(
            {
                "path": str(path),
                "sha256": digest,
                "size": found.size,
                "architecture": found.architecture,
                "objects": objects,
                "labels": labels,
            }
        )
        return
    say(f"{visible(path)}: a sound SIF, {found.size} bytes, {found.architecture}")
    say(f"sha256 {digest}")
    for part in found.descriptors:
        say(f"  object {part.id}: {part.type}, {part.size} bytes at {part.offset}")
    for key, value in sorted(labels.items()):
        say(visible(f"  {key}: {value}"))


@click.group("deploy")
def deploy_group() -> None:
    """Bring SIF files to the cluster, and prove it."""


def deploy_options(function: Any) -> Any:
    function = engine_options(function)
    function = click.option("-v", "--verify", is_flag=True, help="Read the images back from every disk.")(function)
    return click.option("-s", "--sync-nodes", is_flag=True, help="Bring them to all compute nodes too.")(function)


@deploy_group.command("to-cluster")
@click.argument("path", metavar="SIF", type=SIF)
@click.argument("target")
@deploy_options
@client_options
def deploy_to_cluster(
    path: Path, target: str, sync_nodes: bool, verify: bool, how: list[str], client: ControllerClient
) -> None:
    """Deploy SIF under the name TARGET in the registry.

    \b
    Example:
      hpc-container-manager deploy to-cluster build/pytorch.sif \\
        /opt/containers/ml-frameworks/pytorch.sif --controller hpc-controller --sync-nodes --verify
    """
    image = deploying.check(path, target, client)
    with shown() as listener:
        deploying.deploy([image], client, listener, sync_nodes=sync_nodes, verify=verify, how=how)


@deploy_group.command("single")
@click.argument("path", metavar="SIF", type=SIF)
@click.option("-r", "--registry-path", help="Directory for it [default: REGISTRY/ml-frameworks].")
@deploy_options
@client_options
def deploy_single(
    path: Path, registry_path: str | None, sync_nodes: bool, verify: bool, how: list[str], client: ControllerClient
) -> None:
    """Deploy SIF under its own name.

    \b
    Example:
      hpc-container-manager deploy single -s -v build/containers/apptainer/pytorch.sif
    """
    image = deploying.check(path, target_of(path, registry_path, client), client)
    with shown() as listener:
        deploying.deploy([image], client, listener, sync_nodes=sync_nodes, verify=verify, how=how)


@deploy_group.command("all")
@click.argument("directory", type=SIF, default=BUILT)
@click.option("-r", "--registry-path", help="Directory for them [default: REGISTRY/ml-frameworks].")
@click.option("-n", "--dry-run", is_flag=True, help="Check them and say what would be done; change nothing.")
@click.option("-p", "--parallel", type=click.IntRange(1, 16), default=1, help="Send so many at once.")
@deploy_options
@client_options
def deploy_all(
    directory: Path,
    registry_path: str | None,
    dry_run: bool,
    parallel: int,
    sync_nodes: bool,
    verify: bool,
    how: list[str],
    client: ControllerClient,
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
        for image in images:
            present = client.has(image.digest, image.size)
            say(f"would deploy {visible(image.path)} as {image.name}, sending {0 if present else image.size} bytes")
        return
    with shown() as listener:
        deploying.deploy(images, client, listener, sync_nodes=sync_nodes, verify=verify, parallel=parallel, how=how)


def target_of(path: Path, registry_path: str | None, client: ControllerClient) -> str:
    registry = client.cluster.registry
    return f"{(registry_path or f'{registry.path}/{registry.directories[0]}').rstrip('/')}/{path.name}"


GROUP = (convert_group, inspect, deploy_group)
