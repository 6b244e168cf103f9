"""A listener that keeps what it was told."""

from __future__ import annotations

from typing import Any

from ..core.events import Event, Listener
from ..core.wire import to_data


def recorder(told: list[Any]) -> Listener:
    """Append each event to *told*, as the plain data that a wire carries."""

    def listen(event: Event) -> None:
        told.append(to_data(event))

    return listen
