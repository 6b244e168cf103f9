"""What commands change, and changed."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Optional

from ..history import Record
from ..running import Running
from .base import Event


@dataclass(frozen=True)
class Happened(Event):
    """What the history says of one command."""

    record: Record


@dataclass(frozen=True)
class HistoryEnded(Event):
    """All of the history that was asked for has been reported; so many of its lines cannot be read, and of these files
    none: what they are instead."""

    unreadable: int
    odd: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Waiting(Event):
    """The command with this `id` waits for its turn, `behind` another if that is known; reported again and again."""

    id: str
    behind: Optional[Running] = None


@dataclass(frozen=True)
class Runs(Event):
    """The commands that run on the controller, the oldest first.

    `locked`: one of them has its turn, or another of which nothing is known.
    """

    commands: list[Running]
    locked: bool = False


@dataclass(frozen=True)
class Cancelled(Event):
    """A command was ended, or ended by itself just before: `how` the history has it. `waiting` waited for it."""

    how: Record
    waiting: list[Running] = field(default_factory=list)
