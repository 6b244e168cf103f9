"""Verify: read images back from every disk and compare them with the catalog, while syncs may be changing both."""

from __future__ import annotations

import time
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, replace

from ..checks import images
from ..checks.finding import Finding, fold_findings
from ..checks.waivers import judge
from ..core.coverage import Required, shortfall
from ..core.errors import CheckFailed, HpcRegistryError, Unreachable
from ..core.events import Listener, Noticed, Verified
from ..core.facts import DAMAGED, MISSING, PRESENT, UNMANAGED, UNREACHABLE, Facts, Machine
from ..core.machine import Question
from ..core.messages import context
from ..core.model import Cluster
from ..core.names import CONTROLLER, excerpt
from ..core.nodeset import expand, fold_machines
from ..core.waivers import today
from . import image_signatures, signing
from .client import ControllerClient, Wait

LOOKS = 4  # the first, and at most three more
PATIENCE = 15.0  # seconds after a publish in which a deploy's sync begins, on a busy controller too
Damage = tuple[str, str, str]  # image, machine, digest of the object


@dataclass(frozen=True)
class Reading:
    """What was read back. `unsettled`: images were published or synced during every look, so that what is not present
    may be on its way; `damaged` is what two looks agree on then.
    """

    facts: Facts
    unsettled: bool
    damaged: frozenset[Damage]


def read_back(
    client: ControllerClient,
    listener: Listener,
    names: Sequence[str] | None = None,
    *,
    with_nodes: bool = True,
    question: Question | None = None,
) -> Reading:
    """Facts with the content of all images (or of *names*), read when no sync is under way, or looked at again.

    It waits, all in all at most as long as a sync may take. Without *with_nodes* only the controller matters. A
    *question* asks for more.
    """
    question = question or client.question(content=True, names=names)
    deadline = time.monotonic() + client.cluster.sync.timeout
    for_sync, before = 0.0, frozenset[Damage]()
    for look in range(LOOKS):
        for_end = max(0.0, deadline - time.monotonic()) if with_nodes else 0.0
        found = client.facts(question, listener, Wait(for_sync, for_end))
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
    return Reading(found, unsettled, agreed if unsettled else damaged)


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
    reading: Reading,
    names: Sequence[str],
    client: ControllerClient,
    listener: Listener,
    with_nodes: bool = True,
    *,
    required: Required | None = None,
    said: Collection[str] = (),
) -> list[HpcRegistryError]:
    """Compare what was read back from the disks with the catalog: one error for each image and finding, and one where
    fewer nodes are well than *required*. The signatures that images carry themselves the controller looks at now.
    Which nodes are not counted is reported, but for the lines that were *said* before.
    """
    found, cluster = reading.facts, client.cluster
    away = found.not_counted if with_nodes else {}
    for line in context(found) if with_nodes else ():
        if line not in said:
            listener(Noticed(line))
    if found.catalog_problem:
        return [CheckFailed(found.catalog_problem)]  # it says of no image what it is, so nobody else can
    signed = {name: found.catalog.images[name] for name in names if name in found.catalog.images}
    errors = signing.failures(cluster.registry, signed, listener)
    errors += image_signatures.failures(client, signed, listener)
    odd: set[str] = set()
    waived, proven = list[Finding](), False
    for name, row in found.matrix(list(names)).items():
        counted = {machine: state for machine, state in row.items() if machine not in away}
        looked_at = counted if with_nodes else {CONTROLLER: row.get(CONTROLLER, MISSING)}
        if name not in found.catalog.images and set(looked_at.values()) <= {MISSING}:
            errors.append(CheckFailed(f"{excerpt(name)} is not in the catalog"))
        findings = [one for machine in looked_at for one in look_at(found.machines[machine], found, cluster, name)]
        judged = judge(findings, cluster.waivers, today())
        waived += judged.waived
        states_waived = {one.where for one in judged.waived if one.id != "images.modes"}
        open_here = {one.where for one in judged.open}
        listener(Verified(name=name, states=looked_at, waived=tuple(sorted(states_waived - open_here))))
        if apart := [machine for machine in looked_at if lies_apart(found.machines[machine], found, name)]:
            text = "has the catalog's bytes, but is no link to an object: status calls that other than the catalog's"
            listener(Noticed(f"{fold_machines(apart)}: {excerpt(name)} {text}"))
        proven = proven or any(state == PRESENT for machine, state in looked_at.items() if machine != CONTROLLER)
        for certain in (True, False):
            alike = [one for one in judged.open if is_certain(one, reading) is certain]
            in_order = sorted(fold_findings(alike), key=lambda one: (one.found, one.where))
            errors += [error_of(one, certain) for one in in_order]
            odd |= {node for one in in_order for node in expand(one.where)}
    for one in fold_findings(waived):
        listener(Noticed(message=text_of(one)))
    if waived and with_nodes and not proven and not errors:
        errors.append(CheckFailed("no node has an image as the catalog says: all that was found is waived"))
    well = set(found.asked) - odd - {one.where for one in waived}
    return errors + (shortfall(required, found.nodes, well, away) if with_nodes else [])


def look_at(machine: Machine, found: Facts, cluster: Cluster, name: str) -> Iterator[Finding]:
    """The image's state; and its owner and mode, where it is an image of the catalog."""
    for one in images.state(machine, found, cluster, name):
        yield one if machine.unreachable is None else replace(one, id="reachable.reached")
    if images.is_comparable(machine, found, name):
        yield from images.modes(machine, found, cluster, name)


def lies_apart(machine: Machine, found: Facts, name: str) -> bool:
    """Whether an image has the right bytes, and is a file of its own: who does not read it cannot know that."""
    if not images.is_comparable(machine, found, name):
        return False
    image = machine.images[name]
    return image.object is None and image.sha256 == found.catalog.images[name].digest


def text_of(finding: Finding) -> str:
    expected = f", should be {finding.expected}" if finding.expected not in ("", PRESENT) else ""
    waiver = f"; {finding.waiver}" if finding.waiver else ""
    return f"{finding.where}: {excerpt(finding.what)} {finding.found}{expected}{waiver}"


def error_of(finding: Finding, certain: bool) -> HpcRegistryError:
    text = text_of(finding)
    if finding.found == UNREACHABLE:
        return Unreachable(text, hint=finding.hint)
    if not certain:
        return Unreachable(f"{text}, while syncs went on: that may be over", hint="verify again when no sync runs")
    return CheckFailed(text, hint=finding.hint)


def is_certain(finding: Finding, reading: Reading) -> bool:
    """Whether a sync cannot explain it: none ran, nobody syncs such a file, or two looks have seen the same damage."""
    if not reading.unsettled or finding.found in (UNMANAGED, UNREACHABLE):
        return True
    return any(
        (name, machine) == (finding.what, finding.where) and finding.found.endswith(digest)
        for name, machine, digest in reading.damaged
    )
