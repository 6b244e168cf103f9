"""image: build images from their definitions."""

from __future__ import annotations

from pathlib import Path

import click

from ..core.errors import CommandFailed, HpcRegistryError
from ..images.build import Builder
from ..images.definition import find_definitions
from .options import SIF
from .show import say, say_error


@click.group("image")
def command() -> None:
    """Build images from their definitions."""


@command.command("build")
@click.argument("name", metavar="NAME|all")
@click.option(
    "--definitions",
    type=SIF,
    envvar="HPC_IMAGES",
    default=Path("images"),
    show_default=True,
    help="The directory with a directory for each image.",
)
@click.option("--force", "-f", is_flag=True, help="Build also what has not changed.")
def image_build(name: str, definitions: Path, force: bool) -> None:
    """Build the image NAME, or all, by Podman or Docker, where its definition has changed.

    A definition is a directory with a Dockerfile and image.yaml. A base that cannot be fetched from a registry is made
    by the command that image.yaml has for that.

    \b
    Example:
      hpc-container-manager image build python-base --definitions fixtures/images
    """
    chosen = find_definitions(definitions, name)
    builder = Builder(say)
    failed = []
    for definition in chosen:
        try:
            built = builder.build(definition, force=force)
        except HpcRegistryError as error:
            if len(chosen) == 1:
                raise
            say_error(error)
            failed.append(definition.name)
        else:
            state = f"built in {built.seconds:.1f} s" if built.fresh else "up to date"
            say(f"✓ {built.image}: {state} ({built.digest.removeprefix('sha256:')[:12]})")
    if failed:
        raise CommandFailed(f"{len(failed)} of {len(chosen)} images were not built: {', '.join(failed)}")
