"""How an image is scanned before it is deployed: the section `scan` of the cluster file.

A scanner is a program of the site's choice, which prints a CycloneDX report in JSON with what it found.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date
from typing import Any

from . import kinds
from .fields import suggest
from .kinds import Kind, setting
from .waivers import DAY_SCHEMA, REASON, read_day, read_reason

SEVERITIES = ("low", "medium", "high", "critical")
PLACES = ("sbom", "sif", "root")
"""What `{…}` in a word of the command may stand for."""
PLACE = re.compile(r"(?<!\{)\{([a-z]+)\}(?!\})")
IDENTIFIER = r"[A-Za-z0-9][A-Za-z0-9._:/-]{0,99}"


@dataclass(frozen=True)
class Waiver:
    """A finding that keeps no image from being deployed, up to and on the day `until`."""

    id: str
    until: date
    reason: str


def read_word(text: str) -> str:
    """A word of a command. Raises ValueError, also for a place that is not known."""
    if not text.isprintable() or not 0 < len(text) <= 1000:
        raise ValueError(f"{text[:100]!r} is not a word of a command: 1 to 1000 characters, none of control")
    for place in PLACE.findall(text):
        if place not in PLACES:
            raise ValueError(f"{text!r}: {{{place}}} is not known.{suggest(place, PLACES)}")
    return text


def read_exit_code(text: str) -> int:
    """Raises ValueError."""
    if not re.fullmatch("[0-9]{1,3}", text) or int(text) > 255:
        raise ValueError(f"{text!r} is not an exit code, 0 to 255")
    return int(text)


def read_waiver(raw: Mapping[str, Any]) -> Waiver:
    """Raises ValueError."""
    if set(raw) != {"id", "until", "reason"}:
        raise ValueError(
            f"a waiver has id, until and reason, and no other key; this one has {', '.join(raw) or 'none'}"
        )
    if not re.fullmatch(IDENTIFIER, str(raw["id"])):
        raise ValueError(f"{raw['id']!r} is not the name of a finding, such as CVE-2024-3094")
    return Waiver(str(raw["id"]), read_day(str(raw["until"])), read_reason(raw["reason"]))


def write_waivers(waivers: tuple[Waiver, ...]) -> list[dict[str, str]]:
    return [{"id": one.id, "until": one.until.isoformat(), "reason": one.reason} for one in waivers]


def many_of(parse: Any, items: kinds.Schema, *, empty: bool) -> Kind:
    """A list in which the same may be twice."""
    schema: kinds.Schema = {"type": "array", "minItems": 0 if empty else 1, "items": items}
    return Kind(parse, schema, list, several=True, may_be_empty=empty, may_repeat=True)


COMMAND = many_of(read_word, kinds.text(".{1,1000}", number=True), empty=True)
EXIT_CODES = many_of(read_exit_code, kinds.whole(0, 255, "[0-9]{1,3}"), empty=False)
WAIVER: kinds.Schema = {
    "type": "object",
    "properties": {
        "id": kinds.text(IDENTIFIER, number=True),
        "until": DAY_SCHEMA,
        "reason": kinds.text(REASON),
    },
    "required": ["id", "until", "reason"],
    "additionalProperties": False,
}
WAIVERS = Kind(
    read_waiver,
    {"type": "array", "items": WAIVER},
    write_waivers,
    several=True,
    may_be_empty=True,
    may_repeat=True,
    records=True,
)


@dataclass(frozen=True)
class Scan:
    """How an image is scanned before it is deployed; without a `command` it is not. `timeout` in seconds."""

    command: tuple[str, ...] = field(
        default=(),
        metadata=setting(
            COMMAND,
            "The scanner, which prints a CycloneDX report in JSON; {sbom}, {sif} and {root} stand for the SBOM, "
            "the image, and a directory with all its files. Without it nothing is scanned.",
            ours=True,
        ),
    )
    exit_codes: tuple[int, ...] = field(
        default=(0,),
        metadata=setting(EXIT_CODES, "The exit codes by which the scanner says that its report is whole.", ours=True),
    )
    limit: str = field(
        default="high",
        metadata=setting(
            kinds.one_of(*SEVERITIES),
            "Findings of this severity and above keep an image from being deployed, and those of unknown severity.",
            ours=True,
        ),
    )
    timeout: int = field(
        default=1800, metadata=setting(kinds.NUMBER, "Seconds that the scanner may take for one image.", ours=True)
    )
    waivers: tuple[Waiver, ...] = field(
        default=(),
        metadata=setting(
            WAIVERS,
            "Findings that keep no image from being deployed: the id, the last day on which that holds, the reason.",
            ours=True,
        ),
    )
