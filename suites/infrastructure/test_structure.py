"""The directory tree: there, with the right modes and owners, on the controller and on every node."""

from __future__ import annotations

import pytest

from pytest_hpcregistry.checks import structure
from pytest_hpcregistry.core.facts import Facts, Machine
from pytest_hpcregistry.core.model import Cluster

pytestmark = pytest.mark.infrastructure


def test_directories(machine: Machine, cluster_facts: Facts, cluster: Cluster) -> None:
    assert list(structure.directories(machine, cluster_facts, cluster)) == []


def test_modes_and_ownership(machine: Machine, cluster_facts: Facts, cluster: Cluster) -> None:
    assert list(structure.modes(machine, cluster_facts, cluster)) == []


def test_where_images_arrive_is_closed_to_others(machine: Machine, cluster_facts: Facts, cluster: Cluster) -> None:
    assert list(structure.private_directories(machine, cluster_facts, cluster)) == []


def test_files(machine: Machine, cluster_facts: Facts, cluster: Cluster) -> None:
    assert list(structure.files(machine, cluster_facts, cluster)) == []


def test_files_of_root(machine: Machine, cluster_facts: Facts, cluster: Cluster) -> None:
    assert list(structure.root_files(machine, cluster_facts, cluster)) == []


def test_history(machine: Machine, cluster_facts: Facts, cluster: Cluster) -> None:
    assert list(structure.history(machine, cluster_facts, cluster)) == []
