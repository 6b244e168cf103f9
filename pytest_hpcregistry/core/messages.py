"""An event in words: the lines of the log, which an operator greps for."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from .events import (
    Event,
    Failed,
    Freed,
    GcFinished,
    GcStarted,
    NodeFinished,
    NodeStarted,
    Noticed,
    Published,
    RolledBack,
    SyncFinished,
    SyncStarted,
    TransferStarted,
    UnderWay,
)
from .names import LONGEST_REASON, excerpt
from .nodeset import fold, fold_machines, group_by


def describe(event: Event) -> list[str]:
    """The lines that an operator greps for; an event of no interest to the log gives none."""
    writer = LINES.get(type(event))
    return writer(event) if writer else []


def published(event: Published) -> list[str]:
    verb = "published" if event.changed else "already published"
    return [f"SUCCESS: {event.name} {verb} on the controller, sha256 {event.digest}"]


def sync_started(event: SyncStarted) -> list[str]:
    return [f"Syncing {event.what} to {len(event.nodes)} nodes: {fold(event.nodes)}"]


def transfer_started(event: TransferStarted) -> list[str]:
    return [f"Engine {event.engine} for {fold(event.bytes)}: {event.why}"]


def noticed(event: Noticed) -> list[str]:
    return [f"NOTE: {event.message}"]


def node_started(event: NodeStarted) -> list[str]:
    return [f"Syncing {event.what} to {event.node}..."]


def node_finished(event: NodeFinished) -> list[str]:
    if event.state == "synced":
        moved = f"{event.objects} moved, {event.bytes / 1e6:.1f} MB, {event.seconds:.1f} s"
        return [f"SUCCESS: {event.what} synced to {event.node} ({moved})"]
    if event.state == "unchanged":
        read = ", every byte read" if event.read else ""
        return [f"SUCCESS: {event.what} on {event.node} is up to date{read}"]
    return [f"ERROR: {event.what} not synced to {event.node}: {excerpt(event.message, LONGEST_REASON)}"]


def under_way(event: UnderWay) -> list[str]:
    return [f"Syncing {event.what}: {event.text}"]


def sync_finished(event: SyncFinished) -> list[str]:
    by_state = group_by(event.states, event.states.__getitem__)
    summary = ", ".join(f"{len(nodes)} {state} ({fold(nodes)})" for state, nodes in sorted(by_state.items()))
    bad = set(by_state) - {"synced", "unchanged"}
    return [f"{'ERROR' if bad else 'SUCCESS'}: sync finished: {summary}"]


def failed(event: Failed) -> list[str]:
    return [f"ERROR: {event.text}"]


def rolled_back(event: RolledBack) -> list[str]:
    was = f"was {event.before[:12]}" if event.before != event.digest else "as before"
    return [f"SUCCESS: {event.name} rolled back by {event.by}, sha256 {event.digest}, {was}"]


def gc_started(event: GcStarted) -> list[str]:
    what = f"keep {event.keep}, grace {event.grace} s"
    return [f"Garbage collection by {event.by} ({what}) on the controller and {fold(event.nodes)}"]


def gc_finished(event: GcFinished) -> list[str]:
    return [f"{mark}: {text}" for mark, text in describe_gc(event)]


LINES: dict[type[Event], Callable[[Any], list[str]]] = {
    Published: published,
    SyncStarted: sync_started,
    TransferStarted: transfer_started,
    Noticed: noticed,
    NodeStarted: node_started,
    NodeFinished: node_finished,
    UnderWay: under_way,
    SyncFinished: sync_finished,
    Failed: failed,
    RolledBack: rolled_back,
    GcStarted: gc_started,
    GcFinished: gc_finished,
}


def describe_gc(event: GcFinished) -> list[tuple[str, str]]:
    """SUCCESS, NOTE or ERROR, and what to say: one line for all machines of which the same is true."""
    folded: dict[tuple[str, str], list[str]] = {}
    for machine, one in event.machines.items():
        for line in describe_freed(one, "would be " if event.dry_run else ""):
            folded.setdefault(line, []).append(machine)
    return [(mark, f"{fold_machines(machines)}: {text}") for (mark, text), machines in folded.items()]


def describe_freed(one: Freed, would: str) -> list[tuple[str, str]]:
    if one.state in ("failed", "unreachable"):
        return [("ERROR", one.message)]
    if one.state == "shared":
        return [("SUCCESS", "shares the controller's registry")]
    removed = [count(len(one.objects), "object")]
    removed += [count(len(one.attachments), "attachment")] if one.attachments else []
    removed += [count(len(one.debris), "leftover")] if one.debris else []
    freed = " and ".join([", ".join(removed[:-1]), removed[-1]] if removed[1:] else removed)
    lines = [("SUCCESS", f"{freed} {would}freed, {one.bytes / 1e6:.1f} MB")]
    for kept, size, why in (
        (one.in_use, one.in_use_bytes, "in use"),
        (one.young, one.young_bytes, "unreferenced for less than the grace period"),
    ):
        if kept:
            lines.append(("NOTE", f"{count(len(kept), 'object')} kept, {size / 1e6:.1f} MB: {why}"))
    if one.unmanaged:
        lines.append(("NOTE", f"not in the catalog, left alone: {', '.join(map(excerpt, one.unmanaged))}"))
    return lines


def count(number: int, noun: str) -> str:
    """`1 node`, `2 nodes`."""
    return f"{number} {noun}{'' if number == 1 else 's'}"
