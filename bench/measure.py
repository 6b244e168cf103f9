"""Run one command and watch the nodes: when each has the whole file with the right digest, read from its own disk."""

from __future__ import annotations

import os
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from pytest_hpcregistry.core.digest import hash_file
from pytest_hpcregistry.lab.site import CONTROLLER

from .testbed import Testbed

LOOK = 0.05  # seconds between two looks at the nodes' files
SAMPLE = 0.2  # seconds between two looks at the controller program's memory
Plan = Sequence[tuple[int, Callable[[], None]]]


@dataclass(frozen=True)
class Target:
    """The file that every node shall have in the end; `size` in bytes."""

    path: str
    digest: str
    size: int


@dataclass(frozen=True)
class Measured:
    """What a command did. `verified`: node -> seconds until the harness had read the right digest there.

    `seconds` is until the command had ended. `sent` and `received`: bytes on the controller's link. `memory`: the peak
    of the controller program, in bytes; 0 when none was seen. `cpu`: how busy this machine's cores were, 0 to 1.
    """

    exit_code: int
    output: str
    seconds: float
    verified: dict[str, float]
    sent: int
    received: int
    memory: int
    cpu: float

    def all_verified(self, nodes: Sequence[str]) -> float | None:
        """Seconds until *nodes* were verified and the command had ended; None when not all were."""
        if any(node not in self.verified for node in nodes):
            return None
        return max(self.seconds, *(self.verified[node] for node in nodes))


@dataclass
class Watch:
    """The nodes that do not have the file yet. A file of the right size is read once for each time it changed."""

    bed: Testbed
    target: Target
    began: float
    verified: dict[str, float] = field(default_factory=dict)
    read: dict[str, tuple[int, int]] = field(default_factory=dict)
    reading: dict[str, Future[bool]] = field(default_factory=dict)

    def look(self, pool: ThreadPoolExecutor) -> None:
        """Start reading where a file has come to its full size, and note who has been found right."""
        for node in self.bed.nodes:
            if node in self.reading and self.reading[node].done() and self.reading.pop(node).result():
                self.verified[node] = time.monotonic() - self.began
            if node in self.verified or node in self.reading:
                continue
            path = self.bed.path(node, self.target.path)
            try:
                found = path.stat()
            except OSError:
                continue
            if found.st_size == self.target.size and self.read.get(node) != (found.st_ino, found.st_mtime_ns):
                self.read[node] = (found.st_ino, found.st_mtime_ns)
                self.reading[node] = pool.submit(has_digest, path, self.target.digest)

    def finish(self, pool: ThreadPoolExecutor) -> None:
        """The command has ended, nothing changes any more: read what is still missing, once more, to the end."""
        for future in self.reading.values():
            future.exception()
        self.look(pool)
        self.read.clear()
        self.look(pool)
        for future in self.reading.values():
            future.exception()
        self.look(pool)


def has_digest(path: Path, digest: str) -> bool:
    try:
        return hash_file(path) == digest
    except OSError:
        return False  # it was replaced meanwhile


def measure(bed: Testbed, argv: Sequence[str], target: Target, *, timeout: float, at: Plan = ()) -> Measured:
    """Run *argv* on this machine, and watch the nodes in use until it ends, or is ended after *timeout* seconds.

    *at*: things to do on the way, each as soon as the controller has sent so many bytes.
    """
    os.sync()  # what an earlier run left to be written is not this one's
    before, busy_before = bed.wire_bytes(CONTROLLER), cpu_times()
    left, memory, sampled = sorted(at, key=lambda item: item[0]), 0, 0.0
    with tempfile.TemporaryFile() as output, ThreadPoolExecutor(max_workers=2) as pool:
        began = time.monotonic()
        watch = Watch(bed, target, began)
        process = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=output, stderr=output, start_new_session=True)
        try:
            while process.poll() is None and time.monotonic() - began < timeout:
                watch.look(pool)
                now = time.monotonic() - began
                while left and left[0][0] <= bed.wire_bytes(CONTROLLER)[1] - before[1]:
                    left.pop(0)[1]()
                if now - sampled >= SAMPLE:
                    memory, sampled = max([memory, *map(peak_memory, bed.programs())]), now
                time.sleep(LOOK)
        finally:
            seconds = time.monotonic() - began
            stop(process, bed)
        watch.finish(pool)
        output.seek(0)
        text = output.read().decode(errors="replace")
    after = bed.wire_bytes(CONTROLLER)
    return Measured(
        exit_code=process.returncode,
        output=text,
        seconds=seconds,
        verified=watch.verified,
        sent=after[1] - before[1],
        received=after[0] - before[0],
        memory=memory,
        cpu=busy_share(busy_before, cpu_times()),
    )


def stop(process: subprocess.Popen[bytes], bed: Testbed) -> None:
    """End a command that still runs, and what it started on the controller, which would go on without it."""
    if process.poll() is not None:
        return
    os.killpg(process.pid, signal.SIGTERM)
    for program in bed.programs():
        for each in family(program):
            try:
                os.kill(each, signal.SIGKILL)
            except ProcessLookupError:
                continue
    process.wait(timeout=30)


def family(process: int) -> list[int]:
    """A process and all that it has started."""
    found = [process]
    for path in Path(f"/proc/{process}/task").glob("*/children"):
        try:
            children = [int(word) for word in path.read_text().split()]
        except OSError:
            continue
        found += [each for child in children for each in family(child)]
    return found


def peak_memory(process: int) -> int:
    """The most memory that a process has had, in bytes; 0 when it has ended."""
    try:
        status = Path(f"/proc/{process}/status").read_text()
    except OSError:
        return 0
    return next((int(line.split()[1]) * 1024 for line in status.splitlines() if line.startswith("VmHWM:")), 0)


def cpu_times() -> tuple[int, int]:
    """Ticks that all cores were busy, and all ticks, since this machine started; proc(5)."""
    ticks = [int(word) for word in Path("/proc/stat").read_text().splitlines()[0].split()[1:9]]
    idle = ticks[3] + ticks[4]
    return sum(ticks) - idle, sum(ticks)


def busy_share(before: tuple[int, int], after: tuple[int, int]) -> float:
    return (after[0] - before[0]) / max(1, after[1] - before[1])
