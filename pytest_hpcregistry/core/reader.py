"""Text by keys -> values of model.py's classes; every mistake is kept, with its place and what was perhaps meant."""

from __future__ import annotations

import dataclasses
import re
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from . import fields
from .documents import KeyPath
from .errors import ConfigError
from .kinds import Kind, settings_of
from .model import SECTIONS
from .names import CONTROLLER, NO_NODE
from .routes import SLURM, NodeRoute, addresses

NOTHING = ("", "~", "null", "Null", "NULL")
"""What YAML reads as no value. Here it is text."""


class Reader:
    """Reads what a cluster file or config.yaml says, and gathers the mistakes on the way.

    *place* says where something was said, such as `cluster.yaml:12`; paths of this machine begin at *folder*. Without
    one no text names a file of this machine.
    """

    def __init__(self, place: Callable[[KeyPath], str], folder: Path | None = None) -> None:
        self.place = place
        self.folder = folder
        self.mistakes: list[tuple[int, str]] = []

    def finish(self, source: str, hint: str) -> None:
        """Raise ConfigError with every mistake there was, in the order of lines."""
        if self.mistakes:
            found = [mistake for _, mistake in sorted(self.mistakes, key=lambda mistake: mistake[0])]
            raise ConfigError(source, found, hint=hint)

    def include(self, error: ConfigError) -> None:
        """Keep the mistakes of another file that this one names, below its own."""
        self.mistakes += [(sys.maxsize, mistake) for mistake in error.mistakes]

    def section(self, name: str, raw: Any) -> dict[str, Any]:
        """The values of the section *name*, by its keys; a default is left out, as is what was wrong."""
        return self.record(SECTIONS[name].kind, raw, (name,))

    def record(self, kind: type, raw: Any, path: KeyPath) -> dict[str, Any]:
        """As `section`, of the settings of a class that stand at *path*."""
        settings = settings_of(kind)
        optional = {field.name for field in dataclasses.fields(kind) if field.default is None}
        values: dict[str, Any] = {}
        for key, value in self.mapping(raw, path, settings).items():
            if key in optional and value in NOTHING:
                continue
            try:
                values[key] = self.value(settings[key].kind, value)
            except ValueError as error:
                self.add((*path, key), str(error))
        return values

    def value(self, kind: Kind, raw: Any) -> Any:
        """What *raw* means. Raises ValueError."""
        if kind.parse_here and self.folder is not None:
            here, folder = kind.parse_here, self.folder
            kind = dataclasses.replace(kind, parse=lambda text: here(text, folder))
        if raw in kind.alone:
            return (raw,)
        if kind.alone and isinstance(raw, str):
            raise ValueError(f"must be {', '.join(kind.alone)}, or a list")
        if kind.several:
            return several(kind, raw)
        if not isinstance(raw, str):
            raise ValueError(f"must be one value, not a {'mapping' if isinstance(raw, dict) else 'list'}")
        if raw == "":
            raise ValueError("is empty")
        return kind.parse(raw)

    def nodes(self, raw: Any) -> tuple[str, ...] | None:
        """The nodes' names; None for `slurm`, or for a mapping that has that key."""
        if raw == "slurm":
            return None
        parts: Sequence[tuple[KeyPath, Any]] = [(("nodes",), raw)]
        if isinstance(raw, list):
            parts = [(("nodes", index), item) for index, item in enumerate(raw)]
        if isinstance(raw, dict):
            parts = [(("nodes", key), key) for key in raw if key != SLURM]
        names: list[str] = []
        before = len(self.mistakes)
        for path, part in parts:
            try:
                names += node_names(part, alone=not isinstance(raw, list))
            except ValueError as error:
                self.add(path, str(error))
        for problem in wrong_names(names):
            self.add(("nodes",), problem)
        if isinstance(raw, dict) and SLURM in raw:
            return None
        if not names and len(self.mistakes) == before:
            self.add(("nodes",), "no node is listed; write slurm, a node set or a list")
        return tuple(names)

    def routes(self, raw: Any) -> tuple[NodeRoute, ...]:
        """How nodes are reached, where `nodes` is a mapping from node sets; `nodes` of this class reads the names."""
        found: list[NodeRoute] = []
        for key, value in raw.items() if isinstance(raw, dict) else ():
            path: KeyPath = ("nodes", key)
            route = NodeRoute(**self.record(NodeRoute, value, path), nodes=key)
            if route.address and (wrong := uneven(route)):
                self.add((*path, "address"), wrong)
            found.append(route)
        return tuple(found)

    def mapping(self, raw: Any, path: KeyPath, known: Mapping[str, Any]) -> dict[str, Any]:
        """The known keys of *raw*. Nothing under a heading, as when all is commented out, is an empty mapping."""
        if raw in NOTHING:
            return {}
        if not isinstance(raw, dict):
            self.add(path, f"must be a mapping with keys such as {', '.join(list(known)[:3])}")
            return {}
        for key in raw:
            if key not in known:
                self.add((*path, key), f"unknown key.{homes_of(key) or fields.suggest(key, known)}")
        return {key: value for key, value in raw.items() if key in known}

    def add(self, path: KeyPath, problem: str) -> None:
        """Keep a mistake."""
        dotted = ".".join(part for part in path if isinstance(part, str))
        place = self.place(path)
        line = re.search(r":([0-9]+)\Z", place)
        self.mistakes.append((int(line[1]) if line else 0, ": ".join(filter(None, (place, dotted, problem)))))


def read_routes(data: Mapping[str, Mapping[str, str]], source: str) -> tuple[NodeRoute, ...]:
    """What `by_node_set` has written. Raises ConfigError."""
    reader = Reader(lambda _: source)
    reader.nodes(data or SLURM)
    routes = reader.routes(data)
    reader.finish(source, "")
    return routes


def wrong_names(names: Sequence[str]) -> Iterator[str]:
    """What is wrong with the names of all nodes together."""
    if repeated := fields.find_repeated(names):
        yield f"listed twice: {', '.join(repeated[:10])}"
    if CONTROLLER in names:
        yield NO_NODE
    if SLURM in [name.lower() for name in names]:
        yield f"{SLURM} stands for every node that Slurm knows, by itself and in small letters"


def uneven(route: NodeRoute) -> str:
    """What is wrong with the number of a route's addresses; "" where there is one for each node."""
    if route.nodes == SLURM:
        return "cannot be one for all that Slurm knows: write node sets"
    try:
        wanted, given = fields.read_node_names(route.nodes), addresses(str(route.address))
    except ValueError:
        return ""  # said of the node set
    if repeated := fields.find_repeated(given):
        return f"means {repeated[0]} more than once"
    return "" if len(wanted) == len(given) else f"means {len(given)}, where {route.nodes} means {len(wanted)}"


def several(kind: Kind, raw: Any) -> tuple[Any, ...]:
    """The values of a list. Raises ValueError."""
    if not isinstance(raw, list) or not all(isinstance(item, dict if kind.records else str) for item in raw):
        raise ValueError("must be a list" + " of mappings" * kind.records)
    if not raw and not kind.may_be_empty:
        raise ValueError("must be a list of names, at least one")
    if not kind.may_repeat and (repeated := fields.find_repeated(raw)):
        raise ValueError(f"listed twice: {', '.join(repeated)}")
    return tuple(kind.parse(item) for item in raw)


def node_names(part: Any, *, alone: bool) -> list[str]:
    """The names that one entry means; *alone*: there is not a list around it. Raises ValueError."""
    if not isinstance(part, str):
        raise ValueError("must be slurm, a node set such as c[001-064], or a list of names")
    if part == "" and not alone:
        raise ValueError("an entry without a name or an address")
    if part == "slurm":
        raise ValueError("slurm stands alone (nodes: slurm), not in a list")
    return fields.read_node_names(part)


def homes_of(key: str) -> str:
    """Where a key that is in the wrong section belongs, as the end of a message."""
    homes = [name for name, part in SECTIONS.items() if key in settings_of(part.kind)]
    return f" It is a key of {' and of '.join(homes)}." if homes else ""
