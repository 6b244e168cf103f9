"""How far transfers are, how fast they go and when they will be done: worked out from their events and a clock."""

from __future__ import annotations

from collections import deque

from .events import (
    Event,
    Failed,
    ImageProgress,
    ImageSent,
    NodeFinished,
    Progress,
    SyncFinished,
    SyncStarted,
    TransferStarted,
)
from .names import visible
from .nodeset import fold

WINDOW = 15.0
"""Seconds that a rate is the average of: long enough to be calm, short enough to tell of a stall."""
PATIENCE = 3.0
"""Seconds without an update before a rate starts to fall. Updates come about once a second; this keeps it steady."""


class Track:
    """Bytes that arrive somewhere: `arrived` of `size`. All times are seconds of one clock, whichever it is."""

    def __init__(self, size: int) -> None:
        self.size = size
        self.arrived = 0
        self.seen: deque[tuple[float, int]] = deque()

    def take(self, arrived: int, now: float) -> None:
        """So many bytes are there now, in all. The clock starts with the first of them: waiting is not slowness."""
        if arrived < self.arrived:  # it was begun again, in another way
            self.seen.clear()
        self.arrived = min(arrived, self.size)
        if self.seen and self.seen[-1][0] == now:  # the nodes of one event, added up one by one
            self.seen.pop()
        if arrived:
            self.seen.append((now, self.arrived))

    def rate(self, now: float) -> float:
        """Bytes/s over the last WINDOW seconds; 0 when that is not known yet, or when nothing came."""
        while len(self.seen) > 1 and self.seen[1][0] <= now - WINDOW:
            self.seen.popleft()
        if not self.seen:
            return 0.0
        (since, before), (until, _) = self.seen[0], self.seen[-1]
        if now - until > PATIENCE:
            until = now
        return (self.arrived - before) / (until - since) if until > since else 0.0

    def left(self, now: float) -> float | None:
        """Seconds until all is there at this rate; None when there is none."""
        rate = self.rate(now)
        return (self.size - self.arrived) / rate if rate else None


class Transfers:
    """All that is on its way, by its events: images to the controller, and images to nodes."""

    def __init__(self) -> None:
        self.what = ""
        self.uploads: dict[str, Track] = {}
        self.nodes: list[str] = []
        self.finished: set[str] = set()
        self.failed: set[str] = set()
        self.tracks: dict[str, Track] = {}
        self.whole = Track(0)

    def take(self, event: Event, now: float) -> None:
        """What an event says, which came at *now*; events of other things say nothing."""
        if isinstance(event, ImageProgress):
            self.uploads.setdefault(event.name, Track(event.size)).take(event.bytes, now)
        elif isinstance(event, (ImageSent, Failed)):
            self.uploads.pop(event.name or "", None)
        elif isinstance(event, SyncStarted):
            self.what, self.nodes = event.what, list(event.nodes)
            self.finished, self.failed, self.tracks, self.whole = set(), set(), {}, Track(0)
        elif isinstance(event, TransferStarted):
            for node, size in event.bytes.items():
                self.tracks[node] = Track(size)
                self.whole.size += size
        elif isinstance(event, Progress):
            for node, size in event.bytes.items():
                self.move(node, size, now)
        elif isinstance(event, NodeFinished):
            self.finish(event.node, event.state, now)
        elif isinstance(event, SyncFinished):
            self.nodes = []

    def move(self, node: str, arrived: int, now: float) -> None:
        track = self.tracks.get(node)
        if track and node not in self.finished:
            before = track.arrived
            track.take(arrived, now)
            self.whole.take(self.whole.arrived + track.arrived - before, now)

    def finish(self, node: str, state: str, now: float) -> None:
        """A node that ended well has all its bytes; of one that did not, nothing more is waited for."""
        track = self.tracks.get(node)
        if state in ("failed", "unreachable"):
            self.failed.add(node)
        if track and state in ("synced", "unchanged"):
            self.move(node, track.size, now)
        elif track:
            self.whole.size -= track.size - track.arrived
        self.finished.add(node)
        if state in ("failed", "unreachable"):
            self.failed.add(node)

    @property
    def idle(self) -> bool:
        return not self.nodes and not self.uploads

    def left(self, now: float) -> float | None:
        """Seconds until the last node has all: no sooner than the slowest of them."""
        times = [track.left(now) for node, track in self.tracks.items() if node not in self.finished]
        return max((seconds for seconds in [*times, self.whole.left(now)] if seconds is not None), default=None)

    def lines(self, now: float) -> list[tuple[str, str]]:
        """What is on its way, each with how far it is, in words."""
        found = [(name, ", ".join(words(track, now, track.left(now)))) for name, track in self.uploads.items()]
        if self.nodes:
            found.append((self.what, ", ".join([self.counted(), *words(self.whole, now, self.left(now))])))
        return found

    def counted(self) -> str:
        """`3 of 3 nodes`; where some have failed, `2 of 3 nodes done, 1 failed (c003)`."""
        done = f"{len(self.finished - self.failed)} of {len(self.nodes)} nodes"
        return f"{done} done, {len(self.failed)} failed ({visible(fold(self.failed))})" if self.failed else done


def words(track: Track, now: float, left: float | None) -> list[str]:
    """`40 % of 2.1 GB`, `85 MB/s`, `about 0:25 left`: what of it is known."""
    if not track.size:
        return []
    rate = track.rate(now)
    return [
        f"{percent(track)} % of {amount(track.size)}",
        *([f"{amount(rate)}/s"] if rate else []),
        *([f"about {duration(left)} left"] if left else []),
    ]


def percent(track: Track) -> int:
    """Never 100 before the last byte."""
    return share(track.arrived, track.size)


def share(arrived: int, size: int) -> int:
    return arrived * 100 // size if size else 100


def amount(size: float) -> str:
    """`900 B`, `37 kB`, `85 MB`, `2.1 GB`: as `ls -h`, but decimal, as disks and networks are sold.

    Every size that people read is written by this; JSON has bytes.
    """
    for unit, factor in (("TB", 1e12), ("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        number = size / factor
        if number >= 0.9995:  # or it would be 1000 of the next
            return f"{number:.1f} {unit}" if number < 9.95 else f"{number:.0f} {unit}"
    return f"{size:.0f} B"


def duration(seconds: float) -> str:
    """`0:25`, `1:02:05`; rounded up, so that it is never 0:00 before the end."""
    minutes, rest = divmod(int(-(-seconds // 1)), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
