"""The signatures that images carry themselves, verified on the controller: before a name, and when somebody asks."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from .. import agent
from ..core.errors import CheckFailed, HpcRegistryError, UsageError
from ..core.events import ImageSignatures
from ..core.image_keys import read_line
from ..core.layout import object_path
from ..core.names import CONTROLLER, excerpt
from ..core.settings import Settings
from ..transports import apptainer
from .catalog import read_catalog


def are_required(settings: Settings) -> bool:
    """Whether phase 1 has written down that a name needs them here."""
    return settings.registry.signatures == "require" and bool(settings.registry.image_keys)


def refuse(settings: Settings, path: Path) -> tuple[int, ...]:
    """Raise CheckFailed unless the SIF *path* is signed by a key that counts here; as apptainer.verify, too.

    Returns what shows that the bytes of a file are still those.
    """
    before = identity(path)
    apptainer.verify(path, settings.registry.image_keys, CONTROLLER)
    return before


def refuse_other(settings: Settings, digest: str, before: tuple[int, ...]) -> None:
    """Look again where the object with this *digest* is not the file that was looked at *before*."""
    path = Path(object_path(settings.registry.path, digest))
    if identity(path) != before:
        refuse(settings, path)


def identity(path: Path) -> tuple[int, ...]:
    found = path.stat()
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns


def is_named(settings: Settings, name: str, digest: str) -> bool:
    """Whether the name means these bytes already, and so needs no signature: verify reports what has lost its own."""
    with agent.opened_registry(settings.registry.path) as root:
        return agent.is_named(root, {"name": name, "digest": digest})


def answer(registry: str, request: str) -> ImageSignatures:
    """As `look`, for a *request* in JSON with `names` and `keys`. Raises UsageError when it is none."""
    try:
        asked = json.loads(request)
        names, keys = asked["names"], [read_line(key) for key in asked["keys"]]
    except (ValueError, TypeError, KeyError) as error:
        raise UsageError(f"the request: {excerpt(str(error))}") from None
    return look(registry, names, keys)


def look(registry: str, names: Sequence[str], keys: Sequence[str]) -> ImageSignatures:
    """What Apptainer says by *keys* of the catalog's images *names*. One that is not here is left out: its state, which
    is asked for elsewhere, says so.
    """
    images = read_catalog(registry).images
    refused: dict[str, str] = {}
    unknown: dict[str, str] = {}
    for name in names:
        path = Path(object_path(registry, images[name].digest)) if name in images else None
        if path is None or not path.exists():
            continue
        try:
            apptainer.verify(path, keys, CONTROLLER)
        except (CheckFailed, UsageError) as error:
            refused[name] = excerpt(error.what)
        except HpcRegistryError as error:
            unknown[name] = excerpt(error.reason(CONTROLLER))
    return ImageSignatures(refused, unknown)
