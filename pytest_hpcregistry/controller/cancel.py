"""What runs here, and how it is ended: by a signal to the process that holds the command's lock, and to no other."""

from __future__ import annotations

import errno
import os
import signal
import time
from contextlib import suppress
from pathlib import Path

from ..core.errors import CommandFailed, UsageError
from ..core.events import Cancelled, Runs
from ..core.history import ID, Record
from ..core.layout import SYNC_LOCK
from ..core.messages import running as described
from ..core.messages import sender
from ..core.names import CONTROLLER
from ..core.running import WAITING, WORKING
from .history import new_record
from .lock import is_held
from .recall import recall
from .running import ENDED_BY, Found, commands, holder, lock_file, write_file

PATIENCE = 60.0
"""Seconds that a command gets to end: its programs are ended, its nodes hung up on, some seconds each."""
POLL = 0.1
SEE = "see: hpc-container-manager running"


def look(registry: str) -> Runs:
    """What runs."""
    found = [one.running for one in list_commands(registry)]
    return Runs(found, locked=is_held(Path(registry, SYNC_LOCK)))


def list_commands(registry: str) -> list[Found]:
    with lock_file(registry) as lock:
        return [] if lock is None else commands(registry, lock)


def cancel(registry: str, identifier: str | None, claimed: str) -> Cancelled | Runs:
    """End the command that has its turn, or with an *identifier* that one, if it still waits for its turn; what it is
    now. Runs is the answer for one that waits no more and goes on.

    Raises UsageError when there is none, CommandFailed when it does not end or is no process of this machine.
    """
    found = list_commands(registry)
    if identifier is None:
        chosen = next((one for one in found if one.running.state == WORKING), None)
        if chosen is None:
            locked = is_held(Path(registry, SYNC_LOCK))
            what = "what is at work there is not known" if locked else "nothing is at work there that could be ended"
            raise UsageError(f"{what}; nothing was changed", where=CONTROLLER, hint=SEE)
    else:
        if not ID.match(identifier):
            raise UsageError("this is no id of a command")
        chosen = next((one for one in found if one.running.record.id == identifier), None)
        if chosen and chosen.running.state != WAITING:
            return Runs([chosen.running], locked=True)
    if chosen:
        write_file(registry, f"{chosen.running.record.id}{ENDED_BY}", sender(new_record("cancel", claimed)))
        end(registry, chosen)
    name = chosen.running.record.id if chosen else str(identifier)
    waiting = [one.running for one in found if one is not chosen and one.running.state == WAITING]
    return Cancelled(how_it_ended(registry, name, chosen), waiting)


def end(registry: str, found: Found) -> None:
    """Send SIGTERM to the process of a command, and wait until it has ended. Raises CommandFailed."""
    identifier = found.running.record.id
    if not found.process:
        raise CommandFailed("it is no process of this machine", where=CONTROLLER, hint="end it where it runs")
    with lock_file(registry) as lock:
        assert lock is not None  # somebody holds it
        with suppress(ProcessLookupError):
            signal_holder(lock, identifier, found.process)
        deadline = time.monotonic() + PATIENCE
        while holder(lock, identifier) is not None:
            if time.monotonic() > deadline:
                what = f"has been told to end, and has not within {PATIENCE:g} s: {described(found.running)}"
                raise CommandFailed(what, where=CONTROLLER, hint=SEE)
            time.sleep(POLL)


def signal_holder(lock: int, identifier: str, process: int) -> None:
    """Send SIGTERM to *process* if it is still the one that runs this command. A descriptor of it cannot come to mean
    another process, unlike its number; before Linux 5.3 there is none. Raises ProcessLookupError.
    """
    try:
        descriptor = os.pidfd_open(process)
    except OSError as error:
        if error.errno != errno.ENOSYS:
            raise
        descriptor = None
    try:
        if holder(lock, identifier) != process:
            raise ProcessLookupError
        if descriptor is None:
            os.kill(process, signal.SIGTERM)
        else:
            signal.pidfd_send_signal(descriptor, signal.SIGTERM)
    finally:
        if descriptor is not None:
            os.close(descriptor)


def how_it_ended(registry: str, identifier: str, found: Found | None) -> Record:
    """What the history says of a command that has ended. Raises CommandFailed when it says nothing."""
    since = found.running.record.time if found else ""
    records = [one for one in recall(registry, since=since)[0] if one.id == identifier]
    if not records:
        raise CommandFailed("it has ended, and the history does not say how", where=CONTROLLER, hint=SEE)
    return records[-1]
