"""What two images have in common, and not: the packages that were added, removed, or changed their version."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass

from .packages import Package


@dataclass(frozen=True, order=True)
class Change:
    """A package whose versions differ. There may be several of one: each Python environment has its own."""

    kind: str
    name: str
    old: tuple[str, ...]
    new: tuple[str, ...]

    @property
    def state(self) -> str:
        """In a word."""
        if not self.old:
            return "added"
        return "changed" if self.new else "removed"


def compare(old: Iterable[Package], new: Iterable[Package]) -> list[Change]:
    """The packages that differ, in the order of their names."""
    before, after = versions(old), versions(new)
    changes = [
        Change(*package, tuple(sorted(before[package])), tuple(sorted(after[package])))
        for package in before.keys() | after.keys()
        if before[package] != after[package]
    ]
    return sorted(changes)


def versions(packages: Iterable[Package]) -> defaultdict[tuple[str, str], set[str]]:
    found: defaultdict[tuple[str, str], set[str]] = defaultdict(set)
    for one in packages:
        found[one.kind, one.name].add(one.version)
    return found
