"""inspect: what is in a SIF file."""

from __future__ import annotations

from dataclasses import asdict
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
    digest = hash_file(path)
    if as_json:
        show_json(
            {
                "path": str(path),
                "sha256": digest,
                "size": found.size,
                "architecture": found.architecture,
                "objects": [asdict(one) for one in found.descriptors],
                "labels": dict(found.labels),
                "signed": found.signed,
                "signatures": [asdict(one) for one in found.signatures],
                "warnings": found.warnings,
            }
        )
        return
    say(f"{visible(path)}: a sound SIF, {found.size} bytes, {found.architecture}")
    say(f"sha256 {digest}")
    for part in found.descriptors:
        kind = f" ({part.partition}, {part.file_system}, {part.architecture})" if part.partition else ""
        say(visible(f"  object {part.id}: {part.type}{kind}, {part.size} bytes at {part.offset}"))
    for one in found.signatures:
        by = f", by a key that it gives as {one.signer}" if one.signer else ""
        say(f"  signature (object {one.id}): {one.format}{by}; not verified here")
    for warning in found.warnings:
        say(f"! {warning}")
    for key, value in sorted(found.labels.items()):
        say(visible(f"  {key}: {value}"))
