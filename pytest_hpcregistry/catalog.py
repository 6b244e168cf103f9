"""The catalog: which name means which bytes, and where they came from. The controller writes it, the nodes copy it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from .errors import ConfigError
from .naming import DIGEST, DIRECTORY_NAME, FILE_NAME

SCHEMA = "1"


@dataclass(frozen=True)
class Entry:
    """One image. `digest` is SHA-256 in hex, `size` in bytes, `published` in ISO 8601 (UTC), `by` is user@host."""

    digest: str
    size: int
    published: str
    by: str
    architecture: str
    source: str = ""
    labels: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Catalog:
    """All images by name, `DIRECTORY/FILE.sif`."""

    images: Mapping[str, Entry] = field(default_factory=dict)

    def with_entry(self, name: str, entry: Entry) -> Catalog:
        """A catalog that also holds *entry*, in place of what was under *name*."""
        return Catalog({**self.images, name: entry})

    def to_data(self) -> dict[str, Any]:
        """Plain data for documents.dump, names in order."""
        images = {name: asdict(entry) for name, entry in sorted(self.images.items())}
        return {"version": SCHEMA, "images": images}


def from_data(data: Any, source: str) -> Catalog:
    """Read what `to_data` wrote (all scalars as text). Raises ConfigError with every mistake."""
    mistakes: list[str] = []
    if not isinstance(data, dict) or data.get("version") != SCHEMA:
        found = data.get("version") if isinstance(data, dict) else None
        raise ConfigError(source, [f"version is {found!r}, and this program writes version {SCHEMA!r}"])
    images: dict[str, Entry] = {}
    entries = data.get("images") or {}
    if not isinstance(entries, dict):
        raise ConfigError(source, ["images must be a mapping of names"])
    for name, fields in entries.items():
        try:
            images[name] = read_entry(name, fields)
        except (KeyError, TypeError, ValueError) as error:
            mistakes.append(f"{name}: {type(error).__name__}: {error}")
    if mistakes:
        raise ConfigError(source, mistakes)
    return Catalog(images)


def read_entry(name: str, fields: Mapping[str, Any]) -> Entry:
    directory, _, file_name = name.partition("/")
    if not DIRECTORY_NAME.match(directory) or not FILE_NAME.match(file_name):
        raise ValueError("not a name DIRECTORY/FILE.sif")
    if not DIGEST.match(fields["digest"]):
        raise ValueError(f"digest {fields['digest']!r} is not SHA-256 in hex")
    return Entry(
        digest=fields["digest"],
        size=int(fields["size"]),
        published=fields["published"],
        by=fields["by"],
        architecture=fields["architecture"],
        source=fields.get("source", ""),
        labels=dict(fields.get("labels") or {}),
    )
