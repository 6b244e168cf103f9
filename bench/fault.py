"""What one dead and one slow node cost the others: the cable of one is pulled half-way, another is 20 times slower."""

from __future__ import annotations

import re
from typing import Any

from pytest_hpcregistry.lab import links
from pytest_hpcregistry.nodeset import expand

from .engine import bring
from .measure import Target
from .report import floor
from .testbed import Testbed

SLOWER = 20
PATIENCE = 240  # seconds that the command may go on with the two after everybody else could have been done


def fault(bed: Testbed, engine: str, nodes: tuple[str, ...], target: Target, link_mbit: int) -> dict[str, Any]:
    """The same transfer without the two nodes, then with them. The time that counts is that of the others.

    Raises NotAvailable when there is no such engine.
    """
    dead, slow = nodes[len(nodes) // 4], nodes[len(nodes) // 2]
    others = tuple(node for node in nodes if node not in (dead, slow))
    single = floor(target.size, link_mbit)
    timeout = PATIENCE + 2 * len(nodes) * single
    bed.use(others, link_mbit)
    without = bring(bed, engine, target, timeout=timeout)
    bed.use(nodes, link_mbit)
    links.limit([bed.links[slow]], max(1, link_mbit // SLOWER))
    try:
        with_them = bring(bed, engine, target, timeout=timeout, at=[(single / 2, lambda: bed.set_link(dead, "down"))])
    finally:
        bed.set_link(dead, "up")
        bed.use(nodes, link_mbit)
    named = find_named(with_them.output)
    before = last_of(without.verified, others)
    after = last_of(with_them.verified, others)
    return {
        "engine": engine,
        "nodes": len(nodes),
        "link_mbit": link_mbit,
        "others_verified": sum(node in with_them.verified for node in others),
        "others_seconds_without": before,
        "others_seconds": after,
        "others_ratio": round(after / before, 2) if before and after else None,
        "dead": {"node": dead, "named": dead in named, "verified": dead in with_them.verified},
        "slow": {"node": slow, "named": slow in named, "verified": slow in with_them.verified},
        "exit_code": with_them.exit_code,
        "command_seconds": round(with_them.seconds, 2),
        "controller_ratio": round(with_them.sent / target.size, 2),
    }


def last_of(verified: dict[str, float], nodes: tuple[str, ...]) -> float | None:
    """Seconds until the last of *nodes* was verified; None when one never was."""
    return None if set(nodes) - set(verified) else round(max(verified[node] for node in nodes), 2)


def find_named(output: str) -> set[str]:
    """The nodes that a command's lines of failure name, folded or not."""
    lines = [line for line in output.splitlines() if line.startswith(("✗", "error:"))]
    found = [word for line in lines for word in re.findall(r"\bc(?:\d+|\[[\d,-]+\])", line)]
    return {node for word in found for node in expand(word)}
