"""One function on many nodes at once: a mapping node -> result, in which nothing is lost when one node fails."""

from __future__ import annotations

import functools
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from typing import TypeVar

from .errors import CommandFailed, HpcRegistryError
from .names import visible

Result = TypeVar("Result")
PATIENCE = 0.5
"""Shortest time in seconds that a round waits for late nodes."""
TICK = 0.1  # seconds between two looks at a round
MOST_ROUNDS = 100  # that are served at once


def fan_out(
    nodes: Iterable[str],
    work: Callable[[str], Result],
    *,
    window: int,
    on_error: Callable[[str, HpcRegistryError], None] | None = None,
) -> dict[str, Result | HpcRegistryError]:
    """Call *work* for each node, at most *window* at a time; an error becomes that node's result.

    *on_error* gets an error at once, in whichever thread.
    """
    names = list(nodes)
    with ThreadPoolExecutor(max_workers=max(1, min(window, len(names)))) as pool:
        started: dict[str, Future[Result]] = {name: pool.submit(work, name) for name in names}
        for name, future in started.items() if on_error else ():
            future.add_done_callback(functools.partial(tell_error, name, on_error))
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


def serve_rounds(
    rounds: Iterable[Mapping[str, Result | HpcRegistryError]],
    serve: Callable[[Mapping[str, Result | HpcRegistryError]], None],
    *,
    is_finished: Callable[[str], bool],
    may_be_left: float,
) -> None:
    """Serve one round after the other, each in a thread of its own, and return when all have ended.

    The next begins when all nodes of the one before are finished but a share of them (*may_be_left*; one node at the
    least, unless it is 0), so that one that does not come to its end keeps nobody waiting. An error of *serve* is
    raised at the end.
    """
    with ThreadPoolExecutor(MOST_ROUNDS) as pool:
        started = []
        for nodes in rounds:
            served = pool.submit(serve, nodes)
            started.append(served)
            few = max(1.0, len(nodes) * may_be_left) if may_be_left else 0.0
            while sum(not is_finished(node) for node in nodes) > few and not served.done():
                wait([served], timeout=TICK)
    for served in started:
        served.result()


def tell_error(name: str, on_error: Callable[[str, HpcRegistryError], None] | None, future: Future[Result]) -> None:
    result = result_of(name, future)
    if on_error and isinstance(result, HpcRegistryError):
        on_error(name, result)


def result_of(name: str, future: Future[Result]) -> Result | HpcRegistryError:
    """What became of one node. Whatever went wrong, of whatever class, is that node's own failure."""
    try:
        return future.result()
    except HpcRegistryError as error:
        return error
    except Exception as error:
        return CommandFailed(f"an unforeseen error: {visible(f'{type(error).__name__}: {error}')[:300]}", where=name)
