"""catalog: images and the versions that they have had."""

from __future__ import annotations

from dataclasses import asdict

import click

from ..cluster import signing
from ..cluster.client import ControllerClient
from ..core.catalog import Version
from ..core.errors import CheckFailed
from ..core.model import Registry
from ..core.names import visible
from ..report import lines
from .options import client_options
from .removal import remove, restore
from .show import say, show_json, show_table


@click.group("catalog")
def command() -> None:
    """Show what the catalog says, remove images and restore them."""


command.add_command(remove)
command.add_command(restore)


@command.command("list")
@click.option("--json", "as_json", is_flag=True, help="For programs.")
@client_options
def catalog_list(as_json: bool, client: ControllerClient) -> None:
    """All images with size, digest and date, and those that were removed and can be restored.

    \b
    Example:
      hpc-container-manager catalog list
    """
    catalog = client.catalog()
    images = catalog.images
    if as_json:
        show_json({name: asdict(entry) for name, entry in images.items()})
        return
    rows = [[name, lines.megabytes(e.size), e.digest[:12], e.published] for name, e in sorted(images.items())]
    show_table([["IMAGE", "SIZE", "SHA256", "PUBLISHED"], *rows])
    for name, gone in sorted(catalog.removed.items()):
        if not gone.freed:
            say(visible(f"removed: {name}, {gone.removed} by {gone.by}; gc keeps the bytes until {gone.until}"))


@command.command("show")
@click.argument("name")
@click.option("--json", "as_json", is_flag=True, help="For programs.")
@client_options
def catalog_show(name: str, as_json: bool, client: ControllerClient) -> None:
    """All that is known of one image and its versions.

    The current one first, then those that rollback can go back to: the one that was current last comes first.

    \b
    Example:
      hpc-container-manager catalog show ml-frameworks/pytorch.sif
    """
    wanted, entry = client.find_image(name)
    if as_json:
        show_json({"name": wanted, **asdict(entry)})
        return
    current, *older = entry.history()
    say(wanted)
    for which, version in [("current", current), *(("older", one) for one in older)]:
        say(f"{which} version {version.digest[:12]}")
        show_version(version)
        if version.signature and client.cluster.registry.signers:
            say(f"  signed by: {signer(client.cluster.registry, wanted, version)}")


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
        say(visible(f"  {key}: {value}"))
