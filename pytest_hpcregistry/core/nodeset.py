"""Node sets in ClusterShell's syntax, `c[001-064]`. The one home of ClusterShell."""

from __future__ import annotations

from collections.abc import Iterable

from ClusterShell.NodeSet import RESOLVER_NOGROUP, NodeSet, NodeSetException

from .errors import UsageError


def expand(text: str) -> list[str]:
    """`c[001-003],login` -> the names, in order. Raises UsageError for text that is no node set."""
    try:
        return list(NodeSet(text, resolver=RESOLVER_NOGROUP))
    except NodeSetException as error:
        raise UsageError(f"{text!r} is not a node set: {error}", hint="write for example c[001-064],gpu01") from None


def fold(names: Iterable[str]) -> str:
    """Names -> the shortest node set that means them."""
    return str(NodeSet.fromlist(list(names), resolver=RESOLVER_NOGROUP))
