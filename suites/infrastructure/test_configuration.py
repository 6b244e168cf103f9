"""config.yaml says what the cluster file says, and the same everywhere."""

from __future__ import annotations

import pytest

from pytest_hpcregistry.checks import Find, configuration
from pytest_hpcregistry.core.facts import Facts, Machine
from pytest_hpcregistry.core.model import Cluster

pytestmark = pytest.mark.hpc_infrastructure


def test_config_agrees_with_the_cluster_file(controller: Machine, cluster_facts: Facts, cluster: Cluster) -> None:
    assert list(configuration.in_force(controller, cluster_facts, cluster)) == []


def test_peers_name_every_node(find_on_machines: Find) -> None:
    assert find_on_machines(configuration.peers) == []


def test_signers_are_the_cluster_files(find_on_machines: Find) -> None:
    assert find_on_machines(configuration.signers) == []


def test_config_is_the_controllers(find_on_nodes: Find) -> None:
    assert find_on_nodes(configuration.same) == []
