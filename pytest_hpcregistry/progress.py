"""Events -> lines for a person. Nothing here decides anything."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .facts import CONTROLLER, PRESENT
from .naming import visible
from .nodeset import fold

Event = Mapping[str, Any]


def describe(event: Event) -> str | None:
    """One line (more, when a message has more) for one event; None for an event that a person need not see."""
    writer = WRITERS.get(event["event"])
    return "\n".join(visible(line) for line in writer(event).split("\n")) if writer else None


def megabytes(size: int) -> str:
    """`67.1 MB`, decimal as disks and networks are sold."""
    return f"{size / 1e6:.1f} MB"


def image_checked(event: Event) -> str:
    return f"✓ {event['name']}: a sound SIF, {megabytes(event['size'])}, sha256 {event['digest'][:12]}…"


def image_sent(event: Event) -> str:
    return f"✓ {event['name']}: " + (
        f"{megabytes(event['bytes'])} sent to the controller" if event["bytes"] else "the controller has its bytes"
    )


def published(event: Event) -> str:
    return f"✓ {event['name']}: " + ("published on the controller" if event["changed"] else "already published there")


def sync_started(event: Event) -> str:
    return f"  syncing {event['what']} to {fold(event['nodes'])}"


def transfer_started(event: Event) -> str:
    return f"  engine {event['engine']} for {fold(event['bytes'])}: {event['why']}"


def noticed(event: Event) -> str:
    return f"! {event['message']}"


def node_finished(event: Event) -> str:
    if event["state"] == "synced":
        return f"✓ {event['node']}: synced, {megabytes(event['bytes'])} in {event['seconds']:.1f} s"
    if event["state"] == "unchanged":
        return f"✓ {event['node']}: up to date"
    return f"✗ {event['message']}"


def verified(event: Event) -> str:
    bad = [state for state in event["states"].values() if state != PRESENT]
    return f"{'✗' if bad else '✓'} {event['name']}: " + states(event["states"], present="same bytes on")


def failed(event: Event) -> str:
    return f"✗ {event['message']}"


WRITERS = {
    "image_checked": image_checked,
    "image_sent": image_sent,
    "published": published,
    "sync_started": sync_started,
    "transfer_started": transfer_started,
    "noticed": noticed,
    "node_finished": node_finished,
    "verified": verified,
    "failed": failed,
}


def states(by_machine: Mapping[str, str], present: str = PRESENT) -> str:
    """`present c[001-002], missing c003`: machines of one state folded."""
    groups: dict[str, list[str]] = {}
    for machine, state in by_machine.items():
        groups.setdefault(present if state == PRESENT else state, []).append(machine)
    return ", ".join(f"{state} {fold_machines(machines)}" for state, machines in groups.items())


def fold_machines(machines: list[str]) -> str:
    """The controller first, then the nodes as a node set."""
    nodes = [machine for machine in machines if machine != CONTROLLER]
    parts = [CONTROLLER] if CONTROLLER in machines else []
    return ",".join(parts + ([fold(nodes)] if nodes else []))


def table(rows: list[list[str]]) -> list[str]:
    """Lines with aligned columns, the first row as heading."""
    rows = [[visible(cell) for cell in row] for row in rows]
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]


BANNER = """\
╔═══════════════════════════════════════════════════════════╗
║                                                           ║
║  ✓✓✓ ALL CONTAINER REGISTRY TESTS PASSED ✓✓✓             ║
║                                                           ║
╚═══════════════════════════════════════════════════════════╝"""
