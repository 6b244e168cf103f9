"""image: build images from their definitions, and look into them."""

from __future__ import annotations

import os
from pathlib import Path

import click

from ..images.build import Builder
from ..images.definition import Definition, find_definitions
from ..images.plan import plan
from .definitions import definitions_option, do_each
from .show import say


@click.group("image")
def command() -> None:
    """Build images from their definitions."""


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
    if dry_run:
        for definition in find_definitions(definitions, name):
            say("\n".join(plan(builder, definition, force=force).lines()))
        return

    def build(definition: Definition) -> None:
        built = builder.build(definition, force=force)
        state = f"built in {built.seconds:.1f} s" if built.fresh else "up to date"
        say(f"✓ {built.image}: {state} ({built.digest.removeprefix('sha256:')[:12]})")

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
