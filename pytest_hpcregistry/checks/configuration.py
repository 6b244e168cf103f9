"""config.yaml says what the cluster file says, and the same everywhere."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from ..core import documents, layout
from ..core.errors import ConfigError
from ..core.facts import Facts, Machine
from ..core.model import Cluster
from .finding import Finding


def in_force(machine: Machine, facts: Facts, cluster: Cluster) -> Iterator[Finding]:
    """Every setting of the cluster file is what the controller goes by."""
    path = layout.inside(cluster.registry.path, layout.CONFIG)
    text = machine.text(path)
    if text is None:
        yield Finding("configuration.in_force", machine.name, path, "does not exist")
        return
    try:
        config: Any = documents.load(text, path)
    except ConfigError as error:
        yield Finding("configuration.in_force", machine.name, path, f"cannot be read: {error}")
        return
    found = {(part, key): value for part in ("registry", "synchronization") for key, value in config[part].items()}
    found |= {("slurm", key): value for key, value in config["slurm_integration"].items()}
    for (part, key), value in settings_of(cluster).items():
        actual = found.get((part, key))
        if actual != value:
            yield Finding("configuration.in_force", machine.name, f"{path}: {part}.{key}", repr(actual), repr(value))


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


def peers(machine: Machine, facts: Facts, cluster: Cluster) -> Iterator[Finding]:
    """Bytes of images go to these addresses, and to no others."""
    path = layout.inside(cluster.registry.path, layout.PEERS)
    text = machine.text(path)
    if text is None:
        yield Finding("configuration.peers", machine.name, path, "does not exist")
        return
    if text != facts.controller.text(path):
        yield Finding("configuration.peers", machine.name, path, "is not the controller's")
    named = {words[0] for words in map(str.split, text.splitlines()) if len(words) > 1}
    for node in sorted(set(facts.nodes) - named):
        yield Finding("configuration.peers", machine.name, path, f"does not name {node}")


def same(machine: Machine, facts: Facts, cluster: Cluster) -> Iterator[Finding]:
    path = layout.inside(cluster.registry.path, layout.CONFIG)
    if machine.text(path) != facts.controller.text(path):
        yield Finding("configuration.same", machine.name, path, "is not the controller's")
