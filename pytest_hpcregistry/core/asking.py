"""How far the asking of nodes is, by its events and a clock."""

from __future__ import annotations

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
        self.answered: set[str] = set()
        self.bytes = 0
        self.began = 0.0

    def take(self, event: Event, now: float) -> None:
        """What an event says, which came at *now*; events of other things say nothing."""
        if isinstance(event, Asking):
            self.nodes, self.answered, self.bytes, self.began = list(event.nodes), set(), 0, now
        elif isinstance(event, NodeAnswered):
            self.answered.add(event.node)
            self.bytes += event.bytes
        elif isinstance(event, Asked):
            self.nodes = []

    @property
    def idle(self) -> bool:
        return not self.nodes

    def text(self, now: float) -> str:
        """`913 of 1000 nodes have answered after 2:10, 12 TB read, waiting for c[001,017]`."""
        waiting = [node for node in self.nodes if node not in self.answered]
        parts = [f"{len(self.nodes) - len(waiting)} of {len(self.nodes)} nodes have answered"]
        if now > self.began:
            parts[0] += f" after {duration(now - self.began)}"
        if self.bytes:
            parts.append(f"{amount(self.bytes)} read")
        if 0 < len(waiting) <= FEW:
            parts.append(f"waiting for {visible(fold(waiting))}")
        return ", ".join(parts)
