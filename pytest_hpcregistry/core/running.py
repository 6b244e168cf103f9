"""A command that changes the registry, while it runs on the controller: what others see of it."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from datetime import datetime, timezone
from typing import Optional

from .history import Record, checked, read_json
from .names import excerpt
from .records import build

BEGUN, WAITING, WORKING = "begun", "waiting", "working"
"""WAITING for its turn, WORKING while it has it; BEGUN is a command that needs none, or has not asked for it yet."""
LARGEST = 1 << 60


@dataclass(frozen=True)
class Running:
    """A command, and how far it is: `arrived` of `size` bytes, `left` seconds (None: not known), and the `nodes` that
    are not done, as a node set or how many. `age` is seconds since it began, `since` when it did on the controller, in
    seconds since 1970, for their order.
    """

    record: Record
    state: str = BEGUN
    size: int = 0
    arrived: int = 0
    left: Optional[float] = None
    nodes: str = ""
    age: float = 0.0
    since: float = 0.0


def from_text(text: str) -> Running:
    """What a file says of a command. Raises ValueError for anything that is not of that form."""
    found: Running = build(Running, read_json(text), "the file")
    began = datetime.strptime(checked(found.record).time, "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=timezone.utc)
    numbers = [found.size, found.arrived, found.left or 0.0, found.since]
    if found.state not in (BEGUN, WAITING, WORKING):
        raise ValueError("its state is none")
    if not all(math.isfinite(number) and 0 <= number < LARGEST for number in numbers):
        raise ValueError("one of its numbers is none")
    age = max(0.0, (datetime.now(timezone.utc) - began).total_seconds())
    return replace(found, nodes=excerpt(found.nodes), age=age)
