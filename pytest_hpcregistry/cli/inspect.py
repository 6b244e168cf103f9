"""inspect: what is in a SIF file."""

from __future__ import annotations

from pathlib import Path

import click

from ..core import sif
from ..core.digest import hash_file
from ..core.names import visible
from .options import SIF
from .show import say, show_json


@click.command("inspect")
@click.argument("path", metavar="SIF", type=SIF)
@click.option("--json", "as_json", is_flag=True, help="For programs.")
def command(path: Path, as_json: bool) -> None:
    """Show what is in a SIF file.

    A file that is not a sound SIF is refused, with the reason.

    \b
    Example:
      hpc-container-manager inspect build/containers/apptainer/pytorch.sif
    """
    found = sif.check(path)
    labels = sif.labels(path)
    digest = hash_file(path)
    if as_json:
        objects = [{"id": d.id, "type": d.type, "offset": d.offset, "size": d.size} for d in found.descriptors]
        show_json(
            {
                "path": str(path),
                "sha256": digest,
                "size": found.size,
                "architecture": found.architecture,
                "objects": objects,
                "labels": labels,
            }
        )
        return
    say(f"{visible(path)}: a sound SIF, {found.size} bytes, {found.architecture}")
    say(f"sha256 {digest}")
    for part in found.descriptors:
        say(f"  object {part.id}: {part.type}, {part.size} bytes at {part.offset}")
    for key, value in sorted(labels.items()):
        say(visible(f"  {key}: {value}"))
