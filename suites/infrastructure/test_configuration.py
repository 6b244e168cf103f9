"""config.yaml says what the cluster file says, and the same everywhere."""

from __future__ import annotations

import pytest

from pytest_hpcregistry.checks import configuration
from pytest_hpcregistry.core.facts import Facts, Machine
from pytest_hpcregistry.core.model import Cluster

pytestmark = pytest.mark.infrastructure


def test_config_agrees_with_the_cluster_file(controller: Machine, cluster_facts: Facts, cluster: Cluster) -> None:
    assert list(configuration.in_force(controller, cluster_facts, cluster)) == []


def test_peers_name_every_node(machine: Machine, cluster_facts: Facts, cluster: Cluster) -> None:
    assert list(configuration.peers(machine, cluster_facts, cluster)) == []


def test_signers_are_the_cluster_files(machine: Machine, cluster_facts: Facts, cluster: Cluster) -> None:
    assert list(configuration.signers(machine, cluster_facts, cluster)) == []


def test_config_is_the_controllers(node: Machine, cluster_facts: Facts, cluster: Cluster) -> None:
    assert list(configuration.same(node, cluster_facts, cluster)) == []
