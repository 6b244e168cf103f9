"""Verify: read images back from every disk and compare them with the catalog, while syncs may be changing both."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ..core import facts
from ..core.errors import CheckFailed, HpcRegistryError, Unreachable
from ..core.events import Listener, Noticed, Verified
from ..core.facts import CONTROLLER, DAMAGED, DIFFERS, MISSING, OLDER, PRESENT, UNMANAGED, UNREACHABLE, Facts
from ..core.layout import object_path
from ..core.names import excerpt
from ..core.nodeset import fold, group_by
from .client import ControllerClient

LOOKS = 4  # the first, and at most three more
PATIENCE = 15.0  # seconds after a publish in which a deploy's sync begins, on a busy controller too
SYNC = "hpc-container-manager sync"
HINTS = {
    MISSING: SYNC,
    OLDER: SYNC,
    DIFFERS: f"{SYNC} puts the catalog's version there; what is there now is none that the catalog knows",
    DAMAGED: f"remove exactly the object that is named, on that machine, then: {SYNC}",
    UNMANAGED: "the catalog does not know it: deploy it, or remove it by hand",
    UNREACHABLE: "see: hpc-container-manager status",
}
ON_THE_CONTROLLER = "on the controller: deploy the image again"
Damage = tuple[str, str, str]  # image, machine, digest of the object


@dataclass(frozen=True)
class Reading:
    """What was read back. `unsettled`: images were published or synced during every look, so that what is not present
    may be on its way; `damaged` is what two looks agree on then.
    """

    data: Mapping[str, Any]
    facts: Facts
    unsettled: bool
    damaged: frozenset[Damage]


def read_back(
    client: ControllerClient,
    listener: Listener,
    names: Sequence[str] | None = None,
    *,
    inspect: bool = False,
    with_nodes: bool = True,
) -> Reading:
    """Facts with the content of all images (or of *names*), read when no sync is under way, or looked at again.

    It waits, all in all at most as long as a sync may take. Without *with_nodes* only the controller matters.
    """
    deadline = time.monotonic() + client.cluster.sync.timeout
    for_sync, before = 0.0, frozenset[Damage]()
    for look in range(LOOKS):
        for_end = max(0.0, deadline - time.monotonic()) if with_nodes else 0.0
        wait = {"for_sync": for_sync, "for_end": for_end}
        data = client.gather(content=True, names=names, inspect=inspect, wait=wait, listener=listener)
        found = facts.read(data, client.cluster.registry.path)
        damaged = frozenset(find_damage(found, names, with_nodes))
        agreed = damaged & before
        wrong = {(name, machine) for name, machine, state in cells(found, names, with_nodes) if state != PRESENT}
        age = found.syncing.catalog_age
        for_sync = max(0.0, PATIENCE - age) if age is not None and not found.syncing.meanwhile else 0.0
        explained = found.syncing.meanwhile or for_sync > 0
        if found.catalog_problem or not explained or wrong <= {(name, machine) for name, machine, _ in agreed}:
            break
        if look + 1 < LOOKS:
            before = damaged
            why = "a sync began meanwhile: looking again"
            if not found.syncing.meanwhile:
                why = f"the catalog has just changed: looking again after its sync, or in {for_sync:.0f} s"
            listener(Noticed(message=why))
    unsettled = explained and bool(wrong)
    return Reading(data, found, unsettled, agreed if unsettled else damaged)


def cells(found: Facts, names: Sequence[str] | None, with_nodes: bool) -> Iterator[tuple[str, str, str]]:
    """Image, machine and state, of all machines that could be asked."""
    for name, row in found.matrix(None if names is None else list(names)).items():
        for machine, state in row.items():
            if state != UNREACHABLE and (with_nodes or machine == CONTROLLER):
                yield name, machine, state


def find_damage(found: Facts, names: Sequence[str] | None, with_nodes: bool) -> Iterator[Damage]:
    for name, machine, state in cells(found, names, with_nodes):
        if state == DAMAGED:
            for digest in found.machines[machine].damaged_objects(name, found.catalog.images[name]):
                yield name, machine, digest


def failures(
    reading: Reading, names: Sequence[str], registry: str, listener: Listener, with_nodes: bool = True
) -> list[HpcRegistryError]:
    """Compare what was read back from the disks with the catalog: one error for each image and state."""
    if reading.facts.catalog_problem:
        return [CheckFailed(reading.facts.catalog_problem)]  # it says of no image what it is, so nobody else can
    found: list[HpcRegistryError] = []
    for name, row in reading.facts.matrix(list(names)).items():
        looked_at = row if with_nodes else {CONTROLLER: row.get(CONTROLLER, MISSING)}
        listener(Verified(name=name, states=looked_at))
        damage: dict[str, list[str]] = {}
        for _, machine, digest in sorted(one for one in reading.damaged if one[0] == name):
            damage.setdefault(digest, []).append(machine)
        for digest, machines in damage.items():
            text = f"{name} {DAMAGED}: {object_path(registry, digest)}"
            found.append(CheckFailed(f"{fold(machines)}: {text}", hint=hint_for(DAMAGED, machines)))
        said = {machine for machines in damage.values() for machine in machines}
        others = {machine: state for machine, state in looked_at.items() if state != PRESENT and machine not in said}
        by_state = group_by(others, others.__getitem__)
        found += [failure(name, state, machines, reading) for state, machines in sorted(by_state.items())]
    return found


def failure(name: str, state: str, machines: list[str], reading: Reading) -> HpcRegistryError:
    text = f"{fold(machines)}: {excerpt(name)} {state}"
    if state == UNREACHABLE:
        return Unreachable(text, hint=HINTS[state])
    if reading.unsettled and state != UNMANAGED:
        return Unreachable(f"{text}, while syncs went on: that may be over", hint="verify again when no sync runs")
    return CheckFailed(text, hint=hint_for(state, machines))


def hint_for(state: str, machines: list[str]) -> str:
    if state == UNMANAGED or CONTROLLER not in machines:
        return HINTS[state]
    return ON_THE_CONTROLLER + (f"; on a node: {HINTS[state]}" if machines != [CONTROLLER] else "")
