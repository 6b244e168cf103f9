"""Whether each node could be asked, and whether there is anything to ask for: results of their own, in every phase."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from pytest_hpcregistry.checks import programs, reachable
from pytest_hpcregistry.core.facts import Facts, Machine
from pytest_hpcregistry.core.model import Cluster

pytestmark = [pytest.mark.hpc_infrastructure, pytest.mark.hpc_deployment, pytest.mark.hpc_e2e]


def test_node_is_reachable(
    node_name: str, cluster_facts: Facts, cluster: Cluster, hpc_property: Callable[[str, object], None]
) -> None:
    node = cluster_facts.nodes[node_name]
    if node.not_counted:
        pytest.skip(f"not counted: {node.out_of_service}")
    if node.unreachable is not None:
        hpc_property("unreachable", node.unreachable)
    assert list(reachable.reached(node, cluster_facts, cluster)) == []


def test_phase_1_has_been_run(controller: Machine, cluster_facts: Facts, cluster: Cluster) -> None:
    """Where it has not, every test in a phase's directory is skipped."""
    assert list(programs.set_up(controller, cluster_facts, cluster)) == []
