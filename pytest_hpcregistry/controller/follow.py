"""The controller's names follow its catalog, where a publish or a removal was killed half-way."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from .. import agent
from ..core.catalog import Catalog, Version
from ..core.errors import HpcRegistryError
from ..core.events import Listener, Noticed
from ..core.layout import object_path
from ..core.names import CONTROLLER
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
        for name in strays(registry, catalog):
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


def strays(registry: str, catalog: Catalog) -> list[str]:
    """The images whose names are to follow the catalog: their bytes are here, and the name means others of ours, or
    none.
    """
    behind = [name for name, entry in catalog.images.items() if is_behind(registry, name, entry)]
    ours = {None, *objects_here(registry)} if behind else set()
    return [name for name in behind if inode_of(Path(registry, name)) in ours]


def plan_to_follow(registry: str, catalog: Catalog) -> Iterator[str]:
    """What follow_catalog would do, a line for each name."""
    for name in strays(registry, catalog):
        digest = catalog.images[name].digest
        yield f"{CONTROLLER}: {name} is not the catalog's version {digest[:12]}, and would be"
    for name, removed in catalog.removed.items():
        there = inode_of(Path(registry, name))
        if there and there in {inode_of(Path(object_path(registry, digest))) for digest in removed.digests()}:
            yield f"{CONTROLLER}: would lose the name {name}, as after a removal that was killed"


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
