"""How far the asking of nodes is, by its events and a clock; where they read their images, how fast and how long still.

A node answers once, when it has read all, so that it is known then how fast it was. What the others have still to read
is taken to be what the largest of them had.
"""

from __future__ import annotations

from math import ceil
from statistics import median

from .events import Asked, Asking, Event, NodeAnswered
from .names import visible
from .nodeset import fold
from .pace import amount, duration

FEW = 8
"""Nodes that are named while they are waited for."""


class Answers:
    """Who has been asked, and who has answered. All times are seconds of one clock, whichever it is."""

    def __init__(self) -> None:
        self.nodes: list[str] = []
        self.window = 0
        self.answered: dict[str, NodeAnswered] = {}
        self.bytes = 0
        self.began = 0.0

    def take(self, event: Event, now: float) -> None:
        """What an event says, which came at *now*; events of other things say nothing."""
        if isinstance(event, Asking):
            self.nodes, self.window = list(event.nodes), event.window or len(event.nodes)
            self.answered, self.bytes, self.began = {}, 0, now
        elif isinstance(event, NodeAnswered):
            self.answered[event.node] = event
            self.bytes += event.bytes
        elif isinstance(event, Asked):
            self.nodes = []

    @property
    def idle(self) -> bool:
        return not self.nodes

    @property
    def size(self) -> int:
        """Bytes that all will have read at the end, by what is known now; 0 while that is nothing."""
        most = max((one.bytes for one in self.answered.values()), default=0)
        return self.bytes + most * (len(self.nodes) - len(self.answered))

    def rates(self) -> dict[str, float]:
        """How fast each node was that has read something, in bytes/s."""
        return {one.node: one.bytes / one.seconds for one in self.answered.values() if one.bytes and one.seconds > 0}

    def rate(self, now: float) -> float:
        """Bytes/s of all nodes together, from the beginning; 0 when that is not known yet."""
        return self.bytes / (now - self.began) if now > self.began else 0.0

    def left(self, now: float) -> float | None:
        """Seconds until the last node has answered, if it is as fast as they are; None when that is not known, or when
        it should have answered already."""
        rates = self.rates()
        if not rates:
            return None
        largest = max(one.bytes for one in self.answered.values())
        seconds = largest / median(rates.values()) * ceil(len(self.nodes) / self.window) - (now - self.began)
        return seconds if seconds > 0 else None

    def slowest(self) -> str:
        """`slowest c017: 38 MB/s (others 410 MB/s)`, when more than one has read something; else nothing."""
        rates = self.rates()
        if len(rates) < 2:
            return ""
        node = min(rates, key=rates.__getitem__)
        others = median(rate for name, rate in rates.items() if name != node)
        return f"slowest {visible(node)}: {amount(rates[node])}/s (others {amount(others)}/s)"

    def counted(self) -> str:
        """`913 of 1000 nodes have answered`."""
        return f"{len(self.answered)} of {len(self.nodes)} nodes have answered"

    def beside(self) -> list[str]:
        """Who was slow, and who is waited for."""
        waiting = [node for node in self.nodes if node not in self.answered]
        named = f"waiting for {visible(fold(waiting))}" if 0 < len(waiting) <= FEW else ""
        return [text for text in (self.slowest(), named) if text]

    def text(self, now: float) -> str:
        """`913 of 1000 nodes have answered after 2:10, 12 TB read, 92 GB/s, about 0:12 left, slowest c017: 38 MB/s
        (others 410 MB/s), waiting for c[001,017]`."""
        parts = [self.counted()]
        if now > self.began:
            parts[0] += f" after {duration(now - self.began)}"
        if self.bytes:
            parts.append(f"{amount(self.bytes)} read")
        if self.bytes and self.rate(now):
            parts.append(f"{amount(self.rate(now))}/s")
        if left := self.left(now):
            parts.append(f"about {duration(left)} left")
        return ", ".join([*parts, *self.beside()])
