"""What it costs to go back to the version before, on all nodes: nothing should move."""

from __future__ import annotations

from typing import Any

from pytest_hpcregistry.nodeset import fold

from .images import MIB, write_incompressible
from .measure import measure
from .testbed import BUILD, Testbed
from .ways import WINDOW

NAME = "ml-frameworks/rollback.sif"


def rollback(bed: Testbed, link_mbit: int) -> dict[str, Any]:
    """Two versions of a small image on the nodes in use, then back; beside it the time of an empty command on all."""
    empty = bed.on_controller(["clush", "-f", str(WINDOW), "-w", fold(bed.nodes), "true"]).check()
    bed.use(bed.nodes, 0)
    sif = BUILD / "rollback.sif"
    first = write_incompressible(sif, MIB)
    bed.tool("deploy", "single", "-s", sif).check()
    write_incompressible(sif, MIB)
    bed.tool("deploy", "single", "-s", sif).check()
    bed.use(bed.nodes, link_mbit)
    done = measure(bed, bed.tool_argv("rollback", NAME), first, timeout=300)
    return {
        "nodes": len(bed.nodes),
        "exit_code": done.exit_code,
        "verified": len(done.verified),
        "seconds": round(done.seconds, 2),
        "empty_command_seconds": round(empty.seconds, 2),
        "ratio": round(done.seconds / empty.seconds, 2),
        "wire_bytes_per_node": done.sent // len(bed.nodes),
    }
