"""Whether each node could be asked: its own result, once for each node, in every phase."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from pytest_hpcregistry.core.facts import Facts

pytestmark = [pytest.mark.infrastructure, pytest.mark.deployment, pytest.mark.e2e]


def test_node_is_reachable(
    node_name: str, cluster_facts: Facts, record_property: Callable[[str, object], None]
) -> None:
    reason = cluster_facts.nodes[node_name].unreachable
    if reason is not None:
        record_property("unreachable", reason)
        pytest.fail(f"{node_name} is unreachable from the controller: {reason}", pytrace=False)
