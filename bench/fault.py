"""What one dead and one slow node cost the others: one without a cable, and one whose link is 20 times slower."""

from __future__ import annotations

import re
from typing import Any

from pytest_hpcregistry.core.nodeset import expand
from pytest_hpcregistry.lab import links

from .engine import bring
from .measure import Target
from .report import floor
from .testbed import Testbed

SLOWER = 20
PATIENCE = 240  # seconds that the command may go on with the two after everybody else could have been done


def fault(bed: Testbed, engine: str, nodes: tuple[str, ...], target: Target, link_mbit: int) -> dict[str, Any]:
    """The same transfer without the two nodes, then with them: one dies on the way, or is dead from the start.

    The time that counts is that of the others.
    """
    dead, slow = nodes[len(nodes) // 4], nodes[len(nodes) // 2]
    others = tuple(node for node in nodes if node not in (dead, slow))
    timeout = PATIENCE + 2 * len(nodes) * floor(target.size, link_mbit)
    bed.use(others, link_mbit)
    without = last_of(bring(bed, engine, target, timeout=timeout).verified, others)
    found: dict[str, Any] = {"engine": engine, "nodes": len(nodes), "link_mbit": link_mbit, "dead": dead, "slow": slow}
    for when, sent in (("on_the_way", target.size // 2), ("from_the_start", 0)):
        bed.use(nodes, link_mbit)
        links.limit([bed.links[slow]], max(1, link_mbit // SLOWER))
        pull = (sent, lambda: bed.set_link(dead, "down"))
        try:
            done = bring(bed, engine, target, timeout=timeout, at=[pull])
        finally:
            bed.set_link(dead, "up")
        after, named = last_of(done.verified, others), find_named(done.output)
        found[when] = {
            "others": len(others),
            "others_verified": sum(node in done.verified for node in others),
            "others_seconds_without": without,
            "others_seconds": after,
            "others_ratio": round(after / without, 2) if after and without else None,
            "dead_named": dead in named,
            "slow_named": slow in named,
            "slow_verified": slow in done.verified,
            "exit_code": done.exit_code,
            "command_seconds": round(done.seconds, 2),
            "controller_ratio": round(done.sent / target.size, 2),
            "cpu": round(done.cpu, 2),
        }
    bed.use(nodes, link_mbit)
    return found


def last_of(verified: dict[str, float], nodes: tuple[str, ...]) -> float | None:
    """Seconds until the last of *nodes* was verified; None when one never was."""
    return None if set(nodes) - set(verified) else round(max(verified[node] for node in nodes), 2)


def find_named(output: str) -> set[str]:
    """The nodes that a command's lines of trouble name, folded or not: failures, and what was noticed."""
    lines = [line for line in output.splitlines() if line.startswith(("✗", "!", "error:"))]
    found = [word for line in lines for word in re.findall(r"\bc(?:\d+|\[[\d,-]+\])", line)]
    return {node for word in found for node in expand(word)}
