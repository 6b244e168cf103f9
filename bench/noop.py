"""What it costs to deploy an image that everybody has: one trip to each node, and no byte of the image."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from .measure import Target, measure
from .testbed import Testbed


def noop(bed: Testbed, sif: Path, target: Target) -> dict[str, Any]:
    """Deploy again to the nodes in use. `wire_bytes_per_node` is all that the controller sent, logins and all."""
    before = bed.logins()
    done = measure(bed, bed.tool_argv("deploy", "single", "-s", sif), target, timeout=300)
    after = bed.logins()
    return {
        "nodes": len(bed.nodes),
        "exit_code": done.exit_code,
        "verified": len(done.verified),
        "seconds": round(done.seconds, 2),
        "logins_per_node": max(after[node] - before[node] for node in bed.nodes),
        "wire_bytes_per_node": done.sent // len(bed.nodes),
    }
