"""An image on its way to the controller, and what becomes of its name there."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Optional

from .base import Event


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
    """A name means these bytes on the controller; `changed`: it did not before. `before`: what it meant then. `by`: who
    published it, and from which address.

    `attached` is the kinds of what came with them and is kept beside them now.
    """

    name: str
    digest: str
    changed: bool
    attached: list[str] = field(default_factory=list)
    before: Optional[str] = None
    by: Optional[str] = None


@dataclass(frozen=True)
class RolledBack(Event):
    """A name means an older version again on the controller."""

    name: str
    digest: str
    before: str
    by: str
    published: str


@dataclass(frozen=True)
class ImagesRemoved(Event):
    """Images are out of the catalog, and their names gone from the controller: name -> what it meant.

    Their bytes are kept until the time `until` (UTC, RFC 3339), and after that until gc frees them.
    """

    names: dict[str, str]
    until: str
    by: str


@dataclass(frozen=True)
class ImageRestored(Event):
    """A removed image is in the catalog again, and has its name on the controller."""

    name: str
    digest: str
    by: str


@dataclass(frozen=True)
class InUse(Event):
    """Somebody has the bytes of an image open that is removed; `job` is the number that the process gives."""

    name: str
    machines: list[str]
    user: str
    job: Optional[str] = None


@dataclass(frozen=True)
class Planned(Event):
    """What a dry run says would be done on the controller, in words."""

    message: str


@dataclass(frozen=True)
class ImageSignatures(Event):
    """What Apptainer said of the signatures that images carry themselves: by name, why it refused one, and why that is
    not known of another. It accepted the others that were asked for and are there.
    """

    refused: dict[str, str]
    unknown: dict[str, str]


@dataclass(frozen=True)
class Verified(Event):
    """An image's state on each machine, after its bytes were read; `waived` are machines where that fails nothing."""

    name: str
    states: dict[str, str]
    waived: tuple[str, ...] = ()
