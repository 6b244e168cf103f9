"""Whether a SIF is still what its image would give: `convert all` leaves such a file as it is."""

from __future__ import annotations

from pathlib import Path

from ...core import sif
from ...core.errors import UsageError
from ...transports import Transport
from ...transports.local import LocalTransport
from ..definitions.definition import REVISION, SOURCE, Definition
from .build import BASE, label
from .sources import ASK_TIMEOUT, find_local


def is_current(out: Path, definition: Definition, here: Transport | None = None) -> bool:
    """Whether *out* is a sound SIF of this revision of its definition, and of the image that is there, if one is.

    A SIF that was not built by root tells no source; then the base that both were built on says whether they are the
    same.
    """
    here = here or LocalTransport()
    try:
        labels = sif.check(out).labels
    except UsageError:
        return False
    if labels.get(REVISION) != definition.revision():
        return False
    try:
        image = find_local(definition.image, here)
    except UsageError:
        return True
    if SOURCE in labels:
        return labels[SOURCE] == image.digest
    argv = [image.export[0], "image", "inspect", "--format", label(BASE), definition.image]
    return labels.get(BASE, "") == here.run(argv, timeout=ASK_TIMEOUT).check().stdout.strip()
