"""config.yaml says what the cluster file says, and the same everywhere."""

from __future__ import annotations

import pytest

from pytest_hpcregistry.core import documents, layout, settings
from pytest_hpcregistry.core.facts import Facts, Machine
from pytest_hpcregistry.core.model import Cluster

pytestmark = pytest.mark.infrastructure


def test_config_agrees_with_the_cluster_file(controller: Machine, cluster: Cluster) -> None:
    path = layout.inside(cluster.registry.path, layout.CONFIG)
    text = controller.facts["texts"][path]
    assert text is not None, f"{path} does not exist"
    assert not_in_force(documents.parse(text, path), cluster) == [], f"{path}: hpc-container-manager registry setup"


def not_in_force(config: documents.Document, cluster: Cluster) -> list[str]:
    """Each setting of the cluster file that config.yaml does not have, as a sentence. Raises ConfigError."""
    in_force = settings.read(config)
    old = [f"{config.source} has the form of an older version"] if in_force.outdated else []
    return old + settings.differences(settings.flat(cluster), in_force)


def test_peers_name_every_node(machine: Machine, controller: Machine, cluster: Cluster, cluster_facts: Facts) -> None:
    """Bytes of images go to these addresses, and to no others."""
    path = layout.inside(cluster.registry.path, layout.PEERS)
    text = machine.facts["texts"][path]
    assert text is not None, f"{path} does not exist"
    assert text == controller.facts["texts"][path]
    named = {words[0] for words in map(str.split, text.splitlines()) if len(words) > 1}
    assert set(cluster_facts.nodes) - named == set()


def test_config_is_the_controllers(node: Machine, controller: Machine, cluster: Cluster) -> None:
    path = layout.inside(cluster.registry.path, layout.CONFIG)
    assert node.facts["texts"][path] == controller.facts["texts"][path]
