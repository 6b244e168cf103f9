"""Who can read the registry, and what the sync key may do."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator

from ..core.facts import Facts, Machine
from ..core.layout import AGENT, KNOWN_HOSTS, SUDO
from ..core.model import Cluster
from ..core.routes import ROOT, configured_route
from .finding import Finding, compare


def group(machine: Machine, facts: Facts, cluster: Cluster) -> Iterator[Finding]:
    name = cluster.registry.group
    if machine.host.accounts.groups[name] is None:
        yield Finding("access.group", machine.name, f"group {name}", "does not exist")


def readers(machine: Machine, facts: Facts, cluster: Cluster) -> Iterator[Finding]:
    """Tried as the user slurm and as the ordinary user, not read off the modes."""
    denied = machine.host.denied
    if not denied:
        yield Finding("access.readers", machine.name, "reading", "was not tried as any user")
    for user, paths in denied.items():
        if paths is None:
            yield Finding("access.readers", machine.name, f"user {user}", "does not exist, or cannot be tried")
        for path in paths or ():
            yield Finding("access.readers", machine.name, path, f"cannot be read by {user}")


def sync_key(machine: Machine, facts: Facts, cluster: Cluster) -> Iterator[Finding]:
    yield from compare("access.sync_key", machine, cluster.sync.key, "file 0600 root")


def known_hosts(machine: Machine, facts: Facts, cluster: Cluster) -> Iterator[Finding]:
    found = machine.path(KNOWN_HOSTS)
    if found is None or found.size == 0:
        yield Finding("access.known_hosts", machine.name, KNOWN_HOSTS, "empty" if found else "does not exist")


def authorized_key(machine: Machine, facts: Facts, cluster: Cluster) -> Iterator[Finding]:
    """The sync key is authorized on a node, and restricted wherever it is: a second line would undo the first."""
    public = facts.controller.text(f"{cluster.sync.key}.pub")
    words = public.split() if public else []
    if len(words) < 2:
        yield Finding("access.authorized_key", facts.controller.name, f"{cluster.sync.key}.pub", "is no public key")
        return
    fingerprint = hashlib.sha256(words[1].encode()).hexdigest()
    lines = [key.options for key in machine.host.authorized_keys if key.fingerprint == fingerprint]
    source = "" if cluster.sync.key_from == ("any",) else 'from="[^"]+",'
    program = f"{AGENT} serve --registry {cluster.registry.path}"
    sudo = "" if configured_route(machine.name, cluster.routes).user == ROOT else f"{SUDO} -n "
    restricted = f'restrict,{source}command="{sudo}/usr/bin/python3 -I {re.escape(program)}"'
    if not lines:
        yield Finding("access.authorized_key", machine.name, "sync key", "is not authorized")
    for options in lines:
        if not re.fullmatch(restricted, options):
            expected = f"restricted to {program}"
            yield Finding("access.authorized_key", machine.name, "sync key", f"authorized as: {options}", expected)
