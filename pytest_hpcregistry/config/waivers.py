"""The file of waivers that a cluster file names: a list of findings that are known, and fail nothing for some time."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from datetime import date, timedelta
from fnmatch import filter as matching
from pathlib import Path
from typing import Any

from ..core import documents, kinds
from ..core.errors import ConfigError, UsageError
from ..core.fields import read_node_names, suggest
from ..core.kinds import LOCAL_FILE
from ..core.names import excerpt
from ..core.reader import NOTHING, Reader
from ..core.waivers import DAY_SCHEMA, REASON, FindingWaiver, read_day, read_reason

LONGEST = timedelta(days=366)
IMAGE = r"[A-Za-z0-9*?[][]A-Za-z0-9._+*?[!/-]{0,250}"
CHECK = r"[a-z_*?[][]a-z0-9._*?[!-]{0,100}"
WHO = ".{1,100}"
SELECTORS = ("nodes", "image", "check")
REQUIRED = ("until", "who", "reason")


def read_who(text: str) -> str:
    if not re.fullmatch(WHO, text) or not text.isprintable():
        raise ValueError(f"{excerpt(repr(text))} is not a name, of one line and at most 100 characters")
    return text


def read_image(text: str) -> str:
    if not re.fullmatch(IMAGE, text) or not text.endswith((".sif", "*")):
        raise ValueError(f"{excerpt(repr(text))} is not an image, such as pytorch.sif, ml-frameworks/* or *.sif")
    return text


def read_check(text: str) -> str:
    from .. import checks

    if not re.fullmatch(CHECK, text) or not matching(checks.IDS, text):
        raise ValueError(f"{excerpt(repr(text))} is no check.{suggest(text, checks.IDS)}")
    return text


READERS: Mapping[str, Callable[[str], Any]] = {
    "nodes": lambda text: tuple(dict.fromkeys(read_node_names(text))),
    "image": read_image,
    "check": read_check,
    "until": read_day,
    "who": read_who,
    "reason": read_reason,
}


def read_waivers(reader: Reader, raw: Any, today: date) -> tuple[FindingWaiver, ...]:
    """The waivers of the file that the cluster file's `waivers` names; mistakes in either go to the *reader*."""
    if raw in NOTHING:
        return ()
    try:
        return read(reader.value(LOCAL_FILE, raw), str(raw), today)
    except ConfigError as error:
        reader.include(error)
    except (UsageError, ValueError) as error:
        reader.add(("waivers",), str(error))
    return ()


def read(path: Path, source: str, today: date) -> tuple[FindingWaiver, ...]:
    """The waivers of a file. Raises UsageError when it cannot be read, ConfigError with every mistake."""
    document = documents.read(path, source, may_be_empty=True)
    if document.data is None or document.data in NOTHING:  # the last waiver has gone
        return ()
    reader = Reader(document.place)
    if not isinstance(document.data, list):
        reader.add((), "must be a list of waivers: `- nodes: c007`, and so on")
    found: dict[tuple[Any, ...], int] = {}
    waivers: list[FindingWaiver] = []
    for number, raw in enumerate(document.data if isinstance(document.data, list) else ()):
        values = read_one(reader, number, raw, today)
        about = tuple(values.get(key) for key in SELECTORS)
        first = found.setdefault(about, number)
        if first != number and any(about):
            reader.add((number,), f"of the same as the one at {document.place((first,))}: keep one of them")
        if not reader.mistakes:
            waivers.append(FindingWaiver(**values))
    reader.finish(document.source, "")
    return tuple(waivers)


def read_one(reader: Reader, number: int, raw: Any, today: date) -> dict[str, Any]:
    """The values of the list's waiver *number*; mistakes go to the reader."""
    values: dict[str, Any] = {}
    if not isinstance(raw, dict):
        reader.add((number,), f"must be a mapping with {', '.join(READERS)}")
        return values
    given = {key: value for key, value in raw.items() if value not in NOTHING}
    for key, value in given.items():
        if key not in READERS:
            reader.add((number, key), f"unknown key.{suggest(key, READERS)}")
            continue
        try:
            if not isinstance(value, str):
                raise ValueError("must be one value, not a list or a mapping")
            values[key] = READERS[key](value)
        except ValueError as error:
            reader.add((number, key), str(error))
    for key in REQUIRED:
        if key not in given:
            reader.add((number,), f"{key} is missing")
    if not set(SELECTORS) & given.keys():
        reader.add((number,), f"of what? One of {', '.join(SELECTORS)} must be there")
    if values.get("until", today) > today + LONGEST:
        reader.add((number, "until"), f"{values['until'].isoformat()} is more than a year off")
    return values


def waivers_schema() -> dict[str, Any]:
    """The JSON Schema of the file. What only the parser can see: which checks there are, and how far off a day is."""
    described = {
        "nodes": ("A node set, or controller; without it, every machine.", kinds.NODE_SET),
        "image": ("An image, by its name or as a pattern: pytorch.sif, ml-frameworks/*.", kinds.text(IMAGE)),
        "check": ("The id of a check or a pattern: images.state, slurm.*.", kinds.text(CHECK)),
        "until": ("The last day on which it holds, at most a year off.", DAY_SCHEMA),
        "who": ("Who answers for it.", kinds.text(WHO, number=True)),
        "reason": ("Why, in one line.", kinds.text(REASON, number=True)),
    }
    return {
        "$schema": "http://json-schema.org/draft-07/schema#",
        "title": "Waivers of hpc-container-manager",
        "type": "array",
        "items": {
            "type": "object",
            "properties": {key: {"description": text, **schema} for key, (text, schema) in described.items()},
            "required": list(REQUIRED),
            "anyOf": [{"required": [key]} for key in SELECTORS],
            "additionalProperties": False,
        },
    }
