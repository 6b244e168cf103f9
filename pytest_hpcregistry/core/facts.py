"""The facts of a whole cluster, gathered once, and the state of each image on each machine."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TypeVar

from . import layout
from .catalog import Catalog, Entry, from_text
from .errors import ConfigError, HpcRegistryError
from .events import CatalogPart, Event, Gathered, NodeFacts
from .machine import Ended, File, Host, ImageFile, MachineFacts, SlurmFacts, Syncing
from .names import CONTROLLER
from .slurm_states import out_of_service

PRESENT = "present"
MISSING = "missing"
OLDER = "older version"
"""A version that the catalog still knows: a sync has not come there yet."""
DIFFERS = "differs"
"""A file that is no version in the catalog, or one whose bytes nobody has read."""
DAMAGED = "damaged"
"""Bytes that were read, and are not what the name of their object says."""
UNMANAGED = "unmanaged"
REMOVED = "removed"
"""A name that is still there of an image that was removed from the catalog: a sync takes it away."""
UNREACHABLE = "unreachable"
Answer = TypeVar("Answer")


class Machine:
    """One machine, as it was asked. `unreachable` is the reason why there are no facts, `hint` what to do about it;
    every other look at it raises LookupError then, and `host` also when that was not asked for. `out_of_service` is why
    Slurm does not count on it now, in words; "" where it does."""

    def __init__(
        self,
        name: str,
        facts: MachineFacts | None,
        unreachable: str | None = None,
        hint: str | None = None,
        out_of_service: str = "",
    ) -> None:
        self.name = name
        self.unreachable = unreachable
        self.hint = hint or ""
        self.out_of_service = out_of_service
        self._facts = facts

    def __repr__(self) -> str:
        return f"<Machine {self.name}>"

    @property
    def facts(self) -> MachineFacts:
        if self._facts is None:
            raise LookupError(f"{self.name} could not be asked: {self.unreachable}")
        return self._facts

    @property
    def host(self) -> Host:
        """How the machine is set up: programs, accounts, keys, and files that phase 1 makes."""
        if self.facts.host is None:
            raise LookupError(f"{self.name} was not asked how it is set up")
        return self.facts.host

    @property
    def not_counted(self) -> bool:
        """Whether it could not be asked, which is no failure: Slurm does not count on it either."""
        return self.unreachable is not None and bool(self.out_of_service)

    def path(self, path: str) -> File | None:
        """What lies at a path that was asked for; None if nothing does."""
        __tracebackhide__ = True
        return self.answer(path.rstrip("/") or "/", self.host.paths)

    def text(self, path: str) -> str | None:
        """The first MiB of a text file that was asked for; None if there is none."""
        __tracebackhide__ = True
        return self.answer(path, self.host.texts)

    def command(self, text: str) -> Ended:
        """How a command that was asked for, by its text there, has ended."""
        __tracebackhide__ = True
        return self.answer(text, self.host.commands)

    def answer(self, what: str, given: Mapping[str, Answer]) -> Answer:
        """The answer to a question. Raises LookupError when nobody has asked it."""
        __tracebackhide__ = True  # pytest shows the line that wants to know
        if what not in given:
            raise LookupError(
                f"{self.name} was not asked for {what}: name it in hpc_paths, hpc_commands or pytest_hpc_request"
            )
        return given[what]

    @cached_property
    def images(self) -> Mapping[str, ImageFile]:
        """Each file in the registry's directories by its name."""
        return {image.name: image for image in self.facts.images}

    def image(self, name: str) -> ImageFile | None:
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
        read = image.sha256
        digest = image.object if read is None else read
        known = next((one for one in entry.history() if one.digest == digest), None)
        if known is None or (read is None and image.size != known.size):
            return DIFFERS
        return PRESENT if digest == entry.digest else OLDER

    def damaged_objects(self, name: str, entry: Entry) -> list[str]:
        """Those of the image's objects here whose bytes were read and are others than their name says.

        A file is read by its name, which another version may have got between two looks at it: bytes that the catalog
        knows are no damage.
        """
        known = {one.digest for one in entry.history()}
        read = {digest: self.facts.objects[digest].sha256 for digest in known if digest in self.facts.objects}
        damaged = {digest for digest, actual in read.items() if actual not in (None, digest)}
        image = self.image(name)
        if image and image.object and image.sha256 not in {None, image.object, *known}:
            damaged.add(image.object)
        return sorted(damaged)


@dataclass(frozen=True)
class Facts:
    """The whole cluster's facts: `catalog` is the controller's, empty with `catalog_problem` set if it is broken.

    `slurm` is its own view of the nodes.
    """

    controller: Machine
    nodes: Mapping[str, Machine]
    catalog: Catalog = field(default_factory=Catalog)
    catalog_problem: str | None = None
    syncing: Syncing = field(default_factory=Syncing)
    slurm: SlurmFacts | None = None
    events: Sequence[Event] = ()
    """What all this was read from, to be handed to another process."""

    def __repr__(self) -> str:
        return f"<Facts: {len(self.nodes)} nodes, {len(self.catalog.images)} images>"

    @property
    def machines(self) -> dict[str, Machine]:
        """The controller, by the name "controller", and all nodes."""
        return {CONTROLLER: self.controller, **self.nodes}

    @property
    def unreachable(self) -> dict[str, str]:
        """Each node that could not be asked, and should -> the reason."""
        silent = {name: node.unreachable for name, node in self.nodes.items() if not node.not_counted}
        return {name: reason for name, reason in silent.items() if reason is not None}

    @property
    def not_counted(self) -> dict[str, str]:
        """Each node that could not be asked, and on which Slurm does not count either -> why it does not."""
        return {name: node.out_of_service for name, node in self.nodes.items() if node.not_counted}

    @property
    def asked(self) -> list[str]:
        """The nodes that could be asked."""
        return [name for name, node in self.nodes.items() if node.unreachable is None]

    @property
    def out_of_service(self) -> dict[str, str]:
        """Each node that could be asked though Slurm does not count on it now -> why it does not."""
        return {name: self.nodes[name].out_of_service for name in self.asked if self.nodes[name].out_of_service}

    def well(self, matrix: Mapping[str, Mapping[str, str]]) -> set[str]:
        """The nodes that could be asked, and have each image of the *matrix* as it should be."""
        odd = {machine for row in matrix.values() for machine, state in row.items() if state != PRESENT}
        return set(self.asked) - odd

    def names(self) -> list[str]:
        """Every image name in the catalog or on any machine, hidden files left out."""
        found = set(self.catalog.images)
        for machine in self.machines.values():
            if machine.unreachable is None:
                found.update(name for name in machine.images if "/." not in name)
        return sorted(found)

    def matrix(self, names: list[str] | None = None) -> dict[str, dict[str, str]]:
        """Image name -> machine -> state. A name that the catalog does not know is nowhere missing."""
        return {name: self.row(name) for name in (self.names() if names is None else names)}

    def row(self, name: str) -> dict[str, str]:
        entry = self.catalog.images.get(name)
        states = {key: self.state_on(machine, name) for key, machine in self.machines.items()}
        return states if entry else {key: state for key, state in states.items() if state != MISSING}

    def state_on(self, machine: Machine, name: str) -> str:
        """The state of an image on a machine of the cluster."""
        state, gone = machine.state_of(name, self.catalog.images.get(name)), self.catalog.removed.get(name)
        image = machine.image(name) if gone and state == UNMANAGED else None
        return REMOVED if gone and image and image.object in gone.digests() else state


def read(events: Iterable[Event], registry: str) -> Facts:
    """Facts from what the controller program answered: `node_facts` of each node, the catalog in parts,
    and `gathered` as the last.

    Raises HpcRegistryError when that is not the whole.
    """
    given = tuple(events)
    told = [one for one in given if isinstance(one, NodeFacts)]
    end = given[-1] if given else None
    if not isinstance(end, Gathered) or end.nodes != len({one.node for one in told}):
        raise HpcRegistryError("the controller program ended before it had given all facts")
    away = out_of_service(end.slurm)
    nodes = {one.node: Machine(one.node, one.facts, one.unreachable, one.hint, away.get(one.node, "")) for one in told}
    parts = [one.text for one in given if isinstance(one, CatalogPart)]
    catalog, problem = read_catalog("".join(parts) if parts else None, layout.inside(registry, layout.CATALOG))
    in_order = {name: nodes[name] for name in sorted(nodes)}
    return Facts(Machine(CONTROLLER, end.controller), in_order, catalog, problem, end.syncing, end.slurm, given)


def read_catalog(text: str | None, path: str) -> tuple[Catalog, str | None]:
    """The catalog, and what is wrong with it."""
    if text is None:
        return Catalog(), f"{path} does not exist"
    try:
        return from_text(text, path), None
    except ConfigError as error:
        return Catalog(), str(error)


def require_nodes(facts: Facts) -> None:
    """Raise when there is nothing that a check could speak about."""
    if not facts.nodes:
        raise HpcRegistryError("the cluster has no compute nodes: nothing can be checked")
