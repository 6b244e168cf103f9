"""What it costs to read an image back on all nodes."""

from __future__ import annotations

from typing import Any

from .measure import Target
from .testbed import Testbed


def verify(bed: Testbed, target: Target) -> dict[str, Any]:
    """`verify` of one image on the nodes in use. All of them share this machine's cores."""
    name = "/".join(target.path.rsplit("/", 2)[-2:])
    done = bed.tool("verify", name)
    return {
        "nodes": len(bed.nodes),
        "exit_code": done.exit_code,
        "seconds": round(done.seconds, 2),
        "bytes_per_node": target.size,
    }
