"""The controller's names follow its catalog, where a publish or a removal was killed half-way."""

from __future__ import annotations

import os
from pathlib import Path

from .. import agent
from ..core.catalog import Catalog, Version
from ..core.errors import HpcRegistryError
from ..core.events import Listener, Noticed
from ..core.layout import object_path
from ..core.settings import Settings
from .catalog import catalog_of, read_catalog_text
from .publish import change, image_of, refusals
from .removed import remove_here


def follow_catalog(settings: Settings, listener: Listener) -> tuple[str, Catalog]:
    """The catalog as its file has it and as it is meant, and the controller's names as it says, after a publish that
    was killed half-way. A file in place of a name that is no object's is left: nobody has its bytes elsewhere.
    """
    registry = settings.registry.path
    with agent.locked(registry) as root:
        text = read_catalog_text(registry)
        catalog = catalog_of(text, registry)
        strays = [name for name, entry in catalog.images.items() if is_behind(registry, name, entry)]
        ours = {None, *objects_here(registry)} if strays else set()
        for name in strays:
            if inode_of(Path(registry, name)) not in ours:
                continue
            entry = catalog.images[name]
            what = f"{name} on the controller was not the catalog's version {entry.digest[:12]}"
            try:
                with refusals():
                    change(root, settings, image_of(name, entry), None)
                listener(Noticed(f"{what}, as after a publish that was killed: it is now"))
            except HpcRegistryError as error:
                listener(Noticed(f"{what}, and cannot be made so: {error.what}"))
        for name in remove_here(root, registry, catalog):
            listener(Noticed(f"{name} was still on the controller, as after a removal that was killed: it is gone now"))
    return text, catalog


def is_behind(registry: str, name: str, entry: Version) -> bool:
    """Whether the catalog's bytes are here, and the name means others or none."""
    try:
        found = os.lstat(object_path(registry, entry.digest))
    except FileNotFoundError:
        return False
    return found.st_size == entry.size and inode_of(Path(registry, name)) != (found.st_dev, found.st_ino)


def objects_here(registry: str) -> set[tuple[int, int] | None]:
    return {inode_of(path) for path in Path(registry, agent.OBJECTS).iterdir()}


def inode_of(path: Path) -> tuple[int, int] | None:
    """Which file it is, if there is one."""
    try:
        found = path.lstat()
    except OSError:
        return None
    return found.st_dev, found.st_ino
