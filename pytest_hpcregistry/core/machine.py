"""What one machine says of itself when it is asked for its facts, and the question. Sizes in bytes, times in seconds.

The field names are the keys of agent/facts.py, which gathers it; controller/answers.py checks form and bounds.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Optional, Union

from .nodeset import Choice


@dataclass(frozen=True)
class File:
    """lstat of a path; `type` is file, directory, link or other, `mode` four octal digits."""

    type: str
    mode: str
    owner: str
    group: str
    size: int
    inode: int
    device: int
    links: int
    modified: float


@dataclass(frozen=True)
class Inspection:
    """What a program answered: its exit code and a line of its output."""

    exit: int
    says: str


@dataclass(frozen=True)
class ImageFile(File):
    """A file in one of the registry's directories: `object` is the digest of the object that it is a link to.

    `header` (hex) is its beginning; `sha256`, of all its bytes, and `inspect` are only there if they were asked for.
    """

    name: str
    object: Optional[str]
    header: Optional[str] = None
    sha256: Optional[str] = None
    inspect: Optional[Inspection] = None


@dataclass(frozen=True)
class Object:
    """Published bytes, named by their digest; `sha256` is what was read, if that was asked for."""

    size: int
    inode: int
    device: int
    sha256: Optional[str] = None


@dataclass(frozen=True)
class StagedFile:
    """A transfer that is under way, or was left behind."""

    name: str
    size: int
    modified: float


@dataclass(frozen=True)
class Filesystem:
    """What the registry lies on."""

    mount: str
    type: str
    source: str
    free: int
    total: int


@dataclass(frozen=True)
class Accounts:
    """Name -> numeric id; None for one that does not exist there."""

    users: dict[str, Optional[int]]
    groups: dict[str, Optional[int]]


@dataclass(frozen=True)
class AuthorizedKey:
    """A line of authorized_keys of who logs in: SHA-256 of the key's base64 text, and the options before it."""

    fingerprint: str
    options: str


@dataclass(frozen=True)
class Ended:
    """How a command of a project's own ended, or the start of an image: 124 when it took longer than 10 s, or 30 s of a
    start; 127 when it is not installed. `stdout` is the first 16 KiB of what it printed; what went to standard error is
    not kept."""

    returncode: int
    stdout: str


@dataclass(frozen=True)
class Host:
    """How a machine is set up. `denied`: user -> paths of the registry that it cannot read, None if that could not be
    tried; `programs`: name -> version, "" if it prints none or fails, None if it is not installed (`apptainer` may
    also be SingularityCE); `runtime`: what `container-run --check` said, None if it was not asked for or is not there.
    `commands`: how those that were asked for ended, by their text; `starts`: how images did that were started, by their
    names."""

    hostname: str
    time: float
    uid: int
    paths: dict[str, Optional[File]]
    texts: dict[str, Optional[str]]
    filesystem: Filesystem
    staging: list[StagedFile]
    accounts: Accounts
    denied: dict[str, Optional[list[str]]]
    programs: dict[str, Optional[str]]
    authorized_keys: list[AuthorizedKey]
    runtime: Optional[Inspection]
    commands: dict[str, Ended] = field(default_factory=dict)
    starts: dict[str, Ended] = field(default_factory=dict)


@dataclass(frozen=True)
class MachineFacts:
    """What lies in a machine's registry; `host` only if it was asked for."""

    objects: dict[str, Object]
    images: list[ImageFile]
    catalog_digest: Optional[str]
    host: Optional[Host] = None

    @property
    def bytes_read(self) -> int:
        """Bytes of files that were read for the answer: of each once, however many names it has."""
        files: list[Union[Object, ImageFile]] = [*self.objects.values(), *self.images]
        read = {(one.device, one.inode): one.size for one in files if one.sha256 not in (None, "unreadable")}
        return sum(read.values())

    def __repr__(self) -> str:
        return f"<MachineFacts: {len(self.images)} images, {len(self.objects)} objects>"


@dataclass(frozen=True)
class SlurmFacts:
    """Slurm's own view: node -> state; or as `error` why it gives none. `reasons`: node -> why an administrator or
    Slurm has put it into that state, and who, in words."""

    error: Optional[str] = None
    nodes: dict[str, str] = field(default_factory=dict)
    reasons: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Syncing:
    """What the controller saw of syncs: whether one was `under_way` when all was gathered, whether one ran `meanwhile`,
    and how many seconds before the catalog was written (None: there is none).
    """

    under_way: bool = False
    meanwhile: bool = False
    catalog_age: Optional[float] = None


@dataclass(frozen=True)
class Question:
    """What the agent is asked: images in `directories`; with `content`, digests of their bytes, of all or of `names`,
    and with `inspect` Apptainer's word on these; with `host`, how the machine is set up. `readers` are users who must
    be able to read the registry; `paths` and `texts` are files beside the registry's own; `runtime` is the program that
    says by `--check` whether jobs could start an image; `commands` are a project's own, by their text. With `brief`,
    only names, links, owners and modes: no object by itself, and no header. `login` is whose authorized_keys counts.
    `start` is a command that starts an image when its name is put behind it, and `started` those that a node starts;
    the controller names them, of all that are in the catalog, or of those of these names."""

    registry: str
    directories: list[str]
    content: bool = False
    names: Optional[list[str]] = None
    inspect: bool = False
    host: bool = False
    users: list[str] = field(default_factory=list)
    groups: list[str] = field(default_factory=list)
    readers: list[str] = field(default_factory=list)
    paths: list[str] = field(default_factory=list)
    texts: list[str] = field(default_factory=list)
    brief: bool = False
    runtime: Optional[str] = None
    commands: dict[str, list[str]] = field(default_factory=dict)
    start: list[str] = field(default_factory=list)
    started: Optional[list[str]] = None
    login: str = "root"


@dataclass(frozen=True)
class FactsRequest:
    """A question to the whole cluster, or to the nodes of `choice`. `nodes`: None for those that Slurm knows; at most
    `window` are asked at once.

    `wait_for_sync` and `wait_for_end` are seconds to wait first: until a sync begins, and then until none is under way.
    `texts` are files of the controller alone; `routes` is how nodes are reached, as by_node_set writes it.
    """

    nodes: Optional[list[str]]
    window: int
    connect_timeout: int
    timeout: int
    question: Question
    texts: list[str] = field(default_factory=list)
    choice: Choice = field(default_factory=Choice)
    wait_for_sync: float = 0.0
    wait_for_end: float = 0.0
    routes: dict[str, dict[str, str]] = field(default_factory=dict)
