"""What became of one node in a sync."""

from __future__ import annotations

from dataclasses import dataclass

from ..core.errors import HpcRegistryError, Unreachable
from ..core.events import NOT_COUNTED


@dataclass(frozen=True)
class Outcome:
    """What became of one node, as in the event NodeFinished. `bytes` moved, in `seconds`."""

    state: str
    objects: int = 0
    bytes: int = 0
    seconds: float = 0.0
    message: str = ""
    hint: str = ""
    removed: list[str] | None = None
    names: list[str] | None = None
    engine: str | None = None


def failure_of(node: str, error: HpcRegistryError, out_of_service: str = "") -> Outcome:
    if out_of_service and isinstance(error, Unreachable):
        return Outcome(NOT_COUNTED, message=out_of_service)
    state = "unreachable" if isinstance(error, Unreachable) else "failed"
    return Outcome(state, message=error.reason(node), hint=error.hint)
