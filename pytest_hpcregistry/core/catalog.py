"""The catalog: which name means which bytes, and where they came from. The controller writes it, the nodes copy it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from .errors import ConfigError, UsageError
from .names import DIGEST, DIRECTORY_NAME, FILE_NAME, excerpt

SCHEMA = "1"
MEND_CATALOG = "put a node's catalog in its place; until then nothing is published, synced or removed"
"""What to do where the controller's catalog cannot be read."""
SHORTEST = 6  # hex digits by which a version can be called


@dataclass(frozen=True)
class Version:
    """Bytes that a name means or meant: `digest` SHA-256 in hex, `size` in bytes, `published` in ISO 8601 (UTC), `by`
    user@host. `signature` is somebody's for core/signatures.statement, made at the time `signed`; both may be empty.
    """

    digest: str
    size: int
    published: str
    by: str
    architecture: str
    source: str = ""
    labels: Mapping[str, str] = field(default_factory=dict)
    signed: str = ""
    signature: str = ""


@dataclass(frozen=True)
class Entry(Version):
    """One image: what its name means now, and in `versions` what it meant before, newest first, no digest twice."""

    versions: tuple[Version, ...] = ()

    def history(self) -> tuple[Version, ...]:
        """The current version, then the older ones."""
        return (plain(self), *self.versions)

    def find(self, version: str | None) -> Version:
        """The version whose digest begins with *version*; None is the one before. Raises UsageError."""
        hint = "its versions: " + ", ".join(one.digest[:12] for one in self.history())
        if version is None:
            if not self.versions:
                raise UsageError("there is no older version to go back to", hint=hint)
            return self.versions[0]
        if len(version) < SHORTEST:
            raise UsageError(f"a version is at least {SHORTEST} digits of its digest, not {version!r}", hint=hint)
        found = [one for one in self.history() if one.digest.startswith(version.lower())]
        if len(found) != 1:
            raise UsageError(f"{'more than one' if found else 'no'} version begins with {version!r}", hint=hint)
        return found[0]


def plain(version: Version) -> Version:
    """Without what came before it."""
    return Version(**{name: getattr(version, name) for name in Version.__dataclass_fields__})


@dataclass(frozen=True)
class Catalog:
    """All images by name, `DIRECTORY/FILE.sif`."""

    images: Mapping[str, Entry] = field(default_factory=dict)

    def with_version(self, name: str, version: Version, keep: int) -> Catalog:
        """A catalog in which *name* means *version*; what it meant before is kept, at most *keep* older versions."""
        before = self.images.get(name)
        older = [one for one in before.history() if one.digest != version.digest] if before else []
        entry = Entry(**vars(plain(version)), versions=tuple(older[:keep]))
        return Catalog({**self.images, name: entry})

    def trimmed(self, keep: int) -> Catalog:
        """A catalog with at most *keep* older versions of each image."""
        return Catalog({name: replace(one, versions=one.versions[:keep]) for name, one in self.images.items()})

    def current(self) -> list[str]:
        """The digests that the names mean now: what every machine must have."""
        return sorted({entry.digest for entry in self.images.values()})

    def digests(self) -> list[str]:
        """Those and the older versions': what nobody may take away."""
        return sorted({one.digest for entry in self.images.values() for one in entry.history()})

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
            mistakes.append(excerpt(f"{name}: {type(error).__name__}: {error}"))
    if mistakes:
        raise ConfigError(source, mistakes)
    return Catalog(images)


def read_entry(name: str, fields: Mapping[str, Any]) -> Entry:
    directory, _, file_name = name.partition("/")
    if not DIRECTORY_NAME.match(directory) or not FILE_NAME.match(file_name):
        raise ValueError("not a name DIRECTORY/FILE.sif")
    current = read_version(fields)
    # A catalog of before there were versions has none.
    older = tuple(Version(**read_version(one)) for one in fields.get("versions") or ())
    return Entry(**current, versions=older)


def read_version(fields: Mapping[str, Any]) -> dict[str, Any]:
    if not DIGEST.match(fields["digest"]):
        raise ValueError(f"digest {fields['digest']!r} is not SHA-256 in hex")
    return {
        "digest": fields["digest"],
        "size": int(fields["size"]),
        "published": fields["published"],
        "by": fields["by"],
        "architecture": fields["architecture"],
        "source": fields.get("source", ""),
        "labels": dict(fields.get("labels") or {}),
        "signed": fields.get("signed", ""),
        "signature": fields.get("signature", ""),
    }
