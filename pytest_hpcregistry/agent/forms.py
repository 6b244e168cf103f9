"""Forms: what a value that comes from another machine may be, with bounds. Standard library only, Python >= 3.6.

A form is a function of a value and of its place in the message. It returns nothing, or raises Misshapen. Keys that a
record does not name are passed over, so that two versions of the program can talk.
"""

import json
import re
from typing import Any, Callable, Dict

Form = Callable[[Any, str], None]
MOST_DIGITS = 1000


class Misshapen(ValueError):
    """A value that is not what it may be; the text names its place, and not the value, which may be anything."""


def read_json(text: str) -> Any:
    """Parse a line from another machine. Raises ValueError or RecursionError when it is none.

    An old Python takes hours for a number of millions of digits (CVE-2020-10735).
    """
    return json.loads(text, parse_int=whole)


def whole(digits: str) -> int:
    if len(digits) > MOST_DIGITS:
        raise ValueError("a number without end")
    return int(digits)


def number(low: int, high: int) -> Form:
    """A whole number from *low* to *high*, both included; true and 1.0 are none."""

    def check(value: Any, place: str) -> None:
        if type(value) is not int or not low <= value <= high:
            raise Misshapen(f"{place} is not a whole number from {low} to {high}")

    return check


def seconds(value: Any, place: str) -> None:
    """A point in time, since 1970, or a length of it; whole or not."""
    if type(value) not in (int, float) or not -LATEST <= value <= LATEST:
        raise Misshapen(f"{place} is not a time")


LATEST = 1 << 40


def text(pattern: str) -> Form:
    """Text that *pattern* matches as a whole."""
    whole = re.compile("(?:" + pattern + r")\Z")

    def check(value: Any, place: str) -> None:
        if not isinstance(value, str) or not whole.match(value):
            raise Misshapen(f"{place} is not in its form")

    return check


def anything(most: int) -> Form:
    """Text of at most *most* characters, whatever they are: a name on a disk, or what a program printed."""

    def check(value: Any, place: str) -> None:
        if not isinstance(value, str) or len(value) > most:
            raise Misshapen(f"{place} is not a text of at most {most} characters")

    return check


def prose(most: int) -> Form:
    """Text of at most *most* characters: lines and tabs, and nothing else that a terminal would obey."""

    any_text = anything(most)

    def check(value: Any, place: str) -> None:
        any_text(value, place)
        if not value.translate(SPACES).isprintable():
            raise Misshapen(f"{place} holds control characters")

    return check


SPACES = {ord("\n"): " ", ord("\t"): " "}


def flag(value: Any, place: str) -> None:
    """True or false."""
    if not isinstance(value, bool):
        raise Misshapen(f"{place} is neither true nor false")


def maybe(form: Form) -> Form:
    """Null, or a value of *form*."""

    def check(value: Any, place: str) -> None:
        if value is not None:
            form(value, place)

    return check


def items(form: Form, most: int) -> Form:
    """A list of at most *most* values of *form*."""

    def check(value: Any, place: str) -> None:
        if not isinstance(value, list) or len(value) > most:
            raise Misshapen(f"{place} is not a list of at most {most}")
        for item in value:
            form(item, f"an item of {place}")

    return check


def mapping(keys: str, form: Form, most: int) -> Form:
    """An object of at most *most* values of *form*, each under a key that the pattern *keys* matches as a whole."""
    check_key = text(keys)

    def check(value: Any, place: str) -> None:
        if not isinstance(value, dict) or len(value) > most:
            raise Misshapen(f"{place} is not an object of at most {most} keys")
        for key, item in value.items():
            check_key(key, f"a key of {place}")
            form(item, f"a value of {place}")

    return check


def record(needed: Dict[str, Form], optional: Dict[str, Form] = {}) -> Form:  # noqa: B006 - never written to
    """An object with all keys of *needed*, perhaps those of *optional*, each with a value of its form."""

    def check(value: Any, place: str) -> None:
        if not isinstance(value, dict):
            raise Misshapen(f"{place} is not an object")
        for key, form in needed.items():
            if key not in value:
                raise Misshapen(f"{place} lacks {key}")
            form(value[key], key)
        for key, form in optional.items():
            if key in value:
                form(value[key], key)

    return check
