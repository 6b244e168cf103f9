"""One function on many nodes at once: a mapping node -> result, in which nothing is lost when one node fails."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from typing import TypeVar

from .errors import CommandFailed, HpcRegistryError
from .naming import visible

Result = TypeVar("Result")
PATIENCE = 0.5
"""Seconds that those who have answered wait at least for those who have not."""


def fan_out(
    nodes: Iterable[str], work: Callable[[str], Result], *, window: int
) -> dict[str, Result | HpcRegistryError]:
    """Call *work* for each node, at most *window* at a time; an error becomes that node's result."""
    names = list(nodes)
    with ThreadPoolExecutor(max_workers=max(1, min(window, len(names)))) as pool:
        started: dict[str, Future[Result]] = {name: pool.submit(work, name) for name in names}
    results: dict[str, Result | HpcRegistryError] = {}
    for name, future in started.items():
        outcome = result_of(name, future)
        results[name] = outcome
    return results


def in_rounds(
    nodes: Iterable[str], work: Callable[[str], Result], *, window: int
) -> Iterator[dict[str, Result | HpcRegistryError]]:
    """As fan_out, but a node that is late does not hold the others up: it is in a later round.

    A round ends when every node has answered, or when nothing came for as long as all answers of it took together.
    While the caller works on one round, the answers for the next come in.
    """
    names = list(nodes)
    with ThreadPoolExecutor(max_workers=max(1, min(window, len(names)))) as pool:
        started: dict[Future[Result], str] = {pool.submit(work, name): name for name in names}
        waiting = set(started)
        while waiting:
            results: dict[str, Result | HpcRegistryError] = {}
            began = time.monotonic()
            patience = None
            while waiting:
                done, waiting = wait(waiting, timeout=patience, return_when=FIRST_COMPLETED)
                if not done:
                    break
                for future in done:
                    outcome = result_of(started[future], future)
                    results[started[future]] = outcome
                patience = max(PATIENCE, time.monotonic() - began)
            yield {name: results[name] for name in names if name in results}


def result_of(name: str, future: Future[Result]) -> Result | HpcRegistryError:
    """What became of one node. Whatever went wrong, of whatever class, is that node's own failure."""
    try:
        return future.result()
    except HpcRegistryError as error:
        return error
    except Exception as error:
        return CommandFailed(f"{name}: an unforeseen error: {visible(f'{type(error).__name__}: {error}')[:300]}")
