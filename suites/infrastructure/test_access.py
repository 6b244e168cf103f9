"""Who can read the registry, and cross-node access: the sync key works on every node, and does nothing but sync."""

from __future__ import annotations

import pytest

from pytest_hpcregistry.checks import Find, access
from pytest_hpcregistry.checks.finding import Finding, fold_findings
from pytest_hpcregistry.cluster.client import ControllerClient
from pytest_hpcregistry.core.facts import Facts, Machine
from pytest_hpcregistry.core.model import Cluster

pytestmark = pytest.mark.hpc_infrastructure
WORKS = "works, refuses a shell"


def test_group_exists(find_on_machines: Find) -> None:
    assert find_on_machines(access.group) == []


def test_users_can_read(find_on_machines: Find) -> None:
    assert find_on_machines(access.readers) == []


def test_sync_key_is_private(controller: Machine, cluster_facts: Facts, cluster: Cluster) -> None:
    assert list(access.sync_key(controller, cluster_facts, cluster)) == []


def test_sync_key_has_its_own_known_hosts(controller: Machine, cluster_facts: Facts, cluster: Cluster) -> None:
    assert list(access.known_hosts(controller, cluster_facts, cluster)) == []


def test_sync_key_is_authorized_and_restricted(find_on_nodes: Find) -> None:
    assert find_on_nodes(access.authorized_key) == []


def test_sync_key_reaches_every_node_and_only_syncs(hpc_client: ControllerClient, cluster_facts: Facts) -> None:
    """One login for the agent's answer and one for a shell command, which must be refused, on every node."""
    nodes = cluster_facts.nodes
    tried = hpc_client.try_sync_key(list(nodes))
    assert set(tried) == set(nodes)
    reachable = {node: result for node, result in tried.items() if nodes[node].unreachable is None}
    wrong = {node: result for node, result in reachable.items() if result != WORKS}
    findings = [Finding("access.sync_key_works", node, "sync key", said, WORKS) for node, said in wrong.items()]
    assert fold_findings(findings) == []
