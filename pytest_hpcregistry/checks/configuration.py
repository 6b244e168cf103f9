"""config.yaml says what the cluster file says, and the same everywhere."""

from __future__ import annotations

from collections.abc import Iterator

from ..core import documents, layout, settings, signatures
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
        found = settings.read(documents.parse(text, path))
    except ConfigError as error:
        yield Finding("configuration.in_force", machine.name, path, f"cannot be read: {error}")
        return
    if found.outdated:
        yield Finding("configuration.in_force", machine.name, path, "has the form of an older version")
    for difference in settings.differences(settings.flat(cluster), found):
        yield Finding("configuration.in_force", machine.name, path, difference)


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
    for node in sorted(set(facts.nodes) - named - set(facts.not_counted)):  # which phase 1 may not have reached
        yield Finding("configuration.peers", machine.name, path, f"does not name {node}")


def signers(machine: Machine, facts: Facts, cluster: Cluster) -> Iterator[Finding]:
    """Whose signatures count on a machine is what the cluster file says."""
    path = layout.inside(cluster.registry.path, layout.SIGNERS)
    text = machine.text(path)
    if text != signatures.allowed_signers(cluster.registry.signers):
        found = "does not exist" if text is None else "is not what registry.signers says"
        yield Finding("configuration.signers", machine.name, path, found)


def same(machine: Machine, facts: Facts, cluster: Cluster) -> Iterator[Finding]:
    path = layout.inside(cluster.registry.path, layout.CONFIG)
    if machine.text(path) != facts.controller.text(path):
        yield Finding("configuration.same", machine.name, path, "is not the controller's")
