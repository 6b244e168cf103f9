"""convert: make a SIF file of a Docker or Podman image."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import click

from ..core.names import visible
from ..core.pace import amount
from ..images.definitions.definition import Definition, find_definitions
from ..images.making.convert import Converted, convert, default_output
from ..images.making.current import is_current
from ..images.making.reproducible import LATEST
from ..transports import open_transport
from .definitions import definitions_option, do_each
from .groups import Group
from .options import SIF, load
from .output import answer, answers
from .show import say


@dataclass(frozen=True)
class Conversion:
    """An image and its SIF file; if that was `converted` just now, its SHA-256 in hex, its bytes and the seconds."""

    image: str
    path: str
    converted: bool
    sha256: str | None = None
    size: int | None = None
    seconds: float | None = None


@dataclass(frozen=True)
class Conversions:
    """The images that have a SIF file, and of those that `failed` why."""

    images: list[Conversion]
    failed: dict[str, str] = field(default_factory=dict)


@click.group("convert", cls=Group, otherwise="convert single")
def command() -> None:
    """Make a SIF file of a Docker or Podman image.

    \b
    Example:
      hpc-container-manager convert single pytorch:latest
    """


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
    text = (
        "Where the machine that builds unpacks and works [default: beside OUT; on a controller its $TMPDIR, or /tmp]."
    )
    function = click.option("--tmpdir", type=click.Path(path_type=Path), metavar="DIR", help=text)(function)
    text = "Convert on its controller where this machine has no Apptainer [default: $HPC_CLUSTER]."
    return click.option("--cluster", type=SIF, metavar="FILE", envvar="HPC_CLUSTER", help=text)(function)


@command.command("to-apptainer")
@answers(Conversions)
@click.argument("image")
@click.argument("out", type=SIF)
@convert_options
def convert_to_apptainer(
    image: str, out: Path, force: bool, date: int | None, cluster: Path | None, tmpdir: Path | None
) -> None:
    """Convert IMAGE to the SIF file OUT.

    IMAGE is NAME[:TAG] of the local Docker or Podman, docker-archive:FILE[:REFERENCE], oci-archive:FILE[:REFERENCE] or
    docker://REFERENCE. Apptainer of this machine is used, or else the controller's. For root the same image by the same
    name gives the same file, byte for byte, with the image's digest as its label io.hpcregistry.source; for others it
    is the same file with Apptainer 1.5 and newer, without that label.

    \b
    Example:
      hpc-container-manager convert to-apptainer pytorch:latest build/containers/apptainer/pytorch.sif
    """
    answer(Conversions([run_convert(image, out, force, date, cluster, tmpdir)]))


@command.command("single")
@answers(Conversions)
@click.argument("image")
@click.argument("out", type=SIF, required=False)
@convert_options
def convert_single(
    image: str, out: Path | None, force: bool, date: int | None, cluster: Path | None, tmpdir: Path | None
) -> None:
    """Convert IMAGE and name the file after it.

    As to-apptainer; without OUT it is build/containers/apptainer/NAME.sif.

    \b
    Example:
      hpc-container-manager convert single pytorch:latest
    """
    answer(Conversions([run_convert(image, out or default_output(image), force, date, cluster, tmpdir)]))


@command.command("all")
@answers(Conversions)
@definitions_option
@convert_options
def convert_all(definitions: Path, force: bool, date: int | None, cluster: Path | None, tmpdir: Path | None) -> None:
    """Convert every image that has changed.

    All that have a definition, to build/containers/apptainer/NAME.sif; `image build all` comes before. A SIF of this
    revision of its definition, and of the image that is there now, is left as it is, unless --force is given.

    \b
    Example:
      hpc-container-manager convert all --definitions fixtures/images
    """

    done = Conversions([])
    answer(done)

    def convert_one(definition: Definition) -> None:
        out = default_output(definition.image)
        if not force and is_current(out, definition):
            say(f"✓ {out}: up to date")
            done.images.append(Conversion(definition.image, str(out), False))
        else:
            done.images.append(run_convert(definition.image, out, True, date, cluster, tmpdir))

    do_each(find_definitions(definitions, "all"), convert_one, "converted", done.failed)


def run_convert(
    image: str, out: Path, force: bool, date: int | None, cluster_file: Path | None, tmpdir: Path | None
) -> Conversion:
    say("Converting Docker image to Apptainer format...")
    transport = open_transport(load(cluster_file)) if cluster_file else None
    try:
        done: Converted = convert(image, out, force=force, date=date, builder=transport, on_line=say, tmpdir=tmpdir)
    finally:
        if transport:
            transport.close()
    say(f"✓ Successfully converted to {visible(out)} ({amount(done.size)}, {done.seconds:.1f} s)")
    return Conversion(image, str(out), True, done.digest, done.size, done.seconds)
