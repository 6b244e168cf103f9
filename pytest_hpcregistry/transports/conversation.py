"""A local program that is spoken with line by line, such as ssh with a program at its other end."""

from __future__ import annotations

import contextlib
import os
import selectors
import socket
import subprocess
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass

from ..core.errors import CommandFailed, CommandTimeout
from .process import CAPTURE_LIMIT, CHUNK, not_started, start_process, stop_process

LAST_WORDS = 64 << 10  # bytes kept of standard error
SLOWEST = 100_000  # bytes/s below which it is given up to send what is long
GOODBYE = 3.0  # seconds that the program gets to end by itself once its input has ended


@dataclass(frozen=True)
class Ended:
    """The program is gone: its exit code (128 + N for signal N) and its last words on standard error."""

    exit_code: int
    stderr: str


class Conversation:
    """Lines to and from one program, in a process group of its own. `receive` is for one thread, `send` for any.

    It holds two descriptors, for there may be thousands of these: a socket for the program's standard input and output,
    and a pipe for standard error. `held` is what came after the last line that was received.
    """

    def __init__(self, where: str, argv: Sequence[str]) -> None:
        """Start *argv*; *where* is the machine in messages. Raises CommandFailed when the program cannot be run."""
        self.where = where
        try:
            self.socket, theirs = socket.socketpair()
        except OSError as error:
            raise not_started(where, argv[0], error) from error
        try:
            with theirs:
                self.process = start_process(where, argv, stdin=theirs.fileno(), stdout=theirs.fileno())
        except BaseException:
            self.socket.close()
            raise
        assert self.process.stderr
        # Only this end: each has a mode of its own, and ssh sets that of what it is given as it likes.
        self.socket.setblocking(False)
        self.sending = threading.Lock()
        self.ended: Ended | None = None
        self.held = bytearray()
        self.searched = 0  # bytes of it that are known to hold no line break
        self.last_words = bytearray()
        self.streams = selectors.PollSelector()
        self.streams.register(self.socket, selectors.EVENT_READ, self.held)
        self.streams.register(self.process.stderr, selectors.EVENT_READ, self.last_words)

    def send(self, line: str, timeout: float = 30, rest: bytes = b"") -> None:
        """Send one line, and *rest* as its end: what many programs are sent is one copy. A program that has ended is no
        error here: `receive` tells of it. Raises CommandTimeout after *timeout* seconds, or more for what is long."""
        deadline = time.monotonic() + timeout + len(rest) / SLOWEST
        with self.sending, contextlib.suppress(ConnectionError, ValueError), selectors.PollSelector() as writable:
            writable.register(self.socket, selectors.EVENT_WRITE)  # ValueError: it is closed
            for part in (line.encode(), rest, b"\n"):
                left = memoryview(part)
                while left:
                    if not writable.select(max(0.0, deadline - time.monotonic())):
                        raise CommandTimeout("no answer in time", where=self.where)
                    with contextlib.suppress(BlockingIOError):
                        left = left[self.socket.send(left) :]

    def receive(self, timeout: float) -> str | Ended | None:
        """The next line of output; None when there is none within *timeout* seconds; Ended when none can come."""
        deadline, left = time.monotonic() + timeout, timeout
        while True:
            line = self.next_line()
            if line is not None:
                return line
            if self.ended or not self.streams.get_map():
                return self.end()
            if left < 0:
                return None  # also when bytes keep coming, but no line break
            for key, _ in self.streams.select(left):
                self.take(key)
            left = deadline - time.monotonic()

    def next_line(self) -> str | None:
        """Take a line out of what is held. Each byte is looked at and moved once, whatever the length of the lines."""
        end = self.held.find(b"\n", self.searched)
        if end < 0:
            self.searched = len(self.held)
            if self.searched > CAPTURE_LIMIT:
                raise CommandFailed(f"more than {CAPTURE_LIMIT >> 20} MiB in one line", where=self.where)
            return None
        line = self.held[:end].decode(errors="replace")
        del self.held[: end + 1]  # cheap: a bytearray only moves its beginning
        self.searched = 0
        return line

    def take(self, key: selectors.SelectorKey) -> None:
        try:
            chunk = os.read(key.fd, CHUNK)
        except ConnectionResetError:  # it ended without reading all that it was sent
            chunk = b""
        key.data.extend(chunk)
        if not chunk:
            self.streams.unregister(key.fileobj)
        if key.data is self.last_words:
            del self.last_words[:-LAST_WORDS]

    def end(self) -> Ended:
        """Hang up: the program sees the end of its input, and is ended if it does not go by itself."""
        if self.ended:
            return self.ended
        with self.sending, contextlib.suppress(OSError):  # there may be nobody at the other end any more
            self.socket.shutdown(socket.SHUT_WR)
        try:
            self.process.wait(GOODBYE)
        except subprocess.TimeoutExpired:
            stop_process(self.process)
        self.streams.close()
        with self.sending:
            self.socket.close()
        if self.process.stderr:
            self.process.stderr.close()
        code = self.process.returncode
        self.ended = Ended(code if code >= 0 else 128 - code, self.last_words.decode(errors="replace"))
        return self.ended
