"""From facts to findings: suites assert on every check, `status` and `verify` use those of images. Runs on the
workstation; Python 3.9, so that the controller can run them too."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

from ..core.facts import Facts, Machine
from ..core.model import Cluster
from ..core.names import CONTROLLER
from . import access, catalog, configuration, images, programs, reachable, slurm, structure
from .finding import Finding, fold_findings

MachineCheck = Callable[[Machine, Facts, Cluster], Iterator[Finding]]
ImageCheck = Callable[[Machine, Facts, Cluster, str], Iterator[Finding]]
Find = Callable[..., list[Finding]]
"""Checks -> what they find, where that has been chosen: `find_on_machines(structure.modes)` in the suites."""

# A suite asserts on each of these: tests/unit/checks/test_checks.py compares.
OF_CONTROLLER: tuple[MachineCheck, ...] = (
    access.sync_key,
    access.known_hosts,
    configuration.in_force,
    programs.controller_program,
    programs.log,
    slurm.answers,
    catalog.readable,
    catalog.has_images,
)
OF_NODES: tuple[MachineCheck, ...] = (
    access.authorized_key,
    configuration.same,
    slurm.usable,
    slurm.binds,
    slurm.runtime,
    catalog.same,
)
OF_MACHINES: tuple[MachineCheck, ...] = (
    structure.directories,
    structure.modes,
    structure.private_directories,
    structure.files,
    structure.root_files,
    structure.history,
    access.group,
    access.readers,
    configuration.peers,
    configuration.signers,
    programs.agent,
    programs.guarded,
    programs.installed,
    slurm.version,
    slurm.containers,
    catalog.objects,
)
OF_IMAGES: tuple[ImageCheck, ...] = (
    images.whole,
    images.state,
    images.intact,
    images.sound,
    images.inspected,
    images.modes,
    images.readable,
    images.starts,
)
OF_SUITES = ("access.sync_key_works", "images.checks")
"""Ids of what suites find that look at more than facts."""
IDS: tuple[str, ...] = (
    *(
        f"{check.__module__.rpartition('.')[2]}.{check.__name__}"
        for check in (*OF_CONTROLLER, *OF_NODES, *OF_MACHINES, *OF_IMAGES, reachable.reached, programs.set_up)
    ),
    *OF_SUITES,
)
"""The ids of findings."""


def run(facts: Facts, cluster: Cluster) -> Iterator[Finding]:
    """All checks of all machines, whose `host` and content must have been asked for. Of a node that could not be asked
    there is that one finding, and of a cluster on which phase 1 has not been run no other but these."""
    not_set_up = list(programs.set_up(facts.controller, facts, cluster))
    yield from not_set_up
    for machine in facts.machines.values():
        if machine.unreachable is not None:
            yield from reachable.reached(machine, facts, cluster)
        if machine.unreachable is not None or not_set_up:
            continue
        for check in (*(OF_CONTROLLER if machine.name == CONTROLLER else OF_NODES), *OF_MACHINES):
            yield from check(machine, facts, cluster)
        for name in () if facts.catalog_problem else facts.names():
            yield from of_image(machine, facts, cluster, name)


def on_machines(machines: Iterable[Machine], facts: Facts, cluster: Cluster, *wanted: MachineCheck) -> list[Finding]:
    """What the *wanted* checks find on those of the *machines* that could be asked; the same on several is one."""
    asked = [one for one in machines if one.unreachable is None]
    return fold_findings(found for check in wanted for one in asked for found in check(one, facts, cluster))


def in_images(
    machines: Iterable[Machine], names: Iterable[str], facts: Facts, cluster: Cluster, *wanted: ImageCheck
) -> list[Finding]:
    """As `on_machines`, of each image of *names* there."""
    asked = [(one, name) for name in names for one in machines if one.unreachable is None]
    return fold_findings(found for check in wanted for one, name in asked for found in check(one, facts, cluster, name))


def of_image(machine: Machine, facts: Facts, cluster: Cluster, name: str) -> Iterator[Finding]:
    """All checks of an image; where it is missing or not in the catalog, its state alone."""
    checks = OF_IMAGES if images.is_comparable(machine, facts, name) else (images.state,)
    for check in checks:
        yield from check(machine, facts, cluster, name)
