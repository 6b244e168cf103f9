"""convert: make a SIF file of a Docker or Podman image."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from ..config.load import load_cluster
from ..core.names import visible
from ..images.definitions.definition import Definition, find_definitions
from ..images.making.convert import Converted, convert, default_output
from ..images.making.current import is_current
from ..images.making.reproducible import LATEST
from ..transports import open_transport
from .definitions import definitions_option, do_each
from .options import SIF
from .show import say


@click.group("convert")
def command() -> None:
    """Make a SIF file of a Docker or Podman image."""


def convert_options(function: Any) -> Any:
    function = click.option("--force", "-f", is_flag=True, help="Overwrite OUT.")(function)
    function = click.option(
        "--source-date-epoch",
        "date",
        type=click.IntRange(0, LATEST),
        envvar="SOURCE_DATE_EPOCH",
        metavar="SECONDS",
        help="The time stamp in OUT, in seconds since 1970 [default: the image's own].",
    )(function)
    cluster = click.option(
        "--cluster", type=SIF, envvar="HPC_CLUSTER", help="Build on its controller where this machine has no Apptainer."
    )
    return cluster(function)


@command.command("to-apptainer")
@click.argument("image")
@click.argument("out", type=SIF)
@convert_options
def convert_to_apptainer(image: str, out: Path, force: bool, date: int | None, cluster: Path | None) -> None:
    """Convert IMAGE to the SIF file OUT.

    IMAGE is NAME[:TAG] of the local Docker or Podman, docker-archive:FILE[:REFERENCE], oci-archive:FILE[:REFERENCE] or
    docker://REFERENCE. Apptainer of this machine is used, or else the controller's. For root the same image by the same
    name gives the same file, byte for byte, with the image's digest as its label io.hpcregistry.source; for others it
    is the same file with Apptainer 1.5 and newer, without that label.

    \b
    Example:
      hpc-container-manager convert to-apptainer pytorch:latest build/containers/apptainer/pytorch.sif
    """
    run_convert(image, out, force, date, cluster)


@command.command("single")
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


@command.command("all")
@definitions_option
@convert_options
def convert_all(definitions: Path, force: bool, date: int | None, cluster: Path | None) -> None:
    """Convert every image that has a definition and has changed.

    To build/containers/apptainer/NAME.sif; `image build all` comes before. A SIF of this revision of its definition,
    and of the image that is there now, is left as it is, unless --force is given.

    \b
    Example:
      hpc-container-manager convert all --definitions fixtures/images
    """

    def convert_one(definition: Definition) -> None:
        out = default_output(definition.image)
        if not force and is_current(out, definition):
            say(f"✓ {out}: up to date")
        else:
            run_convert(definition.image, out, True, date, cluster)

    do_each(find_definitions(definitions, "all"), convert_one, "converted")


def run_convert(image: str, out: Path, force: bool, date: int | None, cluster_file: Path | None) -> None:
    say("Converting Docker image to Apptainer format...")
    transport = open_transport(load_cluster(cluster_file)) if cluster_file else None
    try:
        done: Converted = convert(image, out, force=force, date=date, builder=transport, on_line=say)
    finally:
        if transport:
            transport.close()
    say(f"✓ Successfully converted to {visible(out)} ({done.size / 1e6:.1f} MB, {done.seconds:.1f} s)")
