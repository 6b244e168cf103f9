"""What it costs to bring a new version of an image that the nodes have: bytes moved, against bytes changed."""

from __future__ import annotations

from typing import Any

from .images import FILE, change_tree, make_tree, pack_tree
from .measure import measure
from .testbed import BUILD, Testbed

UPDATES = {"one_file": FILE, "update_8mb": 8_000_000}  # bytes changed in the tree that the image is made of


def delta(bed: Testbed, size: int, link_mbit: int) -> dict[str, Any]:
    """One version, then one with a little changed, for each of UPDATES; *size* is the tree's, in bytes.

    Moved is everything on the controller's link in both directions, for each of the nodes in use.
    """
    found: dict[str, Any] = {}
    for what, changed in UPDATES.items():
        bed.use(bed.nodes, 0)
        sif = BUILD / "delta.sif"
        make_tree(bed, size)
        pack_tree(bed, sif)
        bed.tool("deploy", "single", "-s", sif).check()
        really = change_tree(bed, changed)
        target = pack_tree(bed, sif)
        bed.tool("deploy", "single", sif).check()
        bed.use(bed.nodes, link_mbit)
        done = measure(bed, bed.tool_argv("sync", "--engine", "star"), target, timeout=600)
        moved = (done.sent + done.received) // len(bed.nodes)
        found[what] = {
            "engine": "star",
            "nodes": len(bed.nodes),
            "exit_code": done.exit_code,
            "verified": len(done.verified),
            "seconds": round(done.seconds, 2),
            "image_bytes": target.size,
            "changed_bytes": really,
            "moved_bytes_per_node": moved,
            "moved_to_changed": round(moved / really, 2),
            "moved_to_image": round(moved / target.size, 4),
        }
    return found
