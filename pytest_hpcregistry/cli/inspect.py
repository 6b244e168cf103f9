"""inspect: what is in a SIF file."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import click

from ..core import sif
from ..core.digest import hash_file
from ..core.names import visible
from ..core.pace import amount
from ..core.sif_format import Descriptor, Signature
from .options import SIF
from .output import answer, answers
from .show import tell


@dataclass(frozen=True)
class Inspected:
    """A sound SIF file, its size in bytes, and its SHA-256 in hex; `signatures` were not verified."""

    path: str
    sha256: str
    size: int
    architecture: str
    objects: Sequence[Descriptor]
    labels: dict[str, str]
    signed: bool
    signatures: Sequence[Signature]
    warnings: Sequence[str]


@click.command("inspect")
@answers(Inspected)
@click.argument("path", metavar="SIF", type=SIF)
def command(path: Path) -> None:
    """Show what is in a SIF file.

    A file that is not a sound SIF is refused, with the reason.

    \b
    Example:
      hpc-container-manager inspect build/containers/apptainer/pytorch.sif
    """
    found = sif.check(path)
    digest = hash_file(path)
    answer(
        Inspected(
            str(path),
            digest,
            found.size,
            found.architecture,
            found.descriptors,
            dict(found.labels),
            found.signed,
            found.signatures,
            found.warnings,
        )
    )
    tell(f"{visible(path)}: a sound SIF, {amount(found.size)}, {found.architecture}")
    tell(f"sha256 {digest}")
    for part in found.descriptors:
        kind = f" ({part.partition}, {part.file_system}, {part.architecture})" if part.partition else ""
        tell(visible(f"  object {part.id}: {part.type}{kind}, {amount(part.size)} at byte {part.offset}"))
    for one in found.signatures:
        by = f", by a key that it gives as {one.signer}" if one.signer else ""
        tell(f"  signature (object {one.id}): {one.format}{by}; not verified here")
    for warning in found.warnings:
        tell(f"! {warning}")
    for key, value in sorted(found.labels.items()):
        tell(visible(f"  {key}: {value}"))
