"""What runs on the controller: a file for each command, written by it, and read by who waits for it or ends it.

A file alone says nothing: the command whose it is holds its byte of the history's lock as long as it lives, and the
kernel knows by which process. What a killed one has left is removed by the next.
"""

from __future__ import annotations

import fcntl
import json
import os
import struct
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path

from ..agent.facts import Refused, open_regular
from ..core.events import Event, TransferStarted
from ..core.history import ID, LONGEST_LINE, Record, from_line, now, place_of, to_line
from ..core.layout import HISTORY_LOCK, RUNNING, inside
from ..core.names import excerpt
from ..core.pace import Transfers
from ..core.records import plain
from ..core.running import Running, from_text
from .note import machines

EVERY = 0.9  # seconds between two lines of how far a command is
MOST = 1000  # files that are looked at
MOST_IMAGES = 20  # names in a file
FLOCK = "@hhqqi0q"  # struct flock of 64-bit Linux, fcntl(2)
ENDED_BY = ".ended-by"  # who ends a command: said before it is signalled


@dataclass(frozen=True)
class Found:
    """A command that runs, and its process; 0 is one that this machine does not know, as in another container."""

    running: Running
    process: int


class Sign:
    """A command's own file, while it runs. What keeps it from being written is no failure: others see less then."""

    def __init__(self, registry: str, record: Record) -> None:
        record = from_line(to_line(replace(record, images=record.images[:MOST_IMAGES])))
        self.registry, self.shown = registry, Running(record, since=time.time())
        self.transfers = Transfers()
        self.writing = threading.Lock()
        self.written = 0.0

    @property
    def state(self) -> str:
        return self.shown.state

    def take(self, event: Event) -> None:
        """Take in what an event says; many threads may call it."""
        with self.writing:
            self.transfers.take(event, time.monotonic())
            # The next event may be long in coming, where little is sent.
            if isinstance(event, TransferStarted) or time.monotonic() - self.written >= EVERY:
                self.write()

    def change(self, state: str) -> None:
        """Say that it is WAITING or WORKING now."""
        with self.writing:
            self.shown = replace(self.shown, state=state)
            self.write()

    def write(self) -> None:
        self.written, moving = time.monotonic(), self.transfers
        shown = replace(
            self.shown,
            size=moving.whole.size,
            arrived=moving.whole.arrived,
            left=moving.left(self.written),
            nodes=machines(sorted(set(moving.nodes) - moving.finished)),
        )
        write_file(self.registry, f"{shown.record.id}.json", json.dumps(plain(shown)))

    def ended_by(self) -> str:
        """Who has it ended, if that has been said."""
        return read_file(self.registry, f"{self.shown.record.id}{ENDED_BY}").strip()

    def remove(self) -> None:
        remove_files(self.registry, self.shown.record.id)


@contextmanager
def directory_of(registry: str) -> Iterator[int]:
    """A descriptor of the directory of these files. Raises OSError, also for a link in its place."""
    descriptor = os.open(inside(registry, RUNNING), os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def write_file(registry: str, name: str, text: str) -> None:
    """Write a file as a whole, whatever was in its place."""
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    with suppress(OSError):
        with suppress(FileExistsError):
            Path(registry, RUNNING).mkdir(mode=0o700)
        with directory_of(registry) as directory:
            with os.fdopen(os.open(f"{name}.new", flags, 0o600, dir_fd=directory), "wb") as file:
                file.write(text.encode(errors="replace"))
            os.rename(f"{name}.new", name, src_dir_fd=directory, dst_dir_fd=directory)


def read_file(registry: str, name: str) -> str:
    """The text of a file, bounded; "" where there is none that can be read."""
    with suppress(OSError, Refused), os.fdopen(open_regular(inside(registry, f"{RUNNING}/{name}")), "rb") as file:
        return file.read(LONGEST_LINE).decode("utf-8", "replace")
    return ""


def remove_files(registry: str, identifier: str) -> None:
    with suppress(OSError), directory_of(registry) as directory:
        for name in os.listdir(directory):  # noqa: PTH208 - of a descriptor
            if name.partition(".")[0] == identifier:
                os.unlink(name, dir_fd=directory)


def identifiers(registry: str) -> list[str]:
    """The ids of all files, of commands that run or of killed ones."""
    try:
        with directory_of(registry) as directory:
            found = {name.partition(".")[0] for name in os.listdir(directory)}  # noqa: PTH208
    except OSError:
        return []
    return sorted(name for name in found if ID.match(name))


def commands(registry: str, lock: int) -> list[Found]:
    """What runs, the oldest first, but for this process's own. *lock* is a descriptor of the history's lock file: to
    close another one would let go of all locks that this process has there, fcntl(2)."""
    found = []
    for identifier in identifiers(registry)[:MOST]:
        process = holder(lock, identifier)
        if process is not None:
            found.append(Found(read(registry, identifier), process))
    return sorted(found, key=in_order)


def in_order(one: Found) -> tuple[str, float, str]:
    """By when it began: for two of one second too it is always the same order."""
    running = one.running
    return running.record.time, running.since, running.record.id


def read(registry: str, identifier: str) -> Running:
    try:
        running = from_text(read_file(registry, f"{identifier}.json"))
        if running.record.id != identifier:
            raise ValueError("it is another command's")
    except ValueError as error:
        return Running(Record(identifier, now(), "unknown", detail=f"its file is damaged: {excerpt(str(error))}"))
    return running


def remove_leftovers(registry: str, lock: int) -> None:
    """Remove the files of commands that were killed; *lock* as for `commands`, of one that has none yet."""
    for identifier in identifiers(registry):
        if holder(lock, identifier) is None:
            remove_files(registry, identifier)


def holder(lock: int, identifier: str) -> int | None:
    """The process that runs this command, as the kernel has it; None if no other does."""
    asked = struct.pack(FLOCK, fcntl.F_WRLCK, os.SEEK_SET, place_of(identifier), 1, 0)
    kind, _, _, _, process = struct.unpack(FLOCK, fcntl.fcntl(lock, fcntl.F_GETLK, asked))
    return None if kind == fcntl.F_UNLCK else max(0, process)


@contextmanager
def lock_file(registry: str) -> Iterator[int | None]:
    """A descriptor for `commands`, of who runs no command itself; None where there never was any."""
    try:
        descriptor = open_regular(inside(registry, HISTORY_LOCK))
    except (OSError, Refused):
        yield None
        return
    try:
        yield descriptor
    finally:
        os.close(descriptor)
