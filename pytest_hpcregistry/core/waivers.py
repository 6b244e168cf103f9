"""What every waiver has, a last day and a reason; and the waiver of what a check finds on a cluster.

Runs on Python 3.9.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import date, datetime, timezone

DAY = "[0-9]{4}-[0-9]{2}-[0-9]{2}"
REASON = ".{1,500}"
# Of no type: YAML 1.1 makes a date of it, which JSON does not have.
DAY_SCHEMA = {"pattern": f"^{DAY}$", "not": {"type": ["number", "array", "object", "boolean", "null"]}}


@dataclass(frozen=True)
class FindingWaiver:
    """Findings that fail nothing, up to and on the day `until`: on `nodes`, of images that `image` matches, of checks
    that `check` matches. What is empty is not looked at."""

    until: date
    who: str
    reason: str
    nodes: tuple[str, ...] = ()
    image: str = ""
    check: str = ""

    def describe(self, today: date) -> str:
        """What is to be said beside a finding."""
        if self.until < today:
            return f"waiver of {self.who} expired {self.until.isoformat()}: {self.reason}"
        return f"waived until {self.until.isoformat()} by {self.who}: {self.reason}"


def today() -> date:
    """The day by which waivers hold, of UTC, so that it is the same for everybody."""
    return datetime.now(timezone.utc).date()


def read_day(text: str) -> date:
    """Raises ValueError."""
    try:
        if re.fullmatch(DAY, text):
            return date.fromisoformat(text)
    except ValueError:
        pass
    raise ValueError(f"{text!r} is not a day, such as 2026-12-31")


def read_reason(text: object) -> str:
    """Raises ValueError."""
    if not isinstance(text, str) or not re.fullmatch(REASON, text) or not text.isprintable():
        raise ValueError("the reason of a waiver is text of one line, at most 500 characters")
    return text
