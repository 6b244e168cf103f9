"""catalog: images and the versions that they have had."""

from __future__ import annotations

from dataclasses import dataclass

import click

from ..cluster import signing
from ..cluster.client import ControllerClient
from ..core.catalog import Entry, Removed, Version
from ..core.errors import CheckFailed
from ..core.model import Registry
from ..core.names import visible
from ..core.pace import amount
from .groups import Group
from .known_names import complete_images, remember
from .options import client_options
from .output import answer, answers
from .removal import remove, restore
from .show import say, show_table, tell


@dataclass(frozen=True)
class Images:
    """All images of the catalog by name, and those that were removed."""

    images: dict[str, Entry]
    removed: dict[str, Removed]


@dataclass(frozen=True)
class Image(Entry):
    """One image: its current version, and in `versions` the older ones, newest first."""

    name: str = ""


@click.group("catalog", cls=Group)
def command() -> None:
    """Show, remove and restore images.

    \b
    Example:
      hpc-container-manager catalog list
    """


command.add_command(remove)
command.add_command(restore)


@command.command("list")
@answers(Images)
@client_options
def catalog_list(client: ControllerClient) -> None:
    """List images with size, digest and date.

    And those that were removed and can be restored.

    \b
    Example:
      hpc-container-manager catalog list
    """
    catalog = client.catalog()
    images = catalog.images
    answer(Images(dict(images), dict(catalog.removed)))
    remember(client.cluster.registry, images)
    rows = [[name, amount(e.size), e.digest[:12], e.published] for name, e in sorted(images.items())]
    show_table([["IMAGE", "SIZE", "SHA256", "PUBLISHED"], *rows])
    for name, gone in sorted(catalog.removed.items()):
        if not gone.freed:
            say(visible(f"removed: {name}, {gone.removed} by {gone.by}; gc keeps the bytes until {gone.until}"))


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
    tell(wanted)
    versions = entry.history()
    rows = [[one.digest[:12], amount(one.size), one.published, one.by] for one in versions]
    show_table([["VERSION", "SIZE", "PUBLISHED", "BY"], *rows])
    for version in versions:
        state = "current" if version is versions[0] else "older"
        tell(f"{state} version {version.digest[:12]}")
        show_version(version)
        if version.signature and client.cluster.registry.signers:
            tell(f"  signed by: {signer(client.cluster.registry, wanted, version)}")
        for key, value in sorted(version.labels.items()):
            tell(visible(f"  label {key}: {value}"))


def signer(registry: Registry, name: str, version: Version) -> str:
    """Who of the cluster file's signers has signed, in words."""
    try:
        return signing.check(registry, name, version)
    except CheckFailed:
        return "none of registry.signers"


def show_version(version: Version) -> None:
    """What the table has not, but for the labels."""
    for key in ("digest", "architecture", "source", "signed", "left_out"):
        value = getattr(version, key)
        if value:
            tell(visible(f"  {key}: {', '.join(value) if key == 'left_out' else value}"))
