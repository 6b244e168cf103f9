"""What the history says of a command, taken from the events that it reports while it runs."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from ..core.errors import HpcRegistryError
from ..core.events import (
    NOT_COUNTED,
    BytesMissing,
    DamageFound,
    Event,
    GcFinished,
    ImageRestored,
    ImagesRemoved,
    Listener,
    NodeFinished,
    Published,
    RolledBack,
    SyncStarted,
    TransferStarted,
)
from ..core.history import FAILED, INTERRUPTED, LONGEST_TEXT, OK, Record
from ..core.messages import count
from ..core.nodeset import fold_by, fold_machines


class Note:
    """A record that is being filled in."""

    def __init__(self, record: Record, listener: Listener) -> None:
        self.record, self.listener = record, listener
        self.wanted: list[str] = []  # nodes of a sync
        self.reasons: dict[str, str] = {}  # of each machine: why it failed; "" if it did not
        self.not_counted: dict[str, str] = {}  # why Slurm does not count on a node that was not served
        self.given = record.detail
        self.damaged: list[str] = []  # machines on which a repair has found damage
        self.taking = threading.Lock()

    def listen(self, event: Event) -> None:
        """Take in what an event says, and pass it on."""
        take = TAKERS.get(type(event))
        if take:
            with self.taking:
                take(self, event)
        self.listener(event)

    def change(self, **fields: Any) -> None:
        self.record = replace(self.record, **fields)

    def fail(self, error: BaseException) -> None:
        """The command ended with this error."""
        known = isinstance(error, (HpcRegistryError, OSError))
        self.change(state=FAILED, reason=(str(error) if known else "") or type(error).__name__)

    def interrupt(self, why: str) -> None:
        """The command was ended before it was done: its nodes of which nothing was reported are not."""
        self.reasons = {**dict.fromkeys(self.wanted, INTERRUPTED), **self.reasons}
        self.change(state=INTERRUPTED, reason=why)

    def ended(self, seconds: float) -> Record:
        """The whole record: failed if an error has been, or a machine's failure."""
        done = [name for name, reason in self.reasons.items() if not reason]
        failed = {name: reason for name, reason in self.reasons.items() if reason}
        if not done and not failed:
            failed = self.not_counted
        self.change(seconds=round(seconds, 1), done=machines(done), failed=machines(list(failed)))
        if self.record.state not in (FAILED, INTERRUPTED):
            self.change(state=FAILED if failed else OK)
        if failed and not self.record.reason:
            whys = fold_by(failed, failed.__getitem__)
            self.change(reason="; ".join(f"{names}: {reason}" for reason, names in whys.items()))
        return self.record


def machines(names: list[str]) -> str:
    """A node set, or how many where that would be long."""
    text = fold_machines(names)
    return text if len(text) < LONGEST_TEXT else count(len(names), "machine")


def published(note: Note, event: Published) -> None:
    was_there = "" if event.changed else "was there already"
    note.change(before=event.before or "", after=event.digest, detail=was_there)


def rolled_back(note: Note, event: RolledBack) -> None:
    note.change(before=event.before, after=event.digest)


def images_removed(note: Note, event: ImagesRemoved) -> None:
    each = "; ".join(f"{name} was {digest}" for name, digest in event.names.items())
    single = next(iter(event.names.values())) if len(event.names) == 1 else ""
    until = f"bytes kept until {event.until}"
    note.change(before=single, detail=until if single else f"{until}; {each}")


def image_restored(note: Note, event: ImageRestored) -> None:
    note.change(after=event.digest)


def bytes_missing(note: Note, event: BytesMissing) -> None:
    note.change(state=FAILED, after=event.digest, reason="the bytes are not on the controller any more")


def sync_started(note: Note, event: SyncStarted) -> None:
    note.wanted = event.nodes


def transfer_started(note: Note, event: TransferStarted) -> None:
    engines = [*filter(None, note.record.engine.split(", ")), event.engine]
    note.change(engine=", ".join(dict.fromkeys(engines)))


def damage_found(note: Note, event: DamageFound) -> None:
    note.damaged = sorted({*note.damaged, event.machine})
    found = f"damaged on {machines(note.damaged)}"
    note.change(detail=f"{note.given}; {found}" if note.given else found)


def node_finished(note: Note, event: NodeFinished) -> None:
    if event.state == NOT_COUNTED:
        note.not_counted[event.node] = event.message
        return
    note.reasons[event.node] = (event.message or event.state) if event.state in ("failed", "unreachable") else ""
    note.change(bytes=note.record.bytes + event.bytes)


def gc_finished(note: Note, event: GcFinished) -> None:
    for name, one in event.machines.items():
        if one.state == NOT_COUNTED:
            note.not_counted[name] = one.message
            continue
        note.reasons[name] = (one.message or one.state) if one.state in ("failed", "unreachable") else ""
    freed = {digest for one in event.machines.values() for digest in one.objects}
    detail = f"{note.record.detail}: {count(len(freed), 'object')} freed"
    note.change(detail=detail, bytes=sum(one.bytes for one in event.machines.values()))


TAKERS: dict[type[Event], Callable[[Note, Any], None]] = {
    Published: published,
    RolledBack: rolled_back,
    ImagesRemoved: images_removed,
    ImageRestored: image_restored,
    BytesMissing: bytes_missing,
    SyncStarted: sync_started,
    TransferStarted: transfer_started,
    DamageFound: damage_found,
    NodeFinished: node_finished,
    GcFinished: gc_finished,
}
