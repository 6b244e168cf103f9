"""How a command that changes nodes, or would, is shown, and how it ends."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from ..cluster.outcomes import raise_worst, sync_failures, sync_shortfall
from ..core.coverage import Required
from ..core.errors import HpcRegistryError
from ..core.events import Event, Listener, NodeFinished
from ..report import lines
from . import output
from .show import say, show, shown


@contextmanager
def listening(dry_run: bool) -> Iterator[Listener]:
    """A listener for its events. Of a dry run, nodes of which the same is true are one line, and the last says that
    nothing was changed.
    """
    if output.current.as_json or not dry_run:
        with shown() as listener:
            yield listener
    else:
        held: list[NodeFinished] = []

        def listen(event: Event) -> None:
            if isinstance(event, NodeFinished):
                held.append(event)
            else:
                show(event)

        yield listen
        for line in lines.nodes_finished(held):
            say(line)
        say("  nothing was changed")


def end(finished: Mapping[str, NodeFinished], what: str, required: Required | None = None) -> None:
    """Raise what the worst on any node was, too few nodes for what is *required*, and HpcRegistryError where there is
    none at all.
    """
    raise_worst([*sync_failures(finished), *sync_shortfall(finished, required)])
    if not finished:
        raise HpcRegistryError(f"the {what} reported no node, so nothing is proven")
