"""What the cluster told of itself, gathered once, and the questions that suites, status and verify ask of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from . import documents, layout
from .catalog import Catalog, Entry, from_data
from .errors import ConfigError, HpcRegistryError

PRESENT = "present"
MISSING = "missing"
OLDER = "older version"
"""A version that the catalog still knows: a sync has not come there yet."""
DIFFERS = "differs"
"""A file that is no version in the catalog, or one whose bytes nobody has read."""
DAMAGED = "damaged"
"""Bytes that were read, and are not what the name of their object says."""
UNMANAGED = "unmanaged"
UNREACHABLE = "unreachable"
CONTROLLER = "controller"


@dataclass(frozen=True)
class Machine:
    """One machine's facts, as agent.gather returns them. `unreachable` is the reason why there are none."""

    name: str
    facts: Mapping[str, Any]
    unreachable: str | None = None

    def path(self, path: str) -> Mapping[str, Any] | None:
        """The stat of a path that was asked for: type, mode, owner, group, size …; None if it does not exist."""
        found: Mapping[str, Any] | None = self.facts["paths"][path.rstrip("/")]
        return found

    @cached_property
    def images(self) -> Mapping[str, Mapping[str, Any]]:
        """Each file by its name."""
        return {image["name"]: image for image in self.facts["images"]}

    def image(self, name: str) -> Mapping[str, Any] | None:
        """The file under the image's name; None if there is none."""
        return self.images.get(name)

    def state_of(self, name: str, entry: Entry | None) -> str:
        """PRESENT only for the catalog's bytes: re-read if content was asked for, else by the link to the object."""
        if self.unreachable is not None:
            return UNREACHABLE
        image = self.image(name)
        if entry is None:
            return UNMANAGED if image else MISSING
        if self.damaged_objects(name, entry):
            return DAMAGED
        if image is None:
            return MISSING
        read = image.get("sha256")
        digest = image["object"] if read is None else read
        known = next((one for one in entry.history() if one.digest == digest), None)
        if known is None or (read is None and image["size"] != known.size):
            return DIFFERS
        return PRESENT if digest == entry.digest else OLDER

    def damaged_objects(self, name: str, entry: Entry) -> list[str]:
        """Those of the image's objects here whose bytes were read and are others than their name says.

        A file is read by its name, which another version may have got between two looks at it: bytes that the catalog
        knows are no damage.
        """
        known = {one.digest for one in entry.history()}
        objects = self.facts.get("objects", {})
        damaged = {digest for digest in known if objects.get(digest, {}).get("sha256", digest) != digest}
        image = self.image(name)
        if image and image["object"] and image.get("sha256") not in {None, image["object"], *known}:
            damaged.add(image["object"])
        return sorted(damaged)


@dataclass(frozen=True)
class Syncing:
    """What the controller saw of syncs: whether one was `under_way` when all was told, whether one ran `meanwhile`, and
    how many seconds before the catalog was written (None: there is none).
    """

    under_way: bool = False
    meanwhile: bool = False
    catalog_age: float | None = None


@dataclass(frozen=True)
class Facts:
    """The whole cluster's facts: `catalog` is the controller's, empty with `catalog_problem` set if it is broken."""

    controller: Machine
    nodes: Mapping[str, Machine]
    catalog: Catalog = field(default_factory=Catalog)
    catalog_problem: str | None = None
    syncing: Syncing = field(default_factory=Syncing)

    @property
    def machines(self) -> dict[str, Machine]:
        """The controller, by the name "controller", and all nodes."""
        return {CONTROLLER: self.controller, **self.nodes}

    @property
    def unreachable(self) -> dict[str, str]:
        """Each node that could not be asked -> the reason."""
        return {name: node.unreachable for name, node in self.nodes.items() if node.unreachable is not None}

    def names(self) -> list[str]:
        """Every image name in the catalog or on any machine, hidden files left out."""
        found = set(self.catalog.images)
        for machine in self.machines.values():
            found.update(image["name"] for image in machine.facts.get("images", ()) if "/." not in image["name"])
        return sorted(found)

    def matrix(self, names: list[str] | None = None) -> dict[str, dict[str, str]]:
        """Image name -> machine -> state. A name that the catalog does not know is nowhere missing."""
        return {name: self.row(name) for name in (self.names() if names is None else names)}

    def row(self, name: str) -> dict[str, str]:
        entry = self.catalog.images.get(name)
        states = {key: machine.state_of(name, entry) for key, machine in self.machines.items()}
        return states if entry else {key: state for key, state in states.items() if state != MISSING}


def read(data: Mapping[str, Any], registry: str) -> Facts:
    """Facts from what the controller program answered."""
    controller = Machine(CONTROLLER, data["controller"])
    nodes = {
        name: Machine(name, {}, answer["unreachable"]) if "unreachable" in answer else Machine(name, answer)
        for name, answer in data["nodes"].items()
    }
    syncing = Syncing(**data.get("sync", {}))
    path = layout.inside(registry, layout.CATALOG)
    text = controller.facts["texts"].get(path)
    if text is None:
        return Facts(controller, nodes, Catalog(), f"{path} does not exist", syncing)
    try:
        return Facts(controller, nodes, from_data(documents.load(text, path), path), syncing=syncing)
    except ConfigError as error:
        return Facts(controller, nodes, Catalog(), str(error), syncing)


def require_nodes(facts: Facts) -> None:
    """Raise when there is nothing that a check could speak about."""
    if not facts.nodes:
        raise HpcRegistryError("the cluster has no compute nodes: nothing can be checked")
