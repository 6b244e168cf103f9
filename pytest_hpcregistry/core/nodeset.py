"""Node sets in ClusterShell's syntax, `c[001-064]`. The one home of ClusterShell.

It is imported where it is used: out of an archive it is compiled anew each time, and many programs fold no nodes.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable
from dataclasses import dataclass
from typing import TypeVar

from .errors import UsageError
from .names import CONTROLLER

Key = TypeVar("Key", bound=Hashable)


@dataclass(frozen=True)
class Choice:
    """Which of a cluster's nodes are meant: of the node set `only` (empty: all of them), and not of `exclude`."""

    only: str = ""
    exclude: str = ""


def expand(text: str, *, groups: bool = False) -> list[str]:
    """`c[001-003],login` -> the names, in order. Raises UsageError for text that is no node set.

    With *groups* also `@gpu`, as ClusterShell's configuration on this machine has it: groups.conf(5).
    """
    from ClusterShell.NodeSet import RESOLVER_NOGROUP, NodeSet, NodeSetException
    from ClusterShell.NodeUtils import GroupResolverError

    try:
        return list(NodeSet(text, resolver=None if groups else RESOLVER_NOGROUP))
    except (NodeSetException, GroupResolverError) as error:
        raise UsageError(f"{text!r} is not a node set: {error}", hint="write for example c[001-064],gpu01") from None


def fold(names: Iterable[str]) -> str:
    """Names -> the shortest node set that means them."""
    from ClusterShell.NodeSet import RESOLVER_NOGROUP, NodeSet

    return str(NodeSet.fromlist(list(names), resolver=RESOLVER_NOGROUP))


def group_by(names: Iterable[str], key: Callable[[str], Key]) -> dict[Key, list[str]]:
    """The names that have the same key, in their order."""
    groups: dict[Key, list[str]] = {}
    for name in names:
        groups.setdefault(key(name), []).append(name)
    return groups


def fold_by(names: Iterable[str], key: Callable[[str], Key]) -> dict[Key, str]:
    """For each key, the node set of the names that have it: `{"no route": "c[002-003]"}`."""
    return {one: fold(group) for one, group in group_by(names, key).items()}


def fold_machines(machines: list[str]) -> str:
    """The controller first, then the nodes as a node set."""
    nodes = [machine for machine in machines if machine != CONTROLLER]
    parts = [CONTROLLER] if CONTROLLER in machines else []
    return ",".join(parts + ([fold(nodes)] if nodes else []))
