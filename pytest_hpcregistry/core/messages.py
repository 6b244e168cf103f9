"""An event in words: the lines of the log, which an operator greps for."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from .events import (
    NOT_COUNTED,
    DamageFound,
    Event,
    Failed,
    Freed,
    GcFinished,
    GcStarted,
    ImageRestored,
    ImagesRemoved,
    InUse,
    NodeFinished,
    NodeStarted,
    Noticed,
    Planned,
    Published,
    RolledBack,
    SyncFinished,
    SyncStarted,
    TransferStarted,
    UnderWay,
    Waiting,
)
from .facts import Facts
from .history import Record
from .names import LONGEST_REASON, excerpt, visible
from .nodeset import fold, fold_by, fold_machines, group_by
from .pace import amount, duration
from .running import WAITING, Running

MOST_LISTED = 3
"""Names in one line."""
NEXT = {
    "gc": "what was not freed is freed by the next: hpc-container-manager gc",
    "repair": "to go on: hpc-container-manager sync --repair",
}
"""What to do about what a command has left undone; for all others a sync."""


def describe(event: Event) -> list[str]:
    """The lines that an operator greps for; an event of no interest to the log gives none."""
    writer = LINES.get(type(event))
    return writer(event) if writer else []


def published(event: Published) -> list[str]:
    verb = "published" if event.changed else "already published"
    by = f" by {event.by}" if event.by else ""
    was = f", was {event.before[:12]}" if event.changed and event.before else ""
    return [f"SUCCESS: {event.name} {verb} on the controller{by}, sha256 {event.digest}{was}"]


def sync_started(event: SyncStarted) -> list[str]:
    if event.dry_run:
        return [f"Dry run: a sync of {event.what} to {len(event.nodes)} nodes: {fold(event.nodes)}"]
    return [f"Syncing {event.what} to {len(event.nodes)} nodes: {fold(event.nodes)}"]


def transfer_started(event: TransferStarted) -> list[str]:
    return [f"Engine {event.engine} for {fold(event.bytes)}: {event.why}"]


def noticed(event: Noticed) -> list[str]:
    return [f"NOTE: {event.message}"]


def damage_found(event: DamageFound) -> list[str]:
    return [f"NOTE: {describe_damage(event)}"]


def describe_damage(event: DamageFound) -> str:
    found = f"{event.actual[:12]}, should be {event.digest[:12]}"
    return f"{event.machine}: {', '.join(event.names)} damaged ({found}): what was there is in {event.kept} now"


def node_started(event: NodeStarted) -> list[str]:
    return [f"Syncing {event.what} to {event.node}..."]


def in_use(event: InUse) -> list[str]:
    return [f"NOTE: {describe_use(event)}"]


def describe_use(event: InUse) -> str:
    who = excerpt(event.user)
    who = f"job {event.job} ({who}) runs from it" if event.job else f"{who} has it open"
    return f"{event.name}: {who} on {fold_machines(event.machines)}; it keeps its bytes"


def planned(event: Planned) -> list[str]:
    return [event.message]


def images_removed(event: ImagesRemoved) -> list[str]:
    names = ", ".join(f"{name} (sha256 {digest})" for name, digest in event.names.items())
    return [f"SUCCESS: {names} removed by {event.by}, bytes kept until {event.until}"]


def image_restored(event: ImageRestored) -> list[str]:
    return [f"SUCCESS: {event.name} restored by {event.by}, sha256 {event.digest}"]


def listed(names: Sequence[str]) -> str:
    """`a.sif, b.sif, c.sif and 7 more`."""
    more = len(names) - MOST_LISTED
    return ", ".join(names[:MOST_LISTED]) + (f" and {more} more" if more > 0 else "")


def would(event: NodeFinished) -> str:
    """What a dry run says of a node."""
    parts = []
    if event.names:
        how = f"{amount(event.bytes)} by {event.engine}" if event.engine else "its bytes are there"
        parts.append(f"would get {listed(event.names)} ({how})")
    if event.removed:
        parts.append(f"would lose the name {listed(event.removed)}")
    return "; ".join(parts or ["would get the catalog"])


def node_finished(event: NodeFinished) -> list[str]:
    if event.state == "planned":
        return [f"{event.node} {would(event)}"]
    if event.removed:
        return [f"SUCCESS: {', '.join(event.removed)} removed from {event.node}"] + node_finished(
            replace(event, removed=None)
        ) * bool(event.objects)
    if event.state == "synced":
        if not event.objects and not event.bytes:
            return [f"SUCCESS: {event.what} synced to {event.node} (the bytes were there)"]
        moved = f"{event.objects} moved, {amount(event.bytes)}, {event.seconds:.1f} s"
        return [f"SUCCESS: {event.what} synced to {event.node} ({moved})"]
    if event.state == "unchanged":
        how = "every byte read" if event.read else "names and sizes compared"
        return [f"SUCCESS: {event.node} has {event.what} ({how})"]
    if event.state == NOT_COUNTED:
        return [f"NOTE: {event.what} not synced to {event.node}, not counted: {excerpt(event.message, LONGEST_REASON)}"]
    return [f"ERROR: {event.what} not synced to {event.node}: {excerpt(event.message, LONGEST_REASON)}"]


def under_way(event: UnderWay) -> list[str]:
    return [f"Syncing {event.what}: {event.text}"]


def sync_finished(event: SyncFinished) -> list[str]:
    by_state = group_by(event.states, event.states.__getitem__)
    summary = ", ".join(f"{len(nodes)} {state} ({fold(nodes)})" for state, nodes in sorted(by_state.items()))
    bad = set(by_state) - {"synced", "unchanged", NOT_COUNTED} or set(by_state) == {NOT_COUNTED}
    return [f"{'ERROR' if bad else 'SUCCESS'}: sync finished: {summary}"]


def waiting(event: Waiting) -> list[str]:
    return [f"NOTE: waiting: {behind(event.behind)}"]


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
    DamageFound: damage_found,
    NodeFinished: node_finished,
    UnderWay: under_way,
    SyncFinished: sync_finished,
    Waiting: waiting,
    Failed: failed,
    RolledBack: rolled_back,
    ImagesRemoved: images_removed,
    ImageRestored: image_restored,
    InUse: in_use,
    Planned: planned,
    GcStarted: gc_started,
    GcFinished: gc_finished,
}


def describe_gc(event: GcFinished) -> list[tuple[str, str]]:
    """SUCCESS, NOTE or ERROR, and what to say: one line for all machines of which the same is true."""
    folded: dict[tuple[str, str], list[str]] = {}
    away = {machine: one.message for machine, one in event.machines.items() if one.state == NOT_COUNTED}
    for machine, one in event.machines.items():
        if machine in away:
            continue
        for line in describe_freed(one, "would be " if event.dry_run else ""):
            folded.setdefault(line, []).append(machine)
    lines = [(mark, f"{fold_machines(machines)}: {text}") for (mark, text), machines in folded.items()]
    return [*lines, *(("NOTE", line) for line in not_counted(away))]


def describe_freed(one: Freed, would: str) -> list[tuple[str, str]]:
    if one.state in ("failed", "unreachable"):
        return [("ERROR", one.message)]
    if one.state == "shared":
        return [("SUCCESS", "shares the controller's registry")]
    removed = [count(len(one.objects), "object")]
    removed += [count(len(one.attachments), "attachment")] if one.attachments else []
    removed += [count(len(one.debris), "leftover")] if one.debris else []
    freed = " and ".join([", ".join(removed[:-1]), removed[-1]] if removed[1:] else removed)
    lines = [("SUCCESS", f"{freed} {would}freed, {amount(one.bytes)}")]
    for kept, size, why in (
        (one.in_use, one.in_use_bytes, "in use"),
        (one.young, one.young_bytes, "unreferenced for less than the grace period"),
    ):
        if kept:
            lines.append(("NOTE", f"{count(len(kept), 'object')} kept, {amount(size)}: {why}"))
    if one.unmanaged:
        lines.append(("NOTE", f"not in the catalog, left alone: {', '.join(map(excerpt, one.unmanaged))}"))
    return lines


def not_counted(words: Mapping[str, str]) -> list[str]:
    """A line for each reason why Slurm does not count on nodes that could not be asked: `not counted: c062 drained`."""
    whys = fold_by(words, words.__getitem__).items()
    return [visible(f"not counted: {nodes} {excerpt(why, LONGEST_REASON)}") for why, nodes in whys]


def context(found: Facts) -> list[str]:
    """Which nodes are not counted, and which were asked though Slurm does not count on them."""
    lines = not_counted(found.not_counted)
    for why, nodes in fold_by(found.out_of_service, found.out_of_service.__getitem__).items():
        lines.append(visible(f"asked, though out of service: {nodes} {excerpt(why, LONGEST_REASON)}"))
    return lines


def count(number: int, noun: str) -> str:
    """`1 node`, `2 nodes`."""
    return f"{number} {noun}{'' if number == 1 else 's'}"


def running(one: Running) -> str:
    """`sync  all images  by alice@ws2  40 % of 46 MB  c001  begun 1:12 ago`, of what a file says: one line."""
    parts = [one.record.command, "waiting" if one.state == WAITING else "", subject(one.record)]
    parts += [f"by {sender(one.record)}", *progress(one), one.nodes, f"begun {ago(one.age)}"]
    return "  ".join(excerpt(part) for part in parts if part)


def behind(one: Running | None) -> str:
    """`a sync by root@vm (from 10.89.0.1), begun 38 s ago: 40 % of 46 MB, about 0:41 left`: who has the turn."""
    if one is None:
        return "another command, of which nothing is known"
    far = ", ".join(progress(one))
    who = f"a {one.record.command} by {excerpt(sender(one.record))}, begun {ago(one.age)}"
    return f"{who}: {far}" if far else who


def sender(record: Record) -> str:
    """Who gave a command, in short: as the sender says, or as the controller knows, and from where."""
    name = record.claimed or record.user or "nobody known"
    return f"{name} (from {record.address})" if record.address else name


def subject(record: Record) -> str:
    """Which images a command is about; of a gc, what it keeps."""
    return ", ".join(record.images) or record.detail or "all images"


def what_next(record: Record) -> str:
    """What to do about what an interrupted or failed command has left undone."""
    undone = f"{record.failed} not done: " if record.failed else ""
    return undone + NEXT.get(record.command, "to go on: hpc-container-manager sync")


def progress(one: Running) -> list[str]:
    """`40 % of 46 MB`, `about 0:41 left`: what of it is known."""
    if not one.size:
        return []
    far = f"{min(100, one.arrived * 100 // one.size)} % of {amount(one.size)}"
    return [far, *([f"about {duration(one.left)} left"] if one.left else [])]


def ago(seconds: float) -> str:
    return f"{seconds:.0f} s ago" if seconds < 60 else f"{duration(seconds)} ago"
