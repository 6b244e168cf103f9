"""What the cluster told of itself, gathered once, and the questions that suites, status and verify ask of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from . import documents
from .catalog import Catalog, Entry, from_data
from .errors import ConfigError, HpcRegistryError

PRESENT, MISSING, DIFFERS, UNMANAGED, UNREACHABLE = "present", "missing", "differs", "unmanaged", "unreachable"
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

    def image(self, name: str) -> Mapping[str, Any] | None:
        """The file under the image's name; None if there is none."""
        return next((image for image in self.facts["images"] if image["name"] == name), None)

    def state_of(self, name: str, entry: Entry | None) -> str:
        """PRESENT only for the catalog's bytes: re-read if content was asked for, else by the link to the object."""
        if self.unreachable is not None:
            return UNREACHABLE
        image = self.image(name)
        if entry is None:
            return UNMANAGED if image else MISSING
        if image is None:
            return MISSING
        digest = image.get("sha256", image["object"])
        return PRESENT if digest == entry.digest and image["size"] == entry.size else DIFFERS


@dataclass(frozen=True)
class Facts:
    """The whole cluster's facts: `catalog` is the controller's, empty with `catalog_problem` set if it is broken."""

    controller: Machine
    nodes: Mapping[str, Machine]
    catalog: Catalog = field(default_factory=Catalog)
    catalog_problem: str | None = None

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
    path = f"{registry}/.registry/catalog.yaml"
    text = controller.facts["texts"].get(path)
    if text is None:
        return Facts(controller, nodes, Catalog(), f"{path} does not exist")
    try:
        return Facts(controller, nodes, from_data(documents.load(text, path), path))
    except ConfigError as error:
        return Facts(controller, nodes, Catalog(), str(error))


def require_nodes(facts: Facts) -> None:
    """Raise when there is nothing that a check could speak about."""
    if not facts.nodes:
        raise HpcRegistryError("the cluster has no compute nodes: nothing can be checked")
