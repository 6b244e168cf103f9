"""The caches that images fill on this machine: what is in them, and how they are emptied. Workstation; Python 3.11."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from ...core.errors import HpcRegistryError
from ...transports import Transport
from ...transports.local import LocalTransport
from ..making.build import TOOLS
from .directories import find_apptainer, find_own
from .entry import Cache, Entry, measure, size_of
from .stored import find_images

DAY = 86400.0
IN_USE = re.compile(r"\b(in use|used by)\b")


@dataclass(frozen=True)
class Cleaned:
    """What came of an entry: `freed` bytes, and why it was `left`, if it was."""

    cache: str
    name: str
    freed: int
    left: str = ""

    @property
    def failed(self) -> bool:
        """Whether it was left for another reason than that somebody uses it."""
        return bool(self.left) and not IN_USE.search(self.left)


def find_caches(here: Transport | None = None) -> list[Cache]:
    """Ours, Apptainer's, and the images that Podman and Docker hold of ours."""
    here = here or LocalTransport()
    return [find_own(here), find_apptainer(here), *(find_images(tool, here) for tool in TOOLS)]


def choose(caches: Sequence[Cache], days: int | None, keep_below: int | None) -> list[tuple[Cache, Entry]]:
    """What is to be removed, the oldest first.

    With *days* only what is older, with *keep_below* no more than brings all together to so many bytes or fewer.
    """
    there = sorted(((cache, one) for cache in caches for one in cache.entries), key=lambda pair: pair[1].made)
    for count, (_, entry) in enumerate(there):
        if days is not None and entry.made > time.time() - days * DAY:
            return there[:count]
        if keep_below is not None and size_of(one for _, one in there[count:]) <= keep_below:
            return there[:count]
    return there


def would_free(caches: Sequence[Cache], chosen: Sequence[tuple[Cache, Entry]]) -> int:
    """Bytes that go with what was chosen; fewer do where images that are not ours share their layers."""
    entries = [one for cache in caches for one in cache.entries]
    goes = [entry for _, entry in chosen]
    return size_of(entries) - size_of(one for one in entries if one not in goes)


def clean(chosen: Sequence[tuple[Cache, Entry]], days: int | None, here: Transport | None = None) -> Iterator[Cleaned]:
    """Remove what was chosen, and measure after each what that freed."""
    for cache, entry in chosen:
        left = ""
        try:
            entry.remove(days)
        except HpcRegistryError as error:
            left = error.what
        after = measure(entry.parts, here or LocalTransport())
        if left:  # a part that is no path is still there
            after |= {part: size for part, size in entry.parts.items() if not part.startswith("/")}
        yield Cleaned(cache.name, entry.name, size_of([entry]) - sum(after.values()), left)
