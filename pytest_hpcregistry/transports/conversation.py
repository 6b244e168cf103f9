"""A local program that is spoken with line by line, such as ssh with a program at its other end."""

from __future__ import annotations

import contextlib
import os
import selectors
import subprocess
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass

from ..errors import CommandFailed, CommandTimeout
from .local import CAPTURE_LIMIT, CHUNK, start_process, stop_process

LAST_WORDS = 64 << 10  # bytes kept of standard error
GOODBYE = 3.0  # seconds that the program gets to end by itself once its input has ended


@dataclass(frozen=True)
class Ended:
    """The program is gone: its exit code (128 + N for signal N) and its last words on standard error."""

    exit_code: int
    stderr: str


class Conversation:
    """Lines to and from one program, in a process group of its own. `receive` is for one thread, `send` for any."""

    def __init__(self, where: str, argv: Sequence[str]) -> None:
        """Start *argv*; *where* is the machine in messages. Raises CommandFailed when the program is missing."""
        self.where = where
        self.process = start_process(where, argv, wants_input=True)
        assert self.process.stdin
        assert self.process.stdout
        assert self.process.stderr
        os.set_blocking(self.process.stdin.fileno(), False)
        self.sending = threading.Lock()
        self.ended: Ended | None = None
        self.held = bytearray()
        self.last_words = bytearray()
        self.pipes = selectors.DefaultSelector()
        self.pipes.register(self.process.stdout, selectors.EVENT_READ, self.held)
        self.pipes.register(self.process.stderr, selectors.EVENT_READ, self.last_words)

    def send(self, line: str, timeout: float = 30) -> None:
        """Send one line. A program that has ended is no error here: `receive` tells of it. Raises CommandTimeout."""
        assert self.process.stdin
        deadline = time.monotonic() + timeout
        left = memoryview(line.encode() + b"\n")
        with self.sending, contextlib.suppress(BrokenPipeError, ValueError), selectors.DefaultSelector() as writable:
            writable.register(self.process.stdin, selectors.EVENT_WRITE)
            while left:
                if not writable.select(deadline - time.monotonic()):
                    raise CommandTimeout(f"{self.where}: no answer in time")
                with contextlib.suppress(BlockingIOError):
                    left = left[os.write(self.process.stdin.fileno(), left) :]

    def receive(self, timeout: float) -> str | Ended | None:
        """The next line of output; None when there is none within *timeout* seconds; Ended when none can come."""
        deadline = time.monotonic() + timeout
        while b"\n" not in self.held:
            if len(self.held) > CAPTURE_LIMIT:
                raise CommandFailed(f"{self.where}: more than {CAPTURE_LIMIT >> 20} MiB in one line")
            if self.ended or not self.pipes.get_map():
                return self.end()
            ready = self.pipes.select(max(0.0, deadline - time.monotonic()))
            if not ready:
                return None
            for key, _ in ready:
                self.take(key)
        line, _, rest = bytes(self.held).partition(b"\n")
        self.held[:] = rest
        return line.decode(errors="replace")

    def take(self, key: selectors.SelectorKey) -> None:
        chunk = os.read(key.fd, CHUNK)
        key.data.extend(chunk)
        if not chunk:
            self.pipes.unregister(key.fileobj)
        if key.data is self.last_words:
            del self.last_words[:-LAST_WORDS]

    def end(self) -> Ended:
        """Hang up: the program sees the end of its input, and is ended if it does not go by itself."""
        if self.ended:
            return self.ended
        with self.sending:
            if self.process.stdin:
                self.process.stdin.close()
        try:
            self.process.wait(GOODBYE)
        except subprocess.TimeoutExpired:
            stop_process(self.process)
        self.pipes.close()
        for pipe in (self.process.stdout, self.process.stderr):
            if pipe:
                pipe.close()
        code = self.process.returncode
        self.ended = Ended(code if code >= 0 else 128 - code, self.last_words.decode(errors="replace"))
        return self.ended
