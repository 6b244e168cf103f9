"""One function on many nodes at once: a mapping node -> result, in which nothing is lost when one node fails."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor, as_completed
from typing import TypeVar

from .errors import HpcRegistryError

Result = TypeVar("Result")


def fan_out(
    nodes: Iterable[str], work: Callable[[str], Result], *, window: int
) -> dict[str, Result | HpcRegistryError]:
    """Call *work* for each node, at most *window* at a time; an HpcRegistryError becomes that node's result."""
    names = list(nodes)
    with ThreadPoolExecutor(max_workers=max(1, min(window, len(names)))) as pool:
        started = {pool.submit(work, name): name for name in names}
        results: dict[str, Result | HpcRegistryError] = {}
        for future in as_completed(started):
            try:
                results[started[future]] = future.result()
            except HpcRegistryError as error:
                results[started[future]] = error
    return {name: results[name] for name in names}
