"""JSON Schemas of what --json prints, made of the dataclasses that are printed: they cannot differ."""

from __future__ import annotations

import dataclasses
import types
from collections.abc import Mapping, Sequence
from typing import Any, Union, get_args, get_origin, get_type_hints

from ..core.wire import KINDS

DIALECT = "http://json-schema.org/draft-07/schema#"
SCHEMA_VERSION = 1
"""Another one when a key goes, or means something else; keys may be added."""
PLAIN = {str: "string", int: "integer", float: "number", bool: "boolean", type(None): "null"}
BEGUN, ENDED = "begun", "ended"
"""The events of the first and the last line of a command that prints lines."""


@dataclasses.dataclass(frozen=True)
class ClusterName:
    """Which cluster: what the controller is called, and the host that was asked."""

    name: str
    controller: str


@dataclasses.dataclass(frozen=True)
class Head:
    """What every document begins with. `time` is when the command began, in UTC (RFC 3339); `cluster` is there as soon
    as it is known which one is meant.
    """

    schema_version: int
    command: str
    time: str
    cluster: ClusterName | None = None


@dataclasses.dataclass(frozen=True)
class End:
    """What every document ends with. Without an `error`, `exit_code` is 0."""

    exit_code: int
    error: str | None = None
    hint: str | None = None


class Lines:
    """The shape of a command that prints a line for each event: the first is `begun`, the last `ended`."""


def schema_of(hint: Any) -> dict[str, Any]:
    """The schema of a type: a dataclass, a plain type, or sequences, mappings and unions of these."""
    if hint is Any:
        return {}
    if hint in PLAIN:
        return {"type": PLAIN[hint]}
    if dataclasses.is_dataclass(hint):
        return of_record(hint)
    origin, words = get_origin(hint), get_args(hint)
    if origin in (Union, types.UnionType):
        return {"anyOf": [schema_of(word) for word in words]}
    if isinstance(origin, type) and issubclass(origin, Mapping):
        return {"type": "object", "additionalProperties": schema_of(words[1])}
    if isinstance(origin, type) and issubclass(origin, Sequence):
        return {"type": "array", "items": schema_of(words[0])}
    raise TypeError(f"{hint} has no schema")


def of_record(kind: Any) -> dict[str, Any]:
    """A dataclass, as core/records.plain makes it: what is None by default is left out where there is none."""
    hints = get_type_hints(kind)
    fields = dataclasses.fields(kind)
    return {
        "description": " ".join((kind.__doc__ or "").split()),
        "type": "object",
        "properties": {one.name: schema_of(hints[one.name]) for one in fields},
        "required": [one.name for one in fields if one.default is not None],
    }


def document_schema(command: str, shape: Any) -> dict[str, Any]:
    """What *command* prints with --json, one object or lines; of a command that failed there may be only its end."""
    return {"$schema": DIALECT, "title": f"hpc-container-manager {command} --json", **of_shape(shape)}


def of_shape(shape: Any) -> dict[str, Any]:
    around = {"allOf": [of_record(Head), of_record(End)]}
    if shape is Lines:
        first = {"allOf": [event(BEGUN), of_record(Head)]}
        last = {"allOf": [event(ENDED), *around["allOf"]]}
        events = [{"allOf": [event(kind), of_record(cls)]} for kind, cls in sorted(KINDS.items())]
        return {"description": "Each line is one of these.", "anyOf": [first, last, *events]}
    results = get_args(shape) or (shape,)
    return {**around, "anyOf": [*map(schema_of, results), {"required": ["error"]}]}


def event(kind: str) -> dict[str, Any]:
    return {"properties": {"event": {"const": kind}}, "required": ["event"]}
