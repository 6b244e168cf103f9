"""What it costs to go back to the version before, on all nodes: nothing should move."""

from __future__ import annotations

from statistics import median
from typing import Any

from pytest_hpcregistry import lab
from pytest_hpcregistry.core.nodeset import fold
from pytest_hpcregistry.transports.process import run_process

from .images import MIB, write_incompressible
from .measure import measure
from .testbed import BUILD, Testbed
from .ways import WINDOW

NAME = "ml-frameworks/rollback.sif"
REPEATS = 3


def rollback(bed: Testbed, link_mbit: int) -> dict[str, Any]:
    """Two versions of a small image on the nodes in use, then back, and beside it an empty command on all of them.

    Both are typed on the workstation, in turn; seconds are medians.
    """
    bed.use(bed.nodes, 0)
    sif = BUILD / "rollback.sif"
    first = write_incompressible(sif, MIB)
    bed.tool("deploy", "single", "-s", sif).check()
    write_incompressible(sif, MIB)
    bed.tool("deploy", "single", "-s", sif).check()
    bed.use(bed.nodes, link_mbit)
    done = measure(bed, bed.tool_argv("rollback", NAME), first, timeout=300)
    empty = [*lab.ssh_argv(bed.state.name), "clush", "-f", str(WINDOW), "-w", fold(bed.nodes), "true"]
    nothing, back = [], []
    for _ in range(REPEATS):
        nothing.append(run_process("workstation", empty, timeout=60).check().seconds)
        back.append(bed.tool("rollback", NAME).check().seconds)
    return {
        "nodes": len(bed.nodes),
        "exit_code": done.exit_code,
        "verified": len(done.verified),
        "seconds": round(median(back), 2),
        "empty_command_seconds": round(median(nothing), 2),
        "ratio": round(median(back) / median(nothing), 2),
        "wire_bytes_per_node": done.sent // len(bed.nodes),
    }
