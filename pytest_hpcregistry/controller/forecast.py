"""What a sync would cost, for a dry run: logins, bytes, and how long by the rate of the last transfers."""

from __future__ import annotations

import re
from collections.abc import Mapping
from statistics import median

from ..core.errors import UsageError
from ..core.history import OK, Record
from ..core.messages import count
from ..core.nodeset import expand
from ..core.pace import amount, duration
from .outcome import Outcome
from .recall import recall

LAST = 5  # transfers by one engine, of which the median counts
LEAST = 1_000_000  # bytes; what less took says more of logins than of the network
LOOKED_AT = 200  # records of the history


def forecast(registry: str, outcomes: Mapping[str, Outcome], limit_rate: int) -> list[str]:
    """Lines of what was planned."""
    planned = [one for one in outcomes.values() if one.state == "planned" and one.bytes]
    sending = [one for one in planned if one.engine == "star"]
    rsync = f", and {len(sending)} for rsync" if sending else ""
    lines = [f"{count(len(outcomes), 'login')}, one a node{rsync}"]
    if planned:
        lines.append(in_time(registry, planned, limit_rate))
    return lines


def in_time(registry: str, planned: list[Outcome], limit_rate: int) -> str:
    """`45.9 MB in about 0:12, by the rate of the last transfers (star 4.1 MB/s)`."""
    records, _ = recall(registry, last=LOOKED_AT)
    size, seconds, rates = sum(one.bytes for one in planned), 0.0, []
    for engine in sorted({one.engine or "" for one in planned}):
        known = [rate for one in records if (rate := rate_of(one, engine))][-LAST:]
        if not known:
            return f"{amount(size)}; how long is not known: the history has no transfer by {engine}"
        rate = min(median(known), limit_rate or float("inf"))
        mine = [one.bytes for one in planned if one.engine == engine]
        seconds = max(seconds, (sum(mine) if engine == "star" else max(mine)) / rate)
        rates.append(f"{engine} {amount(rate)}/s")
    return f"{amount(size)} in about {duration(seconds)}, by the rate of the last transfers ({', '.join(rates)})"


def rate_of(record: Record, engine: str) -> float | None:
    """Bytes/s that the controller sent: in a relay each node got them beside the others. None of any other record."""
    if record.state != OK or record.engine != engine or record.bytes < LEAST or record.seconds <= 0:
        return None
    sent = record.bytes if engine == "star" else record.bytes / max(1, count_nodes(record))
    return sent / record.seconds


def count_nodes(record: Record) -> int:
    """How many were done; of very many the record has only the number (note.machines)."""
    number = re.fullmatch(r"([0-9]{1,9}) machines?", record.done)
    try:
        return int(number[1]) if number else len(expand(record.done)) if record.done else 0
    except UsageError:
        return 0
