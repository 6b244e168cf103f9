"""image: build images from their definitions, and say what is in them."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import click

from ..core.errors import CommandFailed
from ..core.messages import count
from ..core.names import excerpt, visible
from ..images.definitions.definition import Definition, find_definitions
from ..images.inventory.difference import compare
from ..images.making.build import Builder
from ..images.making.plan import plan
from ..images.output import check_output, write_file
from .definitions import definitions_option, do_each
from .options import SIF
from .show import say, show_document, show_json, show_table


@click.group("image")
def command() -> None:
    """Build images from their definitions, and list what is in a SIF file."""


@command.command("build")
@click.argument("name", metavar="NAME|all")
@definitions_option
@click.option("--force", "-f", is_flag=True, help="Build also what has not changed.")
@click.option("--dry-run", is_flag=True, help="Only show what would be done: bases, wheels, labels and the command.")
def image_build(name: str, definitions: Path, force: bool, dry_run: bool) -> None:
    """Build the image NAME, or all, by Podman or Docker, where its definition has changed.

    A definition is a directory with a Dockerfile and image.yaml. A base that cannot be fetched from a registry is made
    by the command that image.yaml has for that.

    \b
    Examples:
      hpc-container-manager image build python-base --definitions fixtures/images
      hpc-container-manager image build all --dry-run --definitions fixtures/images
    """
    builder = Builder(say)

    def show_plan(definition: Definition) -> None:
        planned = plan(builder, definition, force=force)
        say("\n".join(planned.lines()))
        if planned.reason and planned.problem:
            raise CommandFailed(f"{planned.definition.image} cannot be built on this machine now: {planned.problem}")

    def build(definition: Definition) -> None:
        built = builder.build(definition, force=force)
        state = f"built in {built.seconds:.1f} s" if built.fresh else "up to date"
        say(f"✓ {built.image}: {state} ({built.digest.removeprefix('sha256:')[:12]})")

    if dry_run:
        do_each(find_definitions(definitions, name), show_plan, "ready to be built")
    else:
        do_each(find_definitions(definitions, name), build, "built")


@command.command("prompt")
@click.argument("name")
@definitions_option
def image_prompt(name: str, definitions: Path) -> None:
    """Open a shell in the image NAME, in a container that is removed at its end.

    \b
    Example:
      hpc-container-manager image prompt python-base --definitions fixtures/images
    """
    if name == "all":
        raise click.UsageError("a shell is opened in one image: name it")
    (definition,) = find_definitions(definitions, name)
    argv = Builder(say).shell(definition)
    os.execvp(argv[0], argv)  # noqa: S606 - it gets this terminal


@command.command("sbom")
@click.argument("path", metavar="SIF", type=SIF)
@click.option("--output", "-o", type=SIF, metavar="FILE", help="Write it there, not to standard output.")
@click.option("--force", "-f", is_flag=True, help="Overwrite FILE.")
def image_sbom(path: Path, output: Path | None, force: bool) -> None:
    """Write the SBOM of a SIF file: CycloneDX 1.6, JSON.

    It has the packages that dpkg, rpm, apk, pip and conda know in the image, which is neither run nor mounted.
    What could not be read is in it as hpcregistry:warning, and on standard error. The same file gives the same SBOM,
    byte for byte.

    \b
    Example:
      hpc-container-manager image sbom build/containers/apptainer/pytorch.sif --output pytorch.cdx.json
    """
    from ..images.inventory import sbom  # with the library that writes it; the other commands do not wait for that

    if output is not None:
        check_output(output, force, path)
    made = sbom.make_sbom(path)
    sbom.check_evidence(made, path)
    for warning in made.warnings:
        say(f"! {warning}", err=True)
    if output is None:
        show_document(made.text)
    else:
        write_file(output, made.text.encode())
        say(f"✓ {visible(output)}: {count(made.packages, 'package')} of {visible(path)}, sha256 {made.digest[:12]}…")


@command.command("diff")
@click.argument("old", type=SIF)
@click.argument("new", type=SIF)
@click.option("--json", "as_json", is_flag=True, help="For programs.")
def image_diff(old: Path, new: Path, as_json: bool) -> None:
    """Show which packages differ between OLD and NEW.

    Each is a SIF file, or an SBOM that `image sbom` or a scan has left.

    \b
    Example:
      hpc-container-manager image diff pytorch-1.sif pytorch-2.sif
    """
    from ..images.inventory.sbom import read_packages

    before, after = read_packages(old), read_packages(new)
    for path, read in ((old, before), (new, after)):
        for warning in read.warnings:
            say(f"! {visible(path)}: {warning}", err=True)
    changes = compare(before.packages, after.packages)
    if as_json:
        show_json([{"state": one.state, **asdict(one)} for one in changes])
        return
    rows = [[one.state, one.kind, excerpt(one.name), shown(one.old), shown(one.new)] for one in changes]
    if rows:
        show_table([["", "KIND", "PACKAGE", "OLD", "NEW"], *rows])
    say(f"{len(changes)} packages differ between {visible(old)} and {visible(new)}")


def shown(versions: Sequence[str]) -> str:
    """Versions, or that there is none."""
    return excerpt(", ".join(versions) or "-")
