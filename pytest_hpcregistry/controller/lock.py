"""One sync at a time, and what somebody who only reads sees of it. Kernel locks: one that was killed leaves none."""

from __future__ import annotations

import errno
import fcntl
import os
import stat
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from .. import agent
from ..agent.facts import Refused, open_regular
from ..core.layout import SYNC_LOCK, SYNC_NEXT
from ..core.machine import Syncing

POLL = 0.1  # seconds between two looks at a lock


@contextmanager
def only_one_sync(registry: str, on_wait: Callable[[], None] = lambda: None) -> Iterator[None]:
    """Two syncs at once would send every byte twice: the second waits, and calls *on_wait* again and again meanwhile;
    what that raises ends the waiting. Raises OSError, also where the lock is no regular file."""
    with opened(registry, SYNC_NEXT) as door, opened(registry, SYNC_LOCK) as lock:
        # Who waits longest stands in the door: who comes later cannot take the lock in between two looks at it.
        for one in (door, lock):
            while not try_lock(one):
                on_wait()
                time.sleep(POLL)
        fcntl.flock(door, fcntl.LOCK_UN)
        # When it began, for Watch: who waited for the lock has opened the file long before.
        os.utime(lock)
        yield


@contextmanager
def opened(registry: str, name: str) -> Iterator[int]:
    """A descriptor of a lock file, made where there is none; closed, and so let go of, at the end."""
    flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC  # which change nothing in it
    descriptor = os.open(Path(registry, name), flags, 0o600)
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise OSError(errno.EINVAL, "is not a regular file", name)
        yield descriptor
    finally:
        os.close(descriptor)


def try_lock(lock: int) -> bool:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


class Watch:
    """Whether a sync runs while something else is looked at. It changes nothing: a lock file is not made, and a lock
    that is free is held for no longer than it takes to see that."""

    def __init__(self, registry: str) -> None:
        self.registry = registry
        self.start()

    def start(self) -> None:
        """What is looked at from now on."""
        self.began = modified(Path(self.registry, SYNC_LOCK))
        self.running = self.under_way

    @property
    def under_way(self) -> bool:
        return is_held(Path(self.registry, SYNC_LOCK))

    @property
    def meanwhile(self) -> bool:
        """Whether a sync ran at any time since the start."""
        return self.running or self.under_way or self.began != modified(Path(self.registry, SYNC_LOCK))

    def wait_for_beginning(self, seconds: float) -> None:
        """Wait until a sync begins, or for so many seconds."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline and not self.meanwhile:
            time.sleep(POLL)

    def wait_for_end(self, seconds: float, on_wait: Callable[[], None]) -> None:
        """Wait until no sync is under way, or for so many seconds; *on_wait* is called if there is one."""
        deadline = time.monotonic() + seconds
        if seconds > 0 and self.under_way:
            on_wait()
            while time.monotonic() < deadline and self.under_way:
                time.sleep(POLL)

    def tell(self) -> Syncing:
        """For facts: also how many seconds ago the catalog was written; 0 while somebody publishes."""
        written = modified(Path(self.registry, agent.CATALOG))
        publishing = is_held(Path(self.registry, agent.LOCK))
        age = 0.0 if publishing else None if written is None else max(0.0, time.time() - written / 1e9)
        return Syncing(self.under_way, self.meanwhile, age)


def is_held(path: Path) -> bool:
    try:
        with os.fdopen(open_regular(str(path)), "rb") as lock:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except (OSError, Refused):
        pass  # there is none, so nobody holds it; or it cannot be read, and nothing can be said
    return False


def modified(path: Path) -> int | None:
    try:
        return path.stat().st_mtime_ns
    except OSError:
        return None
