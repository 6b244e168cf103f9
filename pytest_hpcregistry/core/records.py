"""Dataclasses from plain data and back: the data of JSON, of which every part is checked for its type.

What is read thousands of times, the facts of many nodes, must be quick and small: hints are resolved once for each
class, and equal texts are one object.
"""

from __future__ import annotations

import sys
from dataclasses import MISSING, fields, is_dataclass
from functools import cache
from typing import Any, Union, get_args, get_origin, get_type_hints


def plain(value: Any) -> Any:
    """A dataclass as a dict, without fields that are None by default and have no value; anything else as it is."""
    if is_dataclass(value):
        found = {one.name: (one.default, getattr(value, one.name)) for one in fields(value)}
        return {name: plain(one) for name, (default, one) in found.items() if not (default is None and one is None)}
    if isinstance(value, dict):
        return {key: plain(one) for key, one in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(one) for one in value]
    return value


def build(hint: Any, value: Any, place: str) -> Any:
    """*value*, plain data, as the type *hint*: a dataclass, a plain type, or a list, dict or Optional of these.

    Keys that the class does not know are passed over. Raises ValueError with the *place* of what lacks or is of another
    type.
    """
    if type(value) is hint:
        return sys.intern(value) if hint is str else value
    if is_dataclass(hint):
        return build_record(hint, value, place)
    origin, words = arguments(hint)
    if origin is Union:
        return None if value is None else build(words[0], value, place)
    if origin is dict and isinstance(value, dict):
        return {sys.intern(key): build(words[1], one, f"{place}[…]") for key, one in value.items()}
    if origin is list and isinstance(value, list):
        return [build(words[0], one, f"{place}[…]") for one in value]
    if hint is Any or (hint is float and type(value) is int):
        return value
    raise ValueError(f"{place} is no {getattr(hint, '__name__', 'such value')}")


def build_record(cls: Any, value: Any, place: str) -> Any:
    if not isinstance(value, dict):
        raise ValueError(f"{place} is no object")
    hints, needed = shape(cls)
    lacking = [name for name in needed if name not in value]
    if lacking:
        raise ValueError(f"{place} lacks {lacking[0]}")
    return cls(**{name: build(hint, value[name], f"{place}.{name}") for name, hint in hints if name in value})


@cache
def shape(cls: Any) -> tuple[list[tuple[str, Any]], list[str]]:
    """The fields of a dataclass with their types, and those that have no default."""
    needed = [one.name for one in fields(cls) if one.default is MISSING and one.default_factory is MISSING]
    return list(get_type_hints(cls).items()), needed


@cache
def arguments(hint: Any) -> tuple[Any, tuple[Any, ...]]:
    return get_origin(hint), get_args(hint)
