"""What a cache of this machine holds, and what that takes on the disk.

Sizes are bytes as du(1) counts them, before and after: nothing is taken from what a program says of itself, but where
its files cannot be read.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from ...transports import Transport

SHORT, LONG = 60.0, 900.0
"""Seconds to ask a program something, and for what reads or removes many files."""


@dataclass(frozen=True)
class Entry:
    """What goes as a whole. `made` is in seconds since 1970.

    `parts` are the bytes of each of its paths, some of which another entry may need too; one that is no absolute path
    is what a program says that the entry takes. `remove` removes it, or of it what is older than a number of days; it
    raises HpcRegistryError, as it does for what is `used` now.
    """

    name: str
    made: float
    parts: Mapping[str, int]
    remove: Callable[[int | None], None]
    used: bool = False


@dataclass(frozen=True)
class Cache:
    """A cache of this machine. `missing` says why it is not there, and is empty if it is."""

    name: str
    path: str = ""
    entries: Sequence[Entry] = ()
    missing: str = ""


def size_of(entries: Iterable[Entry]) -> int:
    """Bytes of all together; what they share counts once."""
    return sum({path: size for entry in entries for path, size in entry.parts.items()}.values())


def measure(paths: Iterable[str], here: Transport) -> dict[str, int]:
    """Bytes on the disk of each path that is there and can be read."""
    wanted = [path for path in paths if path.startswith("/")]
    if not wanted:
        return {}
    # Its exit code tells only that something is not there or cannot be read.
    argv = ["du", "--summarize", "--block-size=1", "--null", "--", *wanted]
    lines = here.run(argv, timeout=LONG).stdout.split("\0")
    return {path: int(size) for size, tab, path in (line.partition("\t") for line in lines) if tab}
