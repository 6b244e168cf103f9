"""Whether a machine could be asked at all."""

from __future__ import annotations

from collections.abc import Iterator

from ..core.facts import Facts, Machine
from ..core.model import Cluster
from .finding import Finding


def reached(machine: Machine, facts: Facts, cluster: Cluster) -> Iterator[Finding]:
    """But for a node on which Slurm does not count either."""
    if machine.unreachable is not None and not machine.not_counted:
        found = f"unreachable from the controller: {machine.unreachable}"
        yield Finding("reachable.reached", machine.name, "", found, hint=machine.hint)
