"""Cross-node access: the sync key works on every node, and does nothing but sync."""

from __future__ import annotations

import hashlib
import re

import pytest

from pytest_hpcregistry.cluster.client import ControllerClient
from pytest_hpcregistry.core.facts import Facts, Machine
from pytest_hpcregistry.core.layout import AGENT, KNOWN_HOSTS
from pytest_hpcregistry.core.model import Cluster
from pytest_hpcregistry.core.nodeset import fold

pytestmark = pytest.mark.infrastructure


def test_sync_key_is_private(controller: Machine, cluster: Cluster) -> None:
    found = controller.path(cluster.sync.key)
    assert found is not None, f"{cluster.sync.key} does not exist"
    assert (found["type"], found["mode"], found["owner"]) == ("file", "0600", "root")


def test_sync_key_has_its_own_known_hosts(controller: Machine) -> None:
    found = controller.path(KNOWN_HOSTS)
    assert found is not None, f"{KNOWN_HOSTS} does not exist"
    assert found["size"] > 0


def test_sync_key_is_authorized_and_restricted(node: Machine, controller: Machine, cluster: Cluster) -> None:
    public = controller.facts["texts"][f"{cluster.sync.key}.pub"]
    assert public is not None, f"{cluster.sync.key}.pub does not exist"
    fingerprint = hashlib.sha256(public.split()[1].encode()).hexdigest()
    lines = [key["options"] for key in node.facts["authorized_keys"] if key["fingerprint"] == fingerprint]
    assert lines, "the sync key is not authorized on this node"
    source = "" if cluster.sync.key_from == ("any",) else 'from="[^"]+",'
    program = re.escape(f"{AGENT} serve --registry {cluster.registry.path}")
    for options in lines:  # a second line with the same key and no restriction would undo the first
        assert re.fullmatch(f'restrict,{source}command="/usr/bin/python3 -I {program}"', options), options


def test_sync_key_reaches_every_node_and_only_syncs(hpc_client: ControllerClient, cluster_facts: Facts) -> None:
    """One login for the agent's answer and one for a shell command, which must be refused, on every node."""
    tried = hpc_client.try_sync_key()
    assert set(tried) == set(cluster_facts.nodes)
    wrong = {node: result for node, result in tried.items() if result != "works, refuses a shell"}
    reachable = {node: result for node, result in wrong.items() if cluster_facts.nodes[node].unreachable is None}
    assert not reachable, f"{fold(reachable)}: {sorted(set(reachable.values()))}"
