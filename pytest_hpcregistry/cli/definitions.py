"""What commands do with definitions of images: where they lie, and one after the other."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import click

from ..core.errors import CommandFailed, HpcRegistryError
from ..images.definitions.definition import Definition
from .show import say_error

definitions_option = click.option(
    "--definitions",
    type=click.Path(path_type=Path),
    envvar="HPC_IMAGES",
    default=Path("images"),
    show_default=True,
    help="The directory with a directory for each image.",
)


def do_each(
    definitions: Sequence[Definition], work: Callable[[Definition], None], done: str, failed: dict[str, str]
) -> None:
    """Do the *work* for each; one that fails keeps no other from being *done*, and *failed* says why. Raises
    CommandFailed in the end.
    """
    for definition in definitions:
        try:
            work(definition)
        except HpcRegistryError as error:
            if len(definitions) == 1:
                raise
            say_error(error)
            failed[definition.directory.name] = str(error)
    if failed:
        raise CommandFailed(f"{len(failed)} of {len(definitions)} images were not {done}: {', '.join(failed)}")
