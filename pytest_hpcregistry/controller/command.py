"""A command that changes the registry, while it runs: it listens to its own events, and has its turn among others."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ..core.errors import CommandFailed
from ..core.events import Event, Waiting
from ..core.history import WITHDRAWN
from ..core.layout import SYNC_LOCK
from ..core.messages import behind
from ..core.names import CONTROLLER, excerpt
from ..core.running import WAITING, WORKING, Running
from . import ending, running
from .lock import is_held, only_one_sync
from .note import Note

RENEW = 2.0  # seconds between two reports of what is waited for


def refuse_to_wait(registry: str) -> None:
    """Raise CommandFailed while another command has its turn, before anything of this one is noted."""
    if is_held(Path(registry, SYNC_LOCK)):
        with running.lock_file(registry) as lock:
            raise not_begun(at_work(registry, lock))


def not_begun(ahead: Running | None) -> CommandFailed:
    hint = "what runs there: hpc-container-manager running"
    return CommandFailed(f"not begun, by --no-wait: {behind(ahead)}", where=CONTROLLER, hint=hint)


def at_work(registry: str, lock: int | None) -> Running | None:
    """Who has its turn now, as far as that is known; *lock* as for `running.commands`."""
    found = [] if lock is None else running.commands(registry, lock)
    return next((one.running for one in found if one.running.state == WORKING), None)


class Command:
    """What is called with the events of a command: they go into its note, its sign, and on. *lock* is a descriptor of
    the history's lock file, if there is one."""

    def __init__(self, registry: str, lock: int | None, note: Note, sign: running.Sign) -> None:
        self.registry, self.lock, self.note, self.sign = registry, lock, note, sign
        self.reported: float | None = None
        self.looks = 0

    def __call__(self, event: Event) -> None:
        self.sign.take(event)
        self.note.listen(event)

    @contextmanager
    def turn(self, no_wait: bool) -> Iterator[None]:
        """Be the only one that syncs or frees. Raises CommandFailed with *no_wait* if another does, and
        KeyboardInterrupt when, before the turn has come, whoever gave the command has gone."""
        with only_one_sync(self.registry, lambda: self.wait(no_wait)):
            self.withdraw_if_left()
            self.sign.change(WORKING)
            yield

    def wait(self, no_wait: bool) -> None:
        """Called again and again while another has its turn. The first time may be because somebody only looks."""
        self.looks += 1
        if self.looks == 1:
            return
        if no_wait:
            raise not_begun(self.ahead())
        if self.reported is None:
            self.sign.change(WAITING)
        if self.reported is None or time.monotonic() - self.reported >= RENEW:
            self.reported = time.monotonic()
            self(Waiting(self.note.record.id, self.ahead()))
        self.withdraw_if_left()

    def withdraw_if_left(self) -> None:
        if self.sign.state == WAITING and ending.sender_has_gone():
            raise KeyboardInterrupt

    def ahead(self) -> Running | None:
        return at_work(self.registry, self.lock)

    def interrupted(self) -> str:
        """Why, if that is known, for the history and for whoever waits for this command."""
        by = self.sign.ended_by()
        why = [WITHDRAWN] if self.sign.state == WAITING else []
        return ", ".join([*why, *([f"cancelled by {excerpt(by)}"] if by else [])])
