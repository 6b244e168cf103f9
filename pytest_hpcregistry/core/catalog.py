"""The catalog: which name means which bytes, and where they came from. The controller writes it, the nodes copy it.

Its file is YAML of the kind that is JSON too, one version on a line: thousands of images are read in a fraction of a
second, where YAML of another kind takes seconds for each MB. Other YAML is read as well, up to documents.SIZE_LIMIT.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any

from . import documents
from .errors import ConfigError, UsageError
from .fields import nearest_image, perhaps
from .history import TIME
from .names import DIGEST, DIRECTORY_NAME, FILE_NAME, excerpt

SCHEMA = "1"
LARGEST = 32 << 20
"""Bytes of a catalog: 5,000 images with two older versions each, and 2 KiB for each version; agent/requests.py too."""
HALF = re.compile(r"\\u[dD][89a-fA-F]")
SIZE = re.compile(r"[0-9]{1,18}\Z")
MEND_CATALOG = "put a node's catalog in its place; until then nothing is published, synced or removed"
"""What to do where the controller's catalog cannot be read."""
KEEP_FEWER = "keep fewer versions: hpc-container-manager gc --keep 1, and registry.keep in the cluster file"
SEE_CATALOG = "see: hpc-container-manager catalog list"
REMEMBERED = 2
"""Calendar years, from one to less than three, that a removed image is remembered after its bytes have gone."""
SHORTEST = 6  # hex digits by which a version can be called


@dataclass(frozen=True)
class Version:
    """Bytes that a name means or meant: `digest` SHA-256 in hex, `size` in bytes, `published` in ISO 8601 (UTC), `by`
    user@host. `signature` is somebody's for core/signatures.statement, made at the time `signed`; both may be empty.
    `left_out` names the labels that were too long for the catalog.
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
    left_out: tuple[str, ...] = ()


KEYS = tuple(one.name for one in fields(Version))
NEEDED = ("digest", "size", "published", "by", "architecture")
TEXTS = frozenset(KEYS) - {"size", "labels", "left_out"}


@dataclass(frozen=True)
class Entry(Version):
    """One image: what its name means now, and in `versions` what it meant before, newest first, no digest twice."""

    versions: tuple[Version, ...] = ()

    def __repr__(self) -> str:
        return f"<Entry sha256:{self.digest[:12]}, {self.size} bytes, {len(self.versions)} older>"

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


@dataclass(frozen=True)
class Removed:
    """What a name meant that was removed: at the time `removed`, by whom. Its bytes are kept until `until`; `freed` is
    when gc has let go of them, "" before. Times in UTC (RFC 3339).

    It stays in the catalog after that, for a node that was away: its name goes by the digests here.
    """

    entry: Entry
    removed: str
    by: str
    until: str
    freed: str = ""

    def digests(self) -> list[str]:
        return [one.digest for one in self.entry.history()]

    def let_go(self, now: str) -> Removed:
        """The same without its bytes: what is left says which they were."""
        empty: dict[str, Any] = {"source": "", "labels": {}, "left_out": (), "signed": "", "signature": ""}
        current, *older = (replace(one, **empty) for one in self.entry.history())
        return replace(self, entry=Entry(**vars(current), versions=tuple(older)), freed=now)


REMOVED_TEXTS = ("removed", "by", "until", "freed")


def unknown_image(name: str, known: Iterable[str]) -> UsageError:
    """The error for an image that is none of the catalog's, the *known* ones, with what was meant, perhaps."""
    near = perhaps(nearest_image(name, known))
    return UsageError(f"{excerpt(name)} is not in the catalog{'.' * bool(near)}{near}", hint=SEE_CATALOG)


def plain(version: Version) -> Version:
    """Without what came before it."""
    return Version(**{name: getattr(version, name) for name in KEYS})


@dataclass(frozen=True)
class Catalog:
    """All images by name, `DIRECTORY/FILE.sif`; and those that were removed, of which no name is in `images`."""

    images: Mapping[str, Entry] = field(default_factory=dict)
    removed: Mapping[str, Removed] = field(default_factory=dict)

    def __repr__(self) -> str:
        return f"<Catalog: {len(self.images)} images>"

    def with_version(self, name: str, version: Version, keep: int) -> Catalog:
        """A catalog in which *name* means *version*; what it meant before is kept, at most *keep* older versions. That
        it was removed is over.
        """
        gone = self.removed.get(name)
        before = gone.entry if gone and not gone.freed else self.images.get(name)
        older = [one for one in before.history() if one.digest != version.digest] if before else []
        entry = Entry(**vars(plain(version)), versions=tuple(older[:keep]))
        return Catalog({**self.images, name: entry}, without(self.removed, [name]))

    def with_removed(self, names: Iterable[str], *, now: str, by: str, until: str) -> Catalog:
        """A catalog in which *names*, which must be in it, are removed."""
        gone = {name: Removed(self.images[name], now, by, until) for name in names}
        return Catalog(without(self.images, gone), {**self.removed, **gone})

    def trimmed(self, keep: int, now: str) -> Catalog:
        """A catalog with at most *keep* older versions of each image, which has let go of removed ones whose time has
        come, and forgotten those of long ago.
        """
        images = {name: replace(one, versions=one.versions[:keep]) for name, one in self.images.items()}
        after = {name: one if one.freed or one.until > now else one.let_go(now) for name, one in self.removed.items()}
        return Catalog(images, {name: one for name, one in after.items() if not is_forgotten(one, now)})

    def current(self) -> list[str]:
        """The digests that the names mean now: what every machine must have."""
        return sorted({entry.digest for entry in self.images.values()})

    def digests(self) -> list[str]:
        """Those, the older versions' and the removed images': what nobody may take away."""
        kept = [*self.images.values(), *(one.entry for one in self.removed.values() if not one.freed)]
        return sorted({one.digest for entry in kept for one in entry.history()})

    def to_text(self) -> str:
        """What its file holds. Raises UsageError when something in it is not Unicode."""
        images = (f"{dumps(name)}: {entry_text(entry)}" for name, entry in sorted(self.images.items()))
        gone = [f"{dumps(name)}: {removed_text(one)}" for name, one in sorted(self.removed.items())]
        # Programs of before there were removed images pass over that key.
        removed = '}, "removed": {\n' + ",\n".join(gone) + "\n" if gone else ""
        text = f'{{"version": "{SCHEMA}", "images": {{\n' + ",\n".join(images) + f"\n{removed}}}}}\n"
        if not documents.is_unicode(text):
            raise UsageError("a text that is not Unicode cannot be written to the catalog")
        return text


def entry_text(entry: Entry) -> str:
    """One version on a line; what is empty is left out."""
    current, *older = (version_text(one) for one in (entry, *entry.versions))
    return current[:-1] + ', "versions": [\n  ' + ",\n  ".join(older) + "]}" if older else current


def removed_text(removed: Removed) -> str:
    texts = {key: value for key in REMOVED_TEXTS if (value := getattr(removed, key))}
    return dumps(texts)[:-1] + ', "image": ' + entry_text(removed.entry) + "}"


def without(found: Mapping[str, Any], names: Iterable[str]) -> dict[str, Any]:
    left_out = set(names)
    return {name: one for name, one in found.items() if name not in left_out}


def is_forgotten(removed: Removed, now: str) -> bool:
    """Whether a removed image was let go of so long ago that no node is waited for any more."""
    return bool(removed.freed) and int(removed.freed[:4]) + REMEMBERED < int(now[:4])


def version_text(version: Version) -> str:
    return dumps({key: value for key in KEYS if (value := getattr(version, key)) or key in NEEDED})


def dumps(value: Any) -> str:
    """JSON on one line that YAML takes for the same, and that holds nothing that a terminal would obey."""
    text = json.dumps(value, ensure_ascii=False)
    return text if text.isprintable() else "".join(map(escaped, text))


def escaped(char: str) -> str:
    return char if char.isprintable() or not documents.is_unicode(char) else json.dumps(char)[1:-1]


def check_size(text: str | bytes, source: str) -> None:
    """Raise ConfigError for a catalog that is too large."""
    size = len(text.encode()) if isinstance(text, str) else len(text)
    if size > LARGEST:
        raise ConfigError(source, [f"larger than {LARGEST >> 20} MiB"], hint=KEEP_FEWER)


def from_text(text: str, source: str) -> Catalog:
    """The catalog that the *text* of its file means. Raises ConfigError with every mistake."""
    check_size(text, source)
    try:
        # All scalars are text, as in YAML of ours: and no number takes hours to read (CVE-2020-10735).
        data = json.loads(text, object_pairs_hook=unique, parse_int=str, parse_float=str, parse_constant=str)
        if HALF.search(text):
            json.dumps(data, ensure_ascii=False).encode()
    except json.JSONDecodeError as error:
        if len(text) <= documents.SIZE_LIMIT:  # written by phase 1 or by a version of before, or changed by hand
            return from_data(documents.load(text, source), source)
        raise ConfigError(source, [f"{source}:{error.lineno}: {error.msg}"]) from None
    except UnicodeEncodeError:
        raise ConfigError(source, ["half of a surrogate pair; write the character itself"]) from None
    except (ValueError, RecursionError) as error:
        raise ConfigError(source, [excerpt(str(error))]) from None
    return from_data(data, source)


def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object of JSON. Raises ValueError when a key is there twice: what would be dropped may be what was meant."""
    found = dict(pairs)
    if len(found) != len(pairs):
        names = [name for name, _ in pairs]
        raise ValueError(f"{next(name for name in found if names.count(name) > 1)!r} is there twice")
    return found


def from_data(data: Any, source: str) -> Catalog:
    """The catalog that plain data means, of which all scalars are text. Raises ConfigError with every mistake."""
    mistakes: list[str] = []
    if not isinstance(data, dict) or data.get("version") != SCHEMA:
        found = data.get("version") if isinstance(data, dict) else None
        raise ConfigError(source, [f"version is {found!r}, and this program writes version {SCHEMA!r}"])
    images: dict[str, Entry] = read_each(data.get("images") or {}, "images", read_entry, mistakes)
    removed: dict[str, Removed] = read_each(data.get("removed") or {}, "removed", read_removed, mistakes)
    mistakes += [f"{name}: in images and in removed" for name in sorted(images.keys() & removed.keys())]
    if mistakes:
        raise ConfigError(source, mistakes)
    return Catalog(images, removed)


def read_each(entries: Any, key: str, read: Callable[[str, Any], Any], mistakes: list[str]) -> dict[str, Any]:
    """What stands in the catalog under *key*, by name; what is wrong with it is added to *mistakes*."""
    if not isinstance(entries, dict):
        mistakes.append(f"{key} must be a mapping of names")
        return {}
    found: dict[str, Any] = {}
    for name, entry in entries.items():
        try:
            found[name] = read(name, entry)
        except (KeyError, TypeError, ValueError) as error:
            mistakes.append(excerpt(f"{name}: {type(error).__name__}: {error}"))
    return found


def read_removed(name: str, found: Mapping[str, Any]) -> Removed:
    texts = {key: found[key] for key in REMOVED_TEXTS if key in found or key != "freed"}
    for key, value in texts.items():
        if not isinstance(value, str) or (key != "by" and not TIME.match(value)):
            raise ValueError(f"{key} {value!r} is not in its form")
    return Removed(read_entry(name, found["image"]), **texts)


def read_entry(name: str, found: Mapping[str, Any]) -> Entry:
    directory, _, file_name = name.partition("/")
    if not DIRECTORY_NAME.match(directory) or not FILE_NAME.match(file_name):
        raise ValueError("not a name DIRECTORY/FILE.sif")
    current = read_version(found)
    # A catalog of before there were versions has none.
    older = tuple(Version(**read_version(one)) for one in found.get("versions") or ())
    return Entry(**current, versions=older)


def read_version(given: Mapping[str, Any]) -> dict[str, Any]:
    if not DIGEST.match(given["digest"]):
        raise ValueError(f"digest {given['digest']!r} is not SHA-256 in hex")
    if not SIZE.match(str(given["size"])):
        raise ValueError(f"not a number of bytes: size {given['size']!r}")
    texts = {key: given[key] for key in TEXTS if key in given or key in NEEDED}
    labels = dict(given.get("labels") or {})
    left_out = tuple(given.get("left_out") or ())
    for value in (*texts.values(), *labels.values(), *left_out):
        if not isinstance(value, str):
            raise TypeError(f"{value!r} is not a text")
    return {**texts, "size": int(given["size"]), "labels": labels, "left_out": left_out}
