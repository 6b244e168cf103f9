"""What machines answer."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Optional

from ..machine import MachineFacts, SlurmFacts, Syncing
from .base import Event


@dataclass(frozen=True)
class Asking(Event):
    """These nodes are asked for their facts, so many of them at once; 0: all."""

    nodes: list[str]
    window: int = 0


@dataclass(frozen=True)
class NodeAnswered(Event):
    """A node has answered, or why not is known; it has read so many `bytes` of its images for that, in `seconds`."""

    node: str
    bytes: int
    seconds: float = 0.0


@dataclass(frozen=True)
class Asked(Event):
    """No answer is waited for any more."""


@dataclass(frozen=True)
class NodeFacts(Event):
    """One node's facts, which took so many `seconds`, or why there are none: `unreachable` is the reason, without the
    node's name."""

    node: str
    facts: Optional[MachineFacts] = None
    unreachable: Optional[str] = None
    hint: Optional[str] = None
    seconds: float = 0.0


@dataclass(frozen=True)
class CatalogPart(Event):
    """A part of the text of the controller's catalog, which is too long for one line; there is none without one."""

    text: str


@dataclass(frozen=True)
class Gathered(Event):
    """The end of all facts: how many nodes were asked, the controller's own facts, and Slurm's view of the nodes."""

    nodes: int
    controller: MachineFacts
    syncing: Syncing
    slurm: Optional[SlurmFacts] = None


@dataclass(frozen=True)
class Chosen(Event):
    """The nodes of the cluster that somebody has chosen."""

    nodes: list[str]


@dataclass(frozen=True)
class Tried(Event):
    """What the sync key can do on each node, in words."""

    nodes: dict[str, str]
