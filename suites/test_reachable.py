"""Whether each node could be asked: its own result, once for each node, in every phase."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from pytest_hpcregistry.checks import reachable
from pytest_hpcregistry.core.facts import Facts
from pytest_hpcregistry.core.model import Cluster

pytestmark = [pytest.mark.infrastructure, pytest.mark.deployment, pytest.mark.e2e]


def test_node_is_reachable(
    node_name: str, cluster_facts: Facts, cluster: Cluster, record_property: Callable[[str, object], None]
) -> None:
    node = cluster_facts.nodes[node_name]
    if node.not_counted:
        pytest.skip(f"not counted: {node.out_of_service}")
    if node.unreachable is not None:
        record_property("unreachable", node.unreachable)
    assert list(reachable.reached(node, cluster_facts, cluster)) == []
