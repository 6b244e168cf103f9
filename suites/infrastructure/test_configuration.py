"""config.yaml says what the cluster file says, and the same everywhere."""

from __future__ import annotations

from typing import Any

import pytest

from pytest_hpcregistry import documents
from pytest_hpcregistry.facts import Facts, Machine
from pytest_hpcregistry.model import Cluster

pytestmark = pytest.mark.infrastructure


def test_config_agrees_with_the_cluster_file(controller: Machine, cluster: Cluster) -> None:
    path = f"{cluster.registry.path}/.registry/config.yaml"
    text = controller.facts["texts"][path]
    assert text is not None, f"{path} does not exist"
    config: Any = documents.load(text, path)
    assert config["registry"]["path"] == cluster.registry.path
    assert config["registry"]["owner"] == cluster.registry.owner
    assert config["registry"]["group"] == cluster.registry.group
    assert config["registry"]["directories"] == list(cluster.registry.directories)
    assert config["synchronization"]["key"] == cluster.sync.key
    assert config["synchronization"]["log"] == cluster.sync.log


def test_peers_name_every_node(machine: Machine, controller: Machine, cluster: Cluster, cluster_facts: Facts) -> None:
    """Bytes of images go to these addresses, and to no others."""
    path = f"{cluster.registry.path}/.registry/peers"
    text = machine.facts["texts"][path]
    assert text is not None, f"{path} does not exist"
    assert text == controller.facts["texts"][path]
    named = {words[0] for words in map(str.split, text.splitlines()) if len(words) > 1}
    assert set(cluster_facts.nodes) - named == set()


def test_config_is_the_controllers(node: Machine, controller: Machine, cluster: Cluster) -> None:
    path = f"{cluster.registry.path}/.registry/config.yaml"
    assert node.facts["texts"][path] == controller.facts["texts"][path]
