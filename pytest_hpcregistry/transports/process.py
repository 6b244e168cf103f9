"""How a local program is run: in a process group of its own, with a deadline, its output bounded."""

from __future__ import annotations

import contextlib
import errno
import os
import selectors
import shlex
import signal
import subprocess
import threading
import time
import weakref
from collections.abc import Callable, Sequence
from typing import IO, BinaryIO

from ..core.errors import CommandFailed, CommandTimeout, HpcRegistryError, UsageError
from ..core.names import excerpt
from . import Command, CommandResult

CAPTURE_LIMIT = 16 * 1024 * 1024
"""Bytes kept of each output stream, and the longest line that `on_line` can be given."""
CHUNK = 256 * 1024
LAST_WORDS = 4096
"""Bytes kept of what a login prints before the command does."""
TICK = 0.1
"""Seconds between two looks at whether the process has ended; only matters when its pipes stay open."""
STOP_GRACE = 3.0
"""Seconds that a process group gets to tidy up between SIGTERM and SIGKILL."""
ENDED = "not begun: this program is being ended"
STARTING = threading.Lock()
"""A start holds the program's ends of its pipes as well: one at a time, or that is as many as there are threads."""
STARTED: weakref.WeakSet[subprocess.Popen[bytes]] = weakref.WeakSet()
ENDING = threading.Event()
"""Nothing is started any more."""


def run_process(
    where: str,
    argv: Sequence[str],
    *,
    timeout: float,
    stdin: bytes | BinaryIO | None = None,
    stdout: BinaryIO | None = None,
    on_line: Callable[[str], None] | None = None,
    keep: Sequence[int] = (),
) -> CommandResult:
    """Do run_command with a Command of these fields."""
    return run_command(where, Command(argv, timeout, stdin, stdout, on_line, keep=keep))


def run_command(where: str, command: Command, *, shown: Sequence[str] | None = None) -> CommandResult:
    """Run a local program to its end and return what it did, whatever its exit code (128 + N for signal N).

    `stdin` is sent to it (nothing given: end of file at once). Its standard output goes to `stdout` as bytes, to
    `on_line` line by line, or, with neither, into the result; standard error always into the result. *where* and
    *shown* stand in messages and in the result for the machine and the command that the user meant, when the program
    is only the way there (ssh). All callbacks happen in the calling thread.

    Raises CommandTimeout after `timeout` seconds; CommandFailed for a program that is missing or writes more than
    CAPTURE_LIMIT. However this function is left, by KeyboardInterrupt too, the whole process group is ended first.
    """
    argv = tuple(command.argv if shown is None else shown)
    began = time.monotonic()
    pipe = subprocess.DEVNULL if command.stdin is None else subprocess.PIPE
    process = start_process(where, command.argv, stdin=pipe, keep=command.keep)
    output = Stream("standard output", command.stdout, command.on_line, command.mark)
    talk = Talk(process, command.stdin, output, Stream("standard error"))
    try:
        talk.run(began + command.timeout)
    except TimeoutError:
        stop_process(process)
        raise CommandTimeout(
            f"{in_short(argv)} was still running after {command.timeout:g} s and was stopped",
            where=where,
            hint="look at what it was waiting for on that machine, or allow it more time",
        ) from None
    except Refused as refused:
        stop_process(process)
        raise CommandFailed(f"{in_short(argv)}: {refused}", where=where) from refused.__cause__
    except BaseException:
        stop_process(process)
        raise
    finally:
        talk.close()
    code = process.returncode
    output.must_have_begun(where, code)
    return CommandResult(
        where=where,
        argv=argv,
        exit_code=code if code >= 0 else 128 - code,
        stdout=talk.output.text(),
        stderr=talk.errors.text() or output.before(),
        seconds=time.monotonic() - began,
    )


class Refused(Exception):
    """Why a command had to be stopped, for run_process to put a name and a place to."""


class Stream:
    """One output stream of a command: copied to a file, handed on line by line, or kept. What comes before *mark* is
    passed over."""

    def __init__(
        self,
        name: str,
        sink: BinaryIO | None = None,
        on_line: Callable[[str], None] | None = None,
        mark: bytes = b"",
    ) -> None:
        self.name = name
        self.sink = sink
        self.on_line = on_line
        self.mark = mark
        self.passed = b""
        self.held = bytearray()

    def take(self, chunk: bytes) -> None:
        if self.mark:
            passed, found, chunk = (self.passed + chunk).partition(self.mark)
            if not found:
                self.passed = passed[-LAST_WORDS:]
                return
            self.mark = self.passed = b""
        if self.sink is not None:
            self.copy(memoryview(chunk), self.sink)
        if self.sink is None or self.on_line is not None:
            self.held += chunk
        if self.on_line is not None and b"\n" in chunk:
            *lines, rest = bytes(self.held).split(b"\n")
            self.held = bytearray(rest)
            for line in lines:
                self.on_line(line.decode(errors="replace"))
        if len(self.held) > CAPTURE_LIMIT:
            raise Refused(f"stopped: more than {CAPTURE_LIMIT // 1024**2} MiB on {self.name}")

    def end(self) -> None:
        if self.on_line is not None and self.held:
            self.on_line(self.held.decode(errors="replace"))
            self.held.clear()

    def must_have_begun(self, where: str, code: int) -> None:
        """Raise CommandFailed where the *code* says that all went well, and the command's own output never began."""
        if self.mark and code == 0:
            raise CommandFailed(
                f"the login there ran something else than the command, and said {excerpt(self.before()) or 'nothing'}",
                where=where,
                hint="does its shell, or command=… in authorized_keys, put another program in the command's place?",
            )

    def before(self) -> str:
        """The end of what came in the place of a command that never began."""
        return self.passed.decode(errors="replace").strip()

    def text(self) -> str:
        return self.held.decode(errors="replace")

    def copy(self, chunk: memoryview, sink: BinaryIO) -> None:
        try:
            while chunk:
                chunk = chunk[sink.write(chunk) :]
        except OSError as error:
            raise Refused(f"stopped: its {self.name} could not be written: {error}") from error


class Talk:
    """All pipes of one process served at once by one thread, so that no full pipe can block another."""

    def __init__(
        self, process: subprocess.Popen[bytes], stdin: bytes | BinaryIO | None, output: Stream, errors: Stream
    ) -> None:
        self.process = process
        self.source = None if isinstance(stdin, bytes) else stdin
        self.pending = memoryview(stdin if isinstance(stdin, bytes) else b"")
        self.output = output
        self.errors = errors
        self.pipes = selectors.PollSelector()  # epoll would be one descriptor more for each program
        assert process.stdout is not None
        assert process.stderr is not None
        self.pipes.register(process.stdout, selectors.EVENT_READ, output)
        self.pipes.register(process.stderr, selectors.EVENT_READ, errors)
        if process.stdin is not None:
            os.set_blocking(process.stdin.fileno(), False)
            self.pipes.register(process.stdin, selectors.EVENT_WRITE)

    def run(self, deadline: float) -> None:
        """Serve the pipes until the process has ended; raises TimeoutError when *deadline* (monotonic) comes first."""
        while self.pipes.get_map():
            ended = self.process.poll() is not None
            ready = self.pipes.select(TICK)
            for key, _ in ready:
                self.serve(key)
            # A process left behind in the background (ssh's connection master) may hold a pipe open for ever.
            if ended and not any(key.data for key, _ in ready):
                break
            if time.monotonic() >= deadline:
                raise TimeoutError
        try:
            self.process.wait(max(0.0, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            raise TimeoutError from None
        self.output.end()
        self.errors.end()

    def close(self) -> None:
        self.pipes.close()
        for pipe in (self.process.stdin, self.process.stdout, self.process.stderr):
            if pipe is not None:
                pipe.close()

    def serve(self, key: selectors.SelectorKey) -> None:
        if key.data is None:
            self.feed(key.fd)
            return
        chunk = os.read(key.fd, CHUNK)
        if chunk:
            key.data.take(chunk)
        else:
            self.pipes.unregister(key.fileobj)

    def feed(self, pipe: int) -> None:
        if not self.pending and self.source is not None:
            try:
                self.pending = memoryview(self.source.read(CHUNK))
            except OSError as error:
                raise Refused(f"stopped: what it was to be sent could not be read: {error}") from error
        try:
            if self.pending:
                self.pending = self.pending[os.write(pipe, self.pending) :]
                return
        except BlockingIOError:
            return
        except BrokenPipeError:
            # The program wants no more; its exit code says whether that is a failure.
            pass
        self.end_input()

    def end_input(self) -> None:
        pipe: IO[bytes] | None = self.process.stdin
        assert pipe is not None
        self.pipes.unregister(pipe)
        pipe.close()


def start_process(
    where: str, argv: Sequence[str], *, stdin: int, stdout: int = subprocess.PIPE, keep: Sequence[int] = ()
) -> subprocess.Popen[bytes]:
    """Start *argv* in a process group of its own, with the descriptors *keep*; *stdin* and *stdout* as in
    subprocess.Popen. Raises CommandFailed."""
    if any("\0" in word for word in argv):
        raise UsageError(f"a command may not hold a NUL character: {in_short(argv)}", where=where)
    try:
        with STARTING:
            if ENDING.is_set():
                raise CommandFailed(ENDED, where=where)
            process = subprocess.Popen(
                list(argv),
                stdin=stdin,
                stdout=stdout,
                stderr=subprocess.PIPE,
                bufsize=0,
                start_new_session=True,
                pass_fds=tuple(keep),
            )
            STARTED.add(process)
    except OSError as error:
        raise not_started(where, excerpt(argv[0]), error) from error
    if ENDING.is_set():  # since it was looked at
        send_signal(process, signal.SIGTERM)
    return process


def end_all() -> None:
    """Let every program that runs end, and start none any more, so that threads which wait for one come to their end.
    For a handler of signals: it waits for nothing, no lock either."""
    ENDING.set()
    for process in started():
        if process.returncode is None:
            send_signal(process, signal.SIGTERM)


def started() -> list[subprocess.Popen[bytes]]:
    while True:
        try:
            return list(STARTED)
        except RuntimeError:  # another thread has added one meanwhile
            continue


def not_started(where: str, program: str, error: OSError) -> HpcRegistryError:
    """The error for a program that could not be started, with what to do about it."""
    why, hint = error.strerror or str(error), f"install {program} there, or put it on the PATH"
    if isinstance(error, FileNotFoundError):
        why = "there is no such program"
    elif error.errno in (errno.EMFILE, errno.ENFILE):
        hint = "allow more open files where this runs: ulimit -n"
    return CommandFailed(f"{program} cannot be run: {why}", where=where, hint=hint)


def stop_process(process: subprocess.Popen[bytes]) -> None:
    """End the whole process group: a word first, so that builds remove their temporary files, then the kill."""
    try:
        send_signal(process, signal.SIGTERM)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(STOP_GRACE)
    finally:
        send_signal(process, signal.SIGKILL)
        process.wait()


def send_signal(process: subprocess.Popen[bytes], number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, number)


def in_short(argv: Sequence[str]) -> str:
    """The command on one line, cut to what fits into a message."""
    return excerpt(" ".join(shlex.join(argv).split()), 200)
