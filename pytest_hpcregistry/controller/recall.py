"""The history's files, read again: what is no line of ours is counted, and never more than passed over."""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import BinaryIO

from ..agent.facts import Refused, open_regular
from ..core.history import BEGUN, KILLED, LONGEST_LINE, RUNNING, Record, from_line, place_of
from ..core.layout import HISTORY, HISTORY_LOCK, inside
from .history import OLDER, TICK

LOOKS = 10  # at the end of a line, each after TICK


def recall(
    registry: str, *, since: str = "", image: str | None = None, last: int | None = None
) -> tuple[list[Record], int]:
    """What the history of *registry* says, the newest last, and how many of its lines cannot be read.

    Only what began at *since* (RFC 3339) or later, what names *image*, and of that the *last* ones.
    """

    def is_wanted(record: Record) -> bool:
        return record.time >= since and (image is None or image in record.images)

    with Book(registry, is_wanted) as book:
        book.read()
        running = book.running()
        book.read()  # what has ended while we looked whether it runs has said so by now
    left = [replace(one, state=RUNNING if one.id in running else KILLED) for one in book.begun.values()]
    found = sorted([*book.ended, *left], key=lambda one: one.time)
    return (found if last is None else found[max(0, len(found) - last) :]), book.unreadable


def odd_files(registry: str) -> list[str]:
    """What is in the place of a file of the history, and cannot be read at all: a FIFO, a directory, a damaged disk."""
    odd = []
    for name in names(registry):
        try:
            os.close(open_regular(name))
        except FileNotFoundError:
            continue
        except Refused as refused:
            odd.append(str(refused))
        except OSError as error:
            odd.append(f"{name}: {error.strerror}")
    return odd


def names(registry: str) -> list[str]:
    """Where the files of a history lie, the newest first."""
    path = inside(registry, HISTORY)
    return [path, *(f"{path}.{number}" for number in range(1, OLDER + 1))]


class Book:
    """The files of a history, read as far as they go, perhaps again when there is more."""

    def __init__(self, registry: str, is_wanted: Callable[[Record], bool]) -> None:
        self.registry, self.is_wanted = registry, is_wanted
        self.begun: dict[str, Record] = {}
        self.ended: list[Record] = []
        self.unreadable = 0
        self.files: dict[int, BinaryIO] = {}  # by inode
        self.closing = ExitStack()

    def __enter__(self) -> Book:
        return self

    def __exit__(self, *_: object) -> None:
        self.closing.close()

    def read(self) -> None:
        """Take in every line that is new, the oldest first."""
        newest = list(self.files.values())[:1]
        for file in [*newest, *self.open_new()]:
            for line in lines(file):
                self.take(line)

    def open_new(self) -> list[BinaryIO]:
        """The files that have not been opened yet, the oldest first. They are opened the other way round: one that is
        rotated meanwhile gets an older name, under which it is seen again."""
        found = list[BinaryIO]()
        for name in names(self.registry):
            try:
                descriptor = open_regular(name)
            except (Refused, OSError):
                continue  # there is none, or see odd_files
            file = self.closing.enter_context(os.fdopen(descriptor, "rb"))
            if self.files.setdefault(os.fstat(descriptor).st_ino, file) is file:
                found.insert(0, file)
        return found

    def take(self, line: bytes | None) -> None:
        try:
            record = from_line((line or b"").decode("ascii"))
        except ValueError:
            self.unreadable += 1
            return
        if record.state == BEGUN:
            if self.is_wanted(record):
                self.begun[record.id] = record
            return
        self.begun.pop(record.id, None)
        if self.is_wanted(record):
            self.ended.append(record)

    def running(self) -> set[str]:
        """The ids, of what has begun and not ended, whose lock is held."""
        try:
            lock = open_regular(str(Path(self.registry, HISTORY_LOCK)))
        except (Refused, OSError):
            return set()
        with os.fdopen(lock, "rb") as file:
            return {one for one in self.begun if is_held(file, place_of(one))}


def is_held(file: BinaryIO, place: int) -> bool:
    try:
        fcntl.lockf(file, fcntl.LOCK_SH | fcntl.LOCK_NB, 1, place)
    except OSError:
        return True
    fcntl.lockf(file, fcntl.LOCK_UN, 1, place)
    return False


def lines(file: BinaryIO) -> Iterator[bytes | None]:
    """The lines that are left of a file; None for one that is too long to be ours, which is never held as a whole."""
    while line := file.readline(LONGEST_LINE):
        if len(line) < LONGEST_LINE and not line.endswith(b"\n"):
            line += rest_of_line(file)
        too_long = False
        while not line.endswith(b"\n"):
            rest = file.readline(LONGEST_LINE)
            if not rest:
                break
            line, too_long = rest, True
        if line.strip() or too_long:
            yield None if too_long else line


def rest_of_line(file: BinaryIO) -> bytes:
    """What is being written just now: a reader may see the beginning of a write. Nothing, of half a line that stays."""
    rest = b""
    for _ in range(LOOKS):
        time.sleep(TICK)
        rest += file.readline(LONGEST_LINE)
        if rest.endswith(b"\n"):
            break
    return rest
