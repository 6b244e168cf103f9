"""A sync and a garbage collection, and what becomes of each node."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Optional

from .base import Event

NOT_COUNTED = "not counted"


@dataclass(frozen=True)
class SyncStarted(Event):
    """A sync of *what*, in words, to these nodes; in a dry run they are asked, and nothing is changed."""

    what: str
    nodes: list[str]
    dry_run: Optional[bool] = None


@dataclass(frozen=True)
class NodeStarted(Event):
    """A node is being asked what it has."""

    node: str
    what: str


@dataclass(frozen=True)
class TransferStarted(Event):
    """An engine begins; `bytes` is what each of its nodes lacks."""

    engine: str
    why: str
    bytes: dict[str, int]


@dataclass(frozen=True)
class DamageFound(Event):
    """On a machine a copy of these images had other bytes than *digest* says, those of *actual*: it was put away."""

    machine: str
    names: list[str]
    digest: str
    actual: str
    kept: str


@dataclass(frozen=True)
class NodeFinished(Event):
    """What became of a node: `state` is synced, unchanged, failed, unreachable, or NOT_COUNTED, unreachable where Slurm
    does not count on it either; and in a dry run planned.

    `message` and `hint` are the reason of failed, unreachable and NOT_COUNTED, without the node's name. `removed` are
    the names that were taken away; `names`, of a dry run, those that would lead to other bytes, `engine` what would
    bring these. `read`: every byte of what it had was read before, to repair it.
    """

    node: str
    what: str
    state: str
    objects: int = 0
    bytes: int = 0
    seconds: float = 0.0
    message: str = ""
    hint: str = ""
    removed: Optional[list[str]] = None
    names: Optional[list[str]] = None
    engine: Optional[str] = None
    read: bool = False


@dataclass(frozen=True)
class SyncFinished(Event):
    """Node -> state, as in NodeFinished."""

    what: str
    states: dict[str, str]


@dataclass(frozen=True)
class GcStarted(Event):
    """A garbage collection, who began it, and how."""

    nodes: list[str]
    keep: int
    grace: int
    by: str
    dry_run: bool


@dataclass(frozen=True)
class Freed:
    """What a garbage collection did on one machine: `state` is freed, shared, failed, unreachable or NOT_COUNTED.

    `message` and `hint` are the reason of the latter three. `objects` were removed; `in_use` and `young` were kept,
    because somebody has them open, and because they have been unreferenced for less than the grace period; `debris` is
    what killed transfers had left, `attachments` lay beside objects that are gone; `unmanaged` files are not in the
    catalog.
    """

    state: str
    message: str = ""
    hint: str = ""
    objects: list[str] = field(default_factory=list)
    debris: list[str] = field(default_factory=list)
    attachments: list[str] = field(default_factory=list)
    bytes: int = 0
    in_use: list[str] = field(default_factory=list)
    in_use_bytes: int = 0
    young: list[str] = field(default_factory=list)
    young_bytes: int = 0
    unmanaged: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class GcFinished(Event):
    """What became of "controller" and of each node."""

    machines: dict[str, Freed]
    dry_run: bool
