"""The history's file, written: a line when a command begins and one when it ends, each by one write and synced.

What keeps a line from being written is a warning, and never the command's own failure. A command holds one byte of the
history's lock file as long as it runs, the byte that its id names: so who reads knows whether it still does. These are
locks of the process (fcntl(2)): a child that outlives it has none.
"""

from __future__ import annotations

import errno
import fcntl
import os
import pwd
import shutil
import stat
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, replace
from datetime import datetime, timedelta, timezone
from pathlib import Path

from ..core.errors import UsageError
from ..core.events import Listener, Noticed
from ..core.history import ENDINGS, OK, WITHDRAWN, Record, checked, new_id, now, place_of, read_json, stamp, to_line
from ..core.layout import HISTORY, HISTORY_LOCK
from ..core.messages import what_next
from ..core.model import Registry
from ..core.names import excerpt, visible
from ..core.nodeset import expand
from ..core.records import build
from ..core.running import BEGUN
from .command import Command
from .ending import Interrupted
from .note import Note, machines
from .running import Sign, remove_leftovers

MODE = 0o640  # it names people
LARGEST = 10 << 20  # bytes; a larger one becomes HISTORY.1
OLDER = 9  # of these are kept
PATIENCE = 5.0  # seconds that a line waits for those of others
TICK = 0.02
MOST_PARENTS = 20
OWN = ("id", "time", "user", "address", "claimed")
"""What of a record no sender says."""


class Journal:
    """The history of one registry, for one command. Nothing that it does raises; *warn* gets what went wrong."""

    def __init__(self, registry: Registry, warn: Listener) -> None:
        self.path, self.group, self.warn = Path(registry.path, HISTORY), registry.group, warn
        self.lock_file = Path(registry.path, HISTORY_LOCK)
        self.lock: int | None = None

    def __enter__(self) -> Journal:
        with self.warned():
            self.lock = os.open(self.lock_file, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        return self

    def __exit__(self, *_: object) -> None:
        if self.lock is not None:
            os.close(self.lock)  # and with it all of its locks

    @contextmanager
    def warned(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            why = error.strerror or str(error)
            self.warn(Noticed(f"not in the history: {visible(self.path)}: {why}"))

    def begin(self, record: Record) -> None:
        """Write the first line of a command."""
        self.write(record, hold=place_of(record.id))

    def write(self, record: Record, hold: int = 0) -> None:
        """Append a line; *hold* a byte of the lock from before it is there until the process, or this journal, ends."""
        if self.lock is None:
            return  # which has been said
        with self.warned():
            if hold:
                fcntl.lockf(self.lock, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, hold)
            deadline = time.monotonic() + PATIENCE
            while not try_lock(self.lock):
                if time.monotonic() > deadline:
                    raise OSError(errno.EAGAIN, "its lock is held by another process")
                time.sleep(TICK)
            try:
                append(self.path, self.group, to_line(record).encode() + b"\n")
            finally:
                fcntl.lockf(self.lock, fcntl.LOCK_UN, 1, 0)


def try_lock(descriptor: int) -> bool:
    try:
        fcntl.lockf(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, 0)
    except OSError as error:
        if error.errno not in (errno.EAGAIN, errno.EACCES):
            raise
        return False
    return True


def append(path: Path, group: str, line: bytes) -> None:
    """Append a whole line or nothing, for a caller who holds the lock. Raises OSError."""
    with suppress(FileNotFoundError):
        if path.lstat().st_size + len(line) > LARGEST:
            rotate(path)
    descriptor = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK, 0o600)
    try:
        found = os.fstat(descriptor)
        if not stat.S_ISREG(found.st_mode):
            raise OSError(errno.EINVAL, "is not a regular file")
        if found.st_size == 0:
            show_to(descriptor, group)
            sync_directory(path.parent)
        elif os.pread(descriptor, 1, found.st_size - 1) != b"\n":
            line = b"\n" + line  # after half a line, of a machine that lost its power
        try:
            if os.write(descriptor, line) != len(line):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            os.fsync(descriptor)
        except OSError:
            os.ftruncate(descriptor, found.st_size)
            raise
    finally:
        os.close(descriptor)


def rotate(path: Path) -> None:
    """Make room for a new file: this one becomes .1, that .2, and so on. Only what is beyond OLDER is lost."""
    names = [path, *(path.with_name(f"{path.name}.{number}") for number in range(1, OLDER + 1))]
    there = next((index for index, name in enumerate(names) if not name.exists()), len(names) - 1)
    for index in range(there, 0, -1):
        names[index - 1].replace(names[index])


def show_to(descriptor: int, group: str) -> None:
    """Let the registry's group read a new file; where there is no such group it stays root's alone."""
    with suppress(LookupError, PermissionError):
        shutil.chown(descriptor, group=group)
        os.fchmod(descriptor, MODE)


def sync_directory(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def noted(
    registry: Registry,
    listener: Listener,
    command: str,
    *,
    claimed: str,
    images: Sequence[str] = (),
    detail: str = "",
    before: float = 0.0,
) -> Iterator[Command]:
    """Have a command in the history from its beginning to its end, whatever that is, and shown while it runs. It began
    on the workstation so many seconds *before*.

    What it did is taken from its events: give these to the Command that this yields, which passes them on.
    """
    record = replace(new_record(command, claimed), images=list(images), detail=detail, time=ago(before))
    began = time.monotonic() - before
    note, sign = Note(record, listener), Sign(registry.path, record)
    with Journal(registry, listener) as journal:
        given = Command(registry.path, journal.lock, note, sign)
        try:
            if journal.lock is not None:
                remove_leftovers(registry.path, journal.lock)
            journal.begin(record)
            sign.change(BEGUN)
            yield given
        except KeyboardInterrupt:
            why = given.interrupted()
            note.interrupt(why)
            # What never had its turn has left nothing undone.
            hint = "" if why.startswith(WITHDRAWN) else what_next(note.ended(time.monotonic() - began))
            raise Interrupted(why, hint) from None
        except BaseException as error:
            note.fail(error)
            raise
        finally:
            journal.write(note.ended(time.monotonic() - began))
            sign.remove()


def note(registry: Registry, given: str, claimed: str, warn: Listener) -> Record:
    """Add to the history a command that was done elsewhere: *given* is JSON, fields of a record, as its sender says.

    Raises UsageError when they are not as they should be.
    """
    own = asdict(new_record("note", claimed))
    try:
        data = read_json(given)
        if not isinstance(data, dict):
            raise ValueError("it is no JSON object")
        fields = {name: value for name, value in data.items() if name not in OWN}
        record = checked(build(Record, {**own, "state": OK, **fields}, "the record"))
        if record.state not in ENDINGS:
            raise ValueError(f"{record.state} is how no command ends")
    except ValueError as error:
        raise UsageError(f"this cannot be noted in the history: {excerpt(str(error))}") from None
    record = replace(record, done=folded(record.done), failed=folded(record.failed))
    record = replace(record, time=ago(record.seconds))
    with Journal(registry, warn) as journal:
        journal.write(record)
    return record


def ago(seconds: float) -> str:
    """The time of so many seconds ago. Raises UsageError for one that is none."""
    try:
        if seconds < 0:
            raise ValueError
        return stamp(datetime.now(timezone.utc) - timedelta(seconds=seconds))
    except (OverflowError, ValueError, TypeError):
        raise UsageError("it began at no time") from None


def folded(names: str) -> str:
    """Names with commas as a node set; as they are where they are none that a node set can hold."""
    try:
        return machines(expand(names)) if names else ""
    except UsageError:
        return names


def new_record(command: str, claimed: str) -> Record:
    """What the controller itself knows of a command that it was just given."""
    return Record(new_id(), now(), command, user=login(), address=address(), claimed=claimed)


def login() -> str:
    """Who logged in, before sudo."""
    if os.getuid() == 0 and os.environ.get("SUDO_USER"):
        return os.environ["SUDO_USER"]
    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        return str(os.getuid())


def address() -> str:
    """Where ssh came from; "" if it was not ssh. sudo takes the variable away: then it is looked for in the parents."""
    connection = os.environ.get("SSH_CONNECTION", "").split()
    if connection or "SUDO_USER" not in os.environ:
        return connection[0] if connection else ""
    process = os.getppid()
    with suppress(OSError, ValueError, IndexError):
        for _ in range(MOST_PARENTS):
            for setting in Path(f"/proc/{process}/environ").read_bytes().split(b"\0"):
                if setting.startswith(b"SSH_CONNECTION="):
                    return setting.decode("ascii", "replace").partition("=")[2].split()[0]
            # proc(5): after the name, which may hold anything, come the state and the parent.
            process = int(Path(f"/proc/{process}/stat").read_text(errors="replace").rpartition(")")[2].split()[1])
    return ""
