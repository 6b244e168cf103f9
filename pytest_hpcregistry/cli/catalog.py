"""catalog: images and the versions that they have had."""

from __future__ import annotations

from dataclasses import asdict, dataclass

import click

from ..cluster import signing
from ..cluster.client import ControllerClient
from ..core.catalog import Entry, Version
from ..core.errors import CheckFailed
from ..core.model import Registry
from ..core.names import visible
from ..report import lines
from .known_names import complete_images, remember
from .options import client_options
from .output import answer, answers
from .show import show_table, tell


@dataclass(frozen=True)
class Images:
    """All images of the catalog by name."""

    images: dict[str, Entry]


@dataclass(frozen=True)
class Image(Entry):
    """One image: its current version, and in `versions` the older ones, newest first."""

    name: str = ""


@click.group("catalog")
def command() -> None:
    """Show what the catalog says."""


@command.command("list")
@answers(Images)
@client_options
def catalog_list(client: ControllerClient) -> None:
    """List images with size, digest and date.

    \b
    Example:
      hpc-container-manager catalog list
    """
    images = client.catalog().images
    answer(Images(dict(images)))
    remember(client.cluster.registry, images)
    rows = [[name, lines.megabytes(e.size), e.digest[:12], e.published] for name, e in sorted(images.items())]
    show_table([["IMAGE", "SIZE", "SHA256", "PUBLISHED"], *rows])


@command.command("show")
@answers(Image)
@click.argument("name", shell_complete=complete_images)
@client_options
def catalog_show(name: str, client: ControllerClient) -> None:
    """Show all of one image and its versions.

    The current one first, then those that rollback can go back to: the one that was current last comes first.

    \b
    Example:
      hpc-container-manager catalog show ml-frameworks/pytorch.sif
    """
    wanted, entry = client.find_image(name)
    answer(Image(**vars(entry), name=wanted))
    current, *older = entry.history()
    tell(wanted)
    for which, version in [("current", current), *(("older", one) for one in older)]:
        tell(f"{which} version {version.digest[:12]}")
        show_version(version)
        if version.signature and client.cluster.registry.signers:
            tell(f"  signed by: {signer(client.cluster.registry, wanted, version)}")


def signer(registry: Registry, name: str, version: Version) -> str:
    """Who of the cluster file's signers has signed, in words."""
    try:
        return signing.check(registry, name, version)
    except CheckFailed:
        return "none of registry.signers"


def show_version(version: Version) -> None:
    fields = asdict(version)
    labels = fields.pop("labels")
    del fields["signature"]
    told = [
        *((key, value) for key, value in fields.items() if value or key not in ("signed", "left_out")),
        *((f"label {key}", value) for key, value in sorted(labels.items())),
    ]
    for key, value in told:
        tell(visible(f"  {key}: {value}"))
