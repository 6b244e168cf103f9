"""What a cluster says of itself, written by hand: facts without a cluster."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..core import layout
from ..core.catalog import Catalog, Entry
from ..core.events import CatalogPart, Event, Gathered, NodeFacts
from ..core.facts import Facts, read
from ..core.machine import Accounts, File, Filesystem, Host, ImageFile, MachineFacts, Object, SlurmFacts, Syncing

REGISTRY = "/opt/containers"
CATALOG = layout.inside(REGISTRY, layout.CATALOG)
NAME = "ml-frameworks/x.sif"
DIGEST, OTHER = "a" * 64, "b" * 64
STATUS: dict[str, Any] = {
    "type": "file", "mode": "0755", "owner": "root", "group": "slurm", "size": 10,
    "inode": 1, "device": 1, "links": 1, "modified": 0.0,
}  # fmt: skip


def entry(digest: str = DIGEST, size: int = 10) -> Entry:
    return Entry(digest, size, published="2025-10-07T12:00:00Z", by="me@laptop", architecture="amd64")


def file(**more: Any) -> File:
    """A path on a machine, with what is said of it in place of a regular file of root's."""
    return File(**{**STATUS, **more})


def image(name: str = NAME, digest: str | None = DIGEST, size: int = 10, **more: Any) -> ImageFile:
    """A file under a name; *digest* is the object that it is a link to."""
    return ImageFile(**{**STATUS, "size": size, **more}, name=name, object=digest)


def stored(size: int = 10, sha256: str | None = None) -> Object:
    """An object, and what was read of it."""
    return Object(size, inode=1, device=1, sha256=sha256)


def host(**more: Any) -> Host:
    """How a machine is set up; with nothing on it but what is said."""
    nothing: dict[str, Any] = {
        "hostname": "c1",
        "time": 0.0,
        "uid": 0,
        "paths": {},
        "texts": {},
        "filesystem": Filesystem("/", "ext4", "/dev/vda", free=1 << 40, total=1 << 41),
        "staging": [],
        "accounts": Accounts({}, {}),
        "denied": {},
        "programs": {},
        "authorized_keys": [],
        "runtime": None,
    }
    return Host(**{**nothing, **more})


def machine(
    *images: ImageFile,
    objects: Mapping[str, Object] | None = None,
    host: Host | None = None,
    catalog_digest: str | None = None,
) -> MachineFacts:
    """A machine's facts; without *objects*, those that its images are links to."""
    own = {one.object: stored(one.size) for one in images if one.object}
    return MachineFacts(dict(own if objects is None else objects), list(images), catalog_digest, host)


def events(
    nodes: Mapping[str, MachineFacts | str],
    *,
    images: Mapping[str, Entry] | None = None,
    catalog: str | None = None,
    controller: MachineFacts | None = None,
    syncing: Syncing | None = None,
    slurm: SlurmFacts | None = None,
) -> list[Event]:
    """What the controller program answers to a question. Of *nodes* a text is the reason why one could not be asked.

    The *catalog* is a text, or made of *images*; the controller has all of them, unless it is said what it has.
    """
    wanted = {NAME: entry()} if images is None else images
    text = Catalog(wanted).to_text() if catalog is None else catalog
    own = controller or machine(*(image(name, one.digest, one.size) for name, one in wanted.items()))
    told: list[Event] = [
        NodeFacts(node, unreachable=one, hint="") if isinstance(one, str) else NodeFacts(node, one)
        for node, one in nodes.items()
    ]
    return [*told, CatalogPart(text), Gathered(len(nodes), own, syncing or Syncing(), slurm)]


def gathered(nodes: Mapping[str, MachineFacts | str], **more: Any) -> Facts:
    """The facts of a cluster; see `events`."""
    return read(events(nodes, **more), REGISTRY)
