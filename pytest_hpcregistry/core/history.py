"""The history: a line of JSON for each command that changed something, as its file has it and as it is shown.

A command is two lines with the same `id`, one when it begins and one with everything when it ends; of a killed one
there is the first alone.
"""

from __future__ import annotations

import json
import math
import re
import secrets
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta, timezone
from typing import Any, NoReturn

from .names import excerpt
from .records import build, plain

BEGUN, OK, FAILED, INTERRUPTED = "begun", "ok", "failed", "interrupted"
RUNNING, KILLED = "running", "killed"
"""What a command that has begun and not ended is, by whether a process still holds its lock."""
ENDINGS = (OK, FAILED, INTERRUPTED)
WITHDRAWN = "withdrawn while it waited: nothing was changed"
"""How the reason begins of a command that was interrupted before its turn had come."""
LONGEST_LINE = 1 << 20
"""Characters."""
MOST_IMAGES = 1000
"""Names of images in one record; a deploy of more is noted as one of these and how many more."""
LONGEST_TEXT = 4000
ID = re.compile(r"[0-9a-f]{15}\Z")
COMMAND = re.compile(r"[a-z][a-z-]{0,31}\Z")
TIME = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}Z\Z")
UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 7 * 86400}
MOMENT = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}(T[0-9]{2}:[0-9]{2}(:[0-9]{2})?Z?)?\Z")
AGE = re.compile(r"([0-9]{1,9})([smhdw])\Z")
LONGEST_AGE = 100 * 366 * 86400  # seconds
SINCE = "7d, 2h, 30m, or a day or time in UTC: 2026-11-01, 2026-11-01T12:00"


@dataclass(frozen=True)
class Record:
    """A command that changed something, or tried to.

    `time` is when it began, in UTC (RFC 3339). `user` and `address` are what the controller knows of its sender: the
    login, before any sudo, and where ssh came from ("": nowhere, as cron); `claimed` is what the sender says of itself,
    USER@HOST. `images` are those that it was about (none: all), `before` and `after` the SHA-256 of a single one.
    `done` and `failed` are node sets, or how many where that would be long. `checks` counts those of a test by how they
    ended.
    """

    id: str
    time: str
    command: str
    state: str = BEGUN
    user: str = ""
    address: str = ""
    claimed: str = ""
    images: list[str] = field(default_factory=list)
    before: str = ""
    after: str = ""
    done: str = ""
    failed: str = ""
    bytes: int = 0
    engine: str = ""
    checks: dict[str, int] = field(default_factory=dict)
    seconds: float = 0.0
    detail: str = ""
    reason: str = ""


def new_id() -> str:
    return secrets.token_hex(8)[1:]


def place_of(identifier: str) -> int:
    """The byte of the history's lock file that a command with this id holds; byte 0 is for whoever writes a line."""
    return int(identifier, 16) + 1


def to_line(record: Record) -> str:
    """A record as its file has it: one line of ASCII, of bounded length, without what is empty."""
    texts = ("reason", "user", "address", "claimed", "before", "after", "done", "failed", "engine", "detail")
    bounded: dict[str, Any] = {name: excerpt(getattr(record, name), LONGEST_TEXT) for name in texts}
    images, more = [excerpt(name) for name in record.images[:MOST_IMAGES]], len(record.images) - MOST_IMAGES
    if more > 0:
        bounded["detail"] = "; ".join(filter(None, [bounded["detail"], f"and {more} more images"]))
    data = plain(replace(record, images=images, **bounded))
    return json.dumps({name: value for name, value in data.items() if value})


def from_line(line: str) -> Record:
    """The other way round. Raises ValueError for anything that is no record."""
    record: Record = build(Record, read_json(line), "the line")
    return checked(record)


def read_json(text: str) -> Any:
    """Raises ValueError, also for what is nested too deep, and for numbers that are none."""
    try:
        return json.loads(text, parse_constant=refuse)
    except RecursionError:
        raise ValueError("it is nested too deep") from None


def refuse(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is no number")


def checked(record: Record) -> Record:
    """Return *record* if what has a form has it; raise ValueError if not."""
    if not (ID.match(record.id) and TIME.match(record.time) and COMMAND.match(record.command)):
        raise ValueError("it has no id, no time or no command")
    if record.state not in (BEGUN, *ENDINGS):
        raise ValueError("its state is none")
    numbers = [record.bytes, record.seconds, *record.checks.values()]
    if not all(math.isfinite(number) and 0 <= number < 1 << 60 for number in numbers):
        raise ValueError("one of its numbers is none")
    return record


def stamp(moment: datetime) -> str:
    """A time in UTC as the file has it: as text, it sorts."""
    return moment.replace(tzinfo=None).isoformat(timespec="seconds") + "Z"


def now(later: int = 0) -> str:
    """This time, or so many seconds later."""
    return stamp(datetime.now(timezone.utc) + timedelta(seconds=later))


def read_age(text: str) -> int:
    """`14d`, `12h`, `30m` -> seconds. Raises ValueError."""
    age = AGE.match(text)
    seconds = int(age[1]) * UNITS[age[2]] if age else 0
    if not age or seconds > LONGEST_AGE:
        raise ValueError(f"{excerpt(text)} is no length of time, such as 14d, 12h or 30m")
    return seconds


def read_grace(text: str) -> int:
    """As read_age; a number alone is seconds. Raises ValueError."""
    return read_age(f"{text}s" if re.fullmatch("[0-9]+", text) else text)


def read_since(text: str) -> str:
    """`7d`, `2h`, `2026-11-01` or `2026-11-01T12:00[:00][Z]` -> that time in UTC (RFC 3339). Raises ValueError."""
    try:
        if AGE.match(text):
            return stamp(datetime.now(timezone.utc) - timedelta(seconds=read_age(text)))
        if MOMENT.match(text):
            return stamp(datetime.fromisoformat(text.rstrip("Z")))
    except (OverflowError, ValueError):
        pass  # before the year 1, or the 31st of April
    raise ValueError(f"{excerpt(text)} is no time: {SINCE}")
