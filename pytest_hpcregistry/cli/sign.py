"""sign: sign images of the catalog again, such as before a key is withdrawn."""

from __future__ import annotations

import click

from ..cluster import signing
from ..cluster.client import ControllerClient
from ..core.errors import UsageError
from ..core.messages import count
from ..core.names import full_name
from ..report.schema import Lines
from .known_names import complete_images
from .options import client_options
from .output import answers
from .show import say, show


@click.command("sign")
@answers(Lines)
@click.argument("names", nargs=-1, metavar="[NAME]...", shell_complete=complete_images)
@click.option("--all", "all_images", is_flag=True, help="All images of the catalog.")
@click.option("--unsigned", is_flag=True, help="Also images without a valid signature: look first that they are yours.")
@client_options
def command(names: tuple[str, ...], all_images: bool, unsigned: bool, client: ControllerClient) -> None:
    """Sign images of the catalog with your key.

    A deploy signs by itself. This is for another key: allow it beside the old one (registry.signers), run registry
    setup, sign all images, sync, and only then withdraw the old one. A rollback signs the older version itself.

    \b
    Examples:
      hpc-container-manager sign --all
      hpc-container-manager sign pytorch.sif
    """
    if bool(names) == all_images:
        raise click.UsageError("name images or give --all, and not both")
    registry = client.cluster.registry
    wanted = [full_name(name, registry.path, registry.directories) for name in names]
    wanted = wanted or list(client.catalog().images)
    if not wanted:
        raise UsageError("there is no image to sign")
    signing.sign_again(client, wanted, unsigned=unsigned, listener=show)
    say(f"signed {count(len(wanted), 'image')}; bring the signatures to the nodes: hpc-container-manager sync")
