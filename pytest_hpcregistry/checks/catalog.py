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

NO_CATALOG = f"has phase 1 been run? hpc-container-manager registry setup; where it has, {MEND_CATALOG}"


def readable(machine: Machine, facts: Facts, cluster: Cluster) -> Iterator[Finding]:
    if facts.catalog_problem:
        yield Finding("catalog.readable", machine.name, "catalog", facts.catalog_problem, hint=NO_CATALOG)


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
