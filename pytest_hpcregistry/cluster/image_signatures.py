"""The signatures that images carry themselves (PGP, DSSE): verified here before a deploy, and by the controller later.

The controller's look is the one that binds, as it is on the bytes that get a name. The one here spares a transfer.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ..core.catalog import Entry
from ..core.errors import CheckFailed, HpcRegistryError, Undetermined
from ..core.events import Listener, Noticed
from ..core.model import Registry
from ..transports import apptainer
from .client import ControllerClient

WHERE = "workstation"
LATER = "sign these images by a key that counts, and deploy them again (README, Signed images)"


def look(path: Path, name: str, registry: Registry, listener: Listener) -> None:
    """Verify the SIF *path* by registry.image_keys. Raises CheckFailed where that is required and it is not signed; a
    warning where it is not required, and where Apptainer here gives no answer. As apptainer.verify, too.
    """
    if not registry.image_keys:
        return
    try:
        apptainer.verify(path, registry.image_keys, WHERE)
    except Undetermined as error:
        by = "the controller does, before it gets its name" if registry.signatures == "require" else "verify does later"
        listener(Noticed(f"{name}: its own signature is not verified here ({error.what}): {by}"))
    except CheckFailed as error:
        if registry.signatures == "require":
            raise CheckFailed(error.what, where=name, hint=error.hint) from None
        listener(Noticed(f"{name}: {error.what}"))


def failures(client: ControllerClient, images: dict[str, Entry], listener: Listener) -> Sequence[HpcRegistryError]:
    """One error for each of *images* whose copy on the controller is signed by no key of the cluster file, where that
    is required; where it is not, a warning.
    """
    registry = client.cluster.registry
    if not registry.image_keys or not images:
        return []
    found = client.image_signatures({name: entry.size for name, entry in images.items()}, registry.image_keys)
    errors: list[HpcRegistryError] = []
    errors += [CheckFailed(found.refused[name], where=name, hint=LATER) for name in images if name in found.refused]
    errors += [Undetermined(found.unknown[name], where=name) for name in images if name in found.unknown]
    if registry.signatures == "require":
        return errors
    for one in errors:
        listener(Noticed(f"{one.where}: {one.what}"))
    return []
