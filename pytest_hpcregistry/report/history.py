"""A record of the history in lines for a person, of 80 columns."""

from __future__ import annotations

import textwrap

from ..core.history import FAILED, Record
from ..core.messages import count
from ..core.names import visible
from ..core.pace import amount

WIDTH = 80
INDENT = "    "
SHORT = 12  # digits of a digest


def describe(record: Record) -> str:
    """`TIME  COMMAND  IMAGE: how it ended`, and below it what it did, who gave it, and why it failed."""
    what = ", ".join(record.images) or "all images"
    subject = "" if record.command == "setup" else f"{what}: "
    below = [details(record), sender(record)]
    if record.reason:
        below.append(f"{'why' if record.state == FAILED else 'note'}: {record.reason}")
    lines = [f"{record.time}  {record.command:8}  {subject}{record.state}", *filter(None, below)]
    wrapped = [wrap(line, INDENT if number else "") for number, line in enumerate(lines)]
    return "\n".join(wrapped)


def wrap(line: str, indent: str) -> str:
    return textwrap.fill(visible(line), WIDTH, initial_indent=indent, subsequent_indent=INDENT, break_on_hyphens=False)


def details(record: Record) -> str:
    parts = [
        digests(record),
        record.detail,
        f"on {record.done}" if record.done else "",
        f"not on {record.failed}" if record.failed else "",
        ", ".join(f"{count(number, 'check')} {state}" for state, number in record.checks.items() if number),
        amount(record.bytes) if record.bytes else "",
        f"by {record.engine}" if record.engine else "",
        f"{record.seconds:.1f} s" if record.seconds else "",
    ]
    return "; ".join(filter(None, parts))


def digests(record: Record) -> str:
    before, after = record.before[:SHORT], record.after[:SHORT]
    if not after or not before:
        return after or before
    return f"{after}, as before" if record.before == record.after else f"{before} -> {after}"


def sender(record: Record) -> str:
    """What the controller knows, and only then what it was told."""
    known = f"by {record.user or 'nobody known'}" + (f" from {record.address}" if record.address else "")
    return f"{known}, as {record.claimed}" if record.claimed else known
