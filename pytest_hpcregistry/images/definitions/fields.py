"""Values of image.yaml. Every reader raises ValueError that says what is wrong and what would be right."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any


def one_text(pattern: re.Pattern[str], what: str) -> Callable[[Any], str]:
    def read_one(raw: Any) -> str:
        if not isinstance(raw, str) or not pattern.match(raw):
            raise ValueError(f"{excerpt_of(raw)} is not {what}")
        return raw

    return read_one


def several(pattern: re.Pattern[str], what: str) -> Callable[[Any], tuple[str, ...]]:
    read_one = one_text(pattern, what)

    def read_all(raw: Any) -> tuple[str, ...]:
        if not isinstance(raw, list) or not raw:
            raise ValueError("must be a list, of one at least")
        return tuple(map(read_one, raw))

    return read_all


def converted(convert: Callable[[str], Any]) -> Callable[[Any], Any]:
    """As *convert*, which reads text; anything else is refused."""

    def read_one(raw: Any) -> Any:
        if not isinstance(raw, str):
            raise ValueError(f"{excerpt_of(raw)} is not a text")
        return convert(raw)

    return read_one


def excerpt_of(raw: Any) -> str:
    """*raw* for a message: its text, or what kind of thing it is."""
    if isinstance(raw, dict):
        return "a mapping"
    return "a list" if isinstance(raw, list) else repr(raw)[:100]
