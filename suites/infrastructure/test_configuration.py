"""config.yaml says what the cluster file says, and the same everywhere."""

from __future__ import annotations

from typing import Any

import pytest

from pytest_hpcregistry.core import documents, layout
from pytest_hpcregistry.core.facts import Facts, Machine
from pytest_hpcregistry.core.model import Cluster

pytestmark = pytest.mark.infrastructure


def test_config_agrees_with_the_cluster_file(controller: Machine, cluster: Cluster) -> None:
    path = layout.inside(cluster.registry.path, layout.CONFIG)
    text = controller.facts["texts"][path]
    assert text is not None, f"{path} does not exist"
    config: Any = documents.load(text, path)
    in_force = {(part, key): value for part in ("registry", "synchronization") for key, value in config[part].items()}
    in_force |= {("slurm", key): value for key, value in config["slurm_integration"].items()}
    wrong = [
        f"{part}.{key} is {in_force.get((part, key))!r}, and {value!r} in the cluster file"
        for (part, key), value in settings_of(cluster).items()
        if in_force.get((part, key)) != value
    ]
    assert wrong == [], f"{path} is not what the cluster file says: hpc-container-manager registry setup"


def settings_of(cluster: Cluster) -> dict[tuple[str, str], Any]:
    """Every setting that phase 1 writes down, as text or a list of texts, under its place in config.yaml."""
    registry, sync, slurm = cluster.registry, cluster.sync, cluster.slurm
    found: dict[tuple[str, str], Any] = {
        ("registry", "path"): registry.path,
        ("registry", "owner"): registry.owner,
        ("registry", "group"): registry.group,
        ("registry", "directory_mode"): f"{registry.directory_mode:04o}",
        ("registry", "file_mode"): f"{registry.file_mode:04o}",
        ("registry", "directories"): list(registry.directories),
        ("registry", "keep"): str(registry.keep),
        ("synchronization", "method"): sync.method,
        ("synchronization", "nodes"): "slurm" if cluster.nodes is None else list(cluster.nodes),
        ("synchronization", "limit_rate"): str(sync.limit_rate),
        ("synchronization", "network"): sync.network or "",
        ("synchronization", "window"): str(sync.window),
        ("synchronization", "timeout"): str(sync.timeout),
        ("synchronization", "connect_timeout"): str(sync.connect_timeout),
        ("synchronization", "key"): sync.key,
        ("synchronization", "log"): sync.log,
        ("slurm", "container"): "true" if slurm.container else "false",
        ("slurm", "conf_dir"): slurm.conf_dir,
    }
    if sync.key_from == ("any",):
        found["synchronization", "key_from"] = []
    elif sync.key_from != ("auto",):  # that is written down as the addresses that phase 1 found
        found["synchronization", "key_from"] = list(sync.key_from)
    return found


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
