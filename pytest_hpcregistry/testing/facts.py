"""What a cluster would tell of itself, written by hand: the data of facts.read without a cluster."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..core import documents, layout
from ..core.catalog import Catalog, Entry

REGISTRY = "/opt/containers"
CATALOG = layout.inside(REGISTRY, layout.CATALOG)
NAME = "ml-frameworks/x.sif"
DIGEST, OTHER = "a" * 64, "b" * 64


def entry(digest: str = DIGEST, size: int = 10) -> Entry:
    return Entry(digest, size, published="2025-10-07T12:00:00Z", by="me@laptop", architecture="amd64")


def image(name: str = NAME, digest: str | None = DIGEST, size: int = 10, **more: Any) -> dict[str, Any]:
    """A file under a name; *digest* is the object that it is a link to."""
    return {"name": name, "object": digest, "size": size, "type": "file", **more}


def machine(*images: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"images": list(images), "paths": {}, "texts": {}, "objects": {}, **more}


def gathered(
    nodes: Mapping[str, Any], *, images: Mapping[str, Entry] | None = None, catalog: str | None = None
) -> dict[str, Any]:
    """The answer of the controller program; the controller has every image of its catalog."""
    wanted = {NAME: entry()} if images is None else images
    text = documents.dump(Catalog(wanted).to_data()) if catalog is None else catalog
    own = [image(name, one.digest, one.size) for name, one in wanted.items()]
    return {"controller": machine(*own, texts={CATALOG: text}), "nodes": dict(nodes)}
