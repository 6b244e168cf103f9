"""shared: the registry lies on a file system that all machines share. Nothing moves; every node must see it."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

from ...core.errors import HpcRegistryError
from ...core.fanout import fan_out

if TYPE_CHECKING:
    from . import Job

Outcome = TypeVar("Outcome")


def distribute(job: Job[Outcome]) -> dict[str, Outcome | HpcRegistryError]:
    """See engines.Engine. `arrived` waits until the node sees what the controller has published."""

    def look(node: str) -> Outcome:
        try:
            return job.arrived(node)
        finally:
            job.leave(node)

    return fan_out(job.wanted, look, window=job.settings.sync.window, on_error=job.failed)
