"""The catalog: sound, and the same on every node."""

from __future__ import annotations

import pytest

from pytest_hpcregistry.checks import Find, catalog
from pytest_hpcregistry.core.facts import Facts, Machine
from pytest_hpcregistry.core.model import Cluster

pytestmark = pytest.mark.hpc_deployment


def test_catalog_is_readable(controller: Machine, cluster_facts: Facts, cluster: Cluster) -> None:
    assert list(catalog.readable(controller, cluster_facts, cluster)) == []


def test_catalog_names_images(controller: Machine, cluster_facts: Facts, cluster: Cluster) -> None:
    assert list(catalog.has_images(controller, cluster_facts, cluster)) == []


def test_catalog_is_the_controllers(find_on_nodes: Find) -> None:
    assert find_on_nodes(catalog.same) == []


def test_every_entry_has_its_bytes(find_on_machines: Find) -> None:
    assert find_on_machines(catalog.objects) == []
