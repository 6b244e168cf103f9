"""Events on a wire: one line of JSON each, {"event": its kind, …fields…}.

A kind is the class's name, as `node_finished`. Versions of the program may differ: kinds and keys that are not known
here are passed over, and a field whose default is None is left out where it has none.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

from .events import Event
from .records import build, plain


def kind_of(event: Event | type[Event]) -> str:
    """`node_finished` of a NodeFinished."""
    cls = event if isinstance(event, type) else type(event)
    return re.sub(r"(?<!^)(?=[A-Z])", "_", cls.__name__).lower()


KINDS = {kind_of(cls): cls for cls in Event.__subclasses__()}


def to_data(event: Event) -> dict[str, Any]:
    """An event as plain data for JSON."""
    return {"event": kind_of(event), **plain(event)}


def to_line(event: Event) -> str:
    """An event as one line of JSON: ASCII, control characters escaped."""
    return json.dumps(to_data(event))


def from_line(line: str) -> Event | None:
    """The event of a line; None for anything else that a login prints, and for a kind that is not known here.

    Raises ValueError when a known one has other fields than it must.
    """
    if not line.startswith("{"):
        return None
    try:
        data = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return from_data(data) if isinstance(data, dict) else None


def from_data(data: Mapping[str, Any]) -> Event | None:
    """The other way round than to_data; as from_line."""
    kind = data.get("event")
    cls = KINDS.get(kind) if isinstance(kind, str) else None
    event: Event | None = build(cls, data, str(kind)) if cls else None
    return event
