"""The catalog: sound, with images in it, and the same on every node."""

from __future__ import annotations

from collections.abc import Iterator

from ..core.catalog import MEND_CATALOG
from ..core.facts import Facts, Machine
from ..core.layout import CATALOG, inside
from ..core.model import Cluster
from ..core.names import CONTROLLER
from .finding import Finding
from .images import DEPLOY_AGAIN, SYNC

NOT_SET_UP = "phase 1 makes it: hpc-container-manager registry setup"


def mend(facts: Facts) -> str:
    """What to do about a catalog that cannot be read; where no registry has an image, there was none yet."""
    is_lost = any(one.facts.objects or one.images for one in facts.machines.values() if one.unreachable is None)
    is_there = "does not exist" not in (facts.catalog_problem or "")
    return MEND_CATALOG if is_lost or is_there else NOT_SET_UP


def readable(machine: Machine, facts: Facts, cluster: Cluster) -> Iterator[Finding]:
    if facts.catalog_problem:
        yield Finding("catalog.readable", machine.name, "catalog", facts.catalog_problem, hint=mend(facts))


def has_images(machine: Machine, facts: Facts, cluster: Cluster) -> Iterator[Finding]:
    if facts.catalog_problem:
        yield from readable(machine, facts, cluster)
    elif not facts.catalog.images:
        yield Finding("catalog.has_images", machine.name, "catalog", "is empty", hint="deploy an image first")


def same(machine: Machine, facts: Facts, cluster: Cluster) -> Iterator[Finding]:
    if machine.facts.catalog_digest != facts.controller.facts.catalog_digest:
        path = inside(cluster.registry.path, CATALOG)
        yield Finding("catalog.same", machine.name, path, "is not the controller's", hint=SYNC)


def objects(machine: Machine, facts: Facts, cluster: Cluster) -> Iterator[Finding]:
    """Every entry has its bytes; of a catalog that cannot be read nobody knows that."""
    yield from readable(machine, facts, cluster)
    for name, entry in facts.catalog.images.items():
        if entry.digest not in machine.facts.objects:
            hint = DEPLOY_AGAIN if machine.name == CONTROLLER else SYNC
            yield Finding("catalog.objects", machine.name, name, f"has no object {entry.digest}", hint=hint)
