"""What happens, reported to a listener: a class for each kind of event. wire.py brings them to another program."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Optional

from .errors import HpcRegistryError, from_exit_code
from .history import Record
from .machine import MachineFacts, SlurmFacts, Syncing


@dataclass(frozen=True)
class Event:
    """Sizes in bytes, times in seconds."""


Listener = Callable[[Event], None]


@dataclass(frozen=True)
class ImageChecked(Event):
    """A local SIF is sound."""

    name: str
    digest: str
    size: int


@dataclass(frozen=True)
class CheckEnded(Event):
    """One check of an image has ended: `state` is passed, failed, skipped or unknown, `detail` why it did not pass."""

    name: str
    check: str
    state: str
    detail: str = ""
    seconds: float = 0.0


@dataclass(frozen=True)
class ImageScanned(Event):
    """The scanner looked at so many `components` of a local SIF, and no finding keeps it from being deployed."""

    name: str
    components: int
    findings: int
    waived: int


@dataclass(frozen=True)
class WouldDeploy(Event):
    """What a deploy of a local SIF would do: send so many `bytes` of it, after a scan if it is `scanned`."""

    name: str
    path: str
    bytes: int
    scanned: bool


@dataclass(frozen=True)
class ImageProgress(Event):
    """So many `bytes` of an image are on their way to the controller."""

    name: str
    size: int
    bytes: int


@dataclass(frozen=True)
class ImageSent(Event):
    """The controller has an image's bytes; it had them before when `bytes` is 0."""

    name: str
    bytes: int


@dataclass(frozen=True)
class Looked(Event):
    """Whether the controller has the bytes that were asked for, and what the nodes' machines are (`uname -m`).

    `attachments` has the SHA-256 of what is kept beside them, by its kind; None is a program that keeps nothing there.
    `signatures` is the controller's registry.signatures, as phase 1 has written it down.
    """

    present: bool
    machines: list[str] = field(default_factory=list)
    attachments: Optional[dict[str, str]] = None
    signatures: Optional[str] = None


@dataclass(frozen=True)
class Received(Event):
    """The controller has taken an image's bytes."""

    digest: str


@dataclass(frozen=True)
class BytesMissing(Event):
    """The bytes that shall be published are not on the controller any more."""

    digest: str


@dataclass(frozen=True)
class Published(Event):
    """A name means these bytes on the controller; `changed`: it did not before. `before`: what it meant then.

    `attached` is the kinds of what came with them and is kept beside them now.
    """

    name: str
    digest: str
    changed: bool
    attached: list[str] = field(default_factory=list)
    before: Optional[str] = None


@dataclass(frozen=True)
class RolledBack(Event):
    """A name means an older version again on the controller."""

    name: str
    digest: str
    before: str
    by: str
    published: str


@dataclass(frozen=True)
class SyncStarted(Event):
    """A sync of *what*, in words, to these nodes."""

    what: str
    nodes: list[str]


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
class Progress(Event):
    """How much has arrived, in all, on the nodes where that has changed."""

    bytes: dict[str, int]


@dataclass(frozen=True)
class UnderWay(Event):
    """How far a transfer is, in words."""

    what: str
    text: str


@dataclass(frozen=True)
class Noticed(Event):
    """Something odd that a person should know."""

    message: str


@dataclass(frozen=True)
class NodeFinished(Event):
    """What became of a node: `state` is synced, unchanged, failed or unreachable.

    `message` and `hint` are the reason of the latter two, without the node's name. `read`: every byte of what it had
    was read before, to repair it.
    """

    node: str
    what: str
    state: str
    objects: int = 0
    bytes: int = 0
    seconds: float = 0.0
    message: str = ""
    hint: str = ""
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
    """What a garbage collection did on one machine: `state` is freed, shared, failed or unreachable.

    `message` and `hint` are the reason of the latter two. `objects` were removed; `in_use` and `young` were kept,
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


@dataclass(frozen=True)
class Asking(Event):
    """These nodes are asked for their facts."""

    nodes: list[str]


@dataclass(frozen=True)
class NodeAnswered(Event):
    """A node has answered, or why not is known; it has read so many `bytes` of its images for that."""

    node: str
    bytes: int


@dataclass(frozen=True)
class Asked(Event):
    """No answer is waited for any more."""


@dataclass(frozen=True)
class NodeFacts(Event):
    """One node's facts, or why there are none: `unreachable` is the reason, without the node's name."""

    node: str
    facts: Optional[MachineFacts] = None
    unreachable: Optional[str] = None
    hint: Optional[str] = None


@dataclass(frozen=True)
class CatalogPart(Event):
    """A part of the text of the controller's catalog, which is too long for one line; there is none without one."""

    text: str


@dataclass(frozen=True)
class Gathered(Event):
    """The end of all facts: how many nodes were asked, and the controller's own facts. `slurm` only if it was asked
    for, with the machines' own."""

    nodes: int
    controller: MachineFacts
    syncing: Syncing
    slurm: Optional[SlurmFacts] = None


@dataclass(frozen=True)
class Tried(Event):
    """What the sync key can do on each node, in words."""

    nodes: dict[str, str]


@dataclass(frozen=True)
class ImageSignatures(Event):
    """What Apptainer said of the signatures that images carry themselves: by name, why it refused one, and why that is
    not known of another. It accepted the others that were asked for and are there.
    """

    refused: dict[str, str]
    unknown: dict[str, str]


@dataclass(frozen=True)
class Verified(Event):
    """An image's state on each machine, after its bytes were read."""

    name: str
    states: dict[str, str]


@dataclass(frozen=True)
class Happened(Event):
    """What the history says of one command."""

    record: Record


@dataclass(frozen=True)
class HistoryEnded(Event):
    """All of the history that was asked for has been reported; so many of its lines cannot be read."""

    unreadable: int


@dataclass(frozen=True)
class Failed(Event):
    """Something failed: the whole, or the image of this `name`. `where` is a machine or a file."""

    message: str
    hint: Optional[str] = None
    exit_code: Optional[int] = None
    name: Optional[str] = None
    where: Optional[str] = None

    @classmethod
    def of(cls, error: HpcRegistryError) -> Failed:
        """The event of an error that ends the whole."""
        return cls(error.what, hint=error.hint, exit_code=error.exit_code, where=error.where or None)

    def error(self) -> HpcRegistryError:
        """The same kind of error as the one it was made of."""
        return from_exit_code(self.exit_code or 0)(self.message, where=self.where or "", hint=self.hint or "")

    @property
    def text(self) -> str:
        return f"{self.where}: {self.message}" if self.where else self.message
