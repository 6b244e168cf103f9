"""YAML in and out, by one rule: every scalar is text. The one home of `yaml`.

YAML 1.1 reads 1.10 as a number, no as False and 0755 as 493; YAML 1.2 reads them otherwise. Here nothing is
guessed: whoever reads a file converts its text, and what is written is quoted, so that any other reader sees text as
well. Files may come from strangers, so there are limits, and no aliases and no tags. Runs on Python 3.9.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Union

import yaml

from .errors import ConfigError, UsageError
from .filetype import LAUNCH_LINE
from .names import visible

SIZE_LIMIT = 1024 * 1024  # characters
DEPTH_LIMIT = 32

TAB = r"found character '\t' that cannot start any token"  # as PyYAML says it
TEXT_TAG = "tag:yaml.org,2002:str"
PLAIN_KEY = re.compile(r"[A-Za-z][A-Za-z0-9_./-]*\Z")
NOT_PLAIN = frozenset(["y", "n", "yes", "no", "on", "off", "true", "false", "null"])

# Python 3.9 does not know `X | Y` outside annotations.
KeyPath = tuple[Union[str, int], ...]


@dataclass(frozen=True)
class Document:
    """A file's `data` (dicts, lists, text) and the line on which each key path begins; `()` is the whole."""

    source: str
    data: Any
    lines: dict[KeyPath, int]

    def place(self, path: Sequence[str | int]) -> str:
        """`cluster.yaml:12`, the line of *path*, or of the nearest thing around it that is there."""
        known = tuple(path)
        while known and known not in self.lines:
            known = known[:-1]
        return f"{self.source}:{self.lines.get(known, 1)}"


def load(text: str, source: str) -> Any:
    """The data of *text*. Raises ConfigError with lines; *source* is what messages call the file."""
    return parse(text, source).data


def read(path: Path, source: str = "", *, may_be_empty: bool = False) -> Document:
    """Parse a file. Raises UsageError when it cannot be read, ConfigError when it is not what YAML should be."""
    return parse(read_text(path), source or str(path), may_be_empty=may_be_empty)


def read_text(path: Path) -> str:
    """The text of a file of at most SIZE_LIMIT bytes. Raises UsageError."""
    try:
        with path.open("rb") as file:
            content = file.read(SIZE_LIMIT + 1)
        if content.startswith(LAUNCH_LINE):
            raise UsageError(f"{visible(path)}: an image, where a text file is wanted")
        check_size(content, str(path))
        return content.decode("utf-8-sig")
    except OSError as error:
        raise UsageError(f"{visible(path)}: {error.strerror}") from None
    except UnicodeDecodeError as error:
        raise UsageError(f"{visible(path)}: not UTF-8 text (byte {error.start})") from None


def check_size(content: str | bytes, source: str) -> None:
    if len(content) > SIZE_LIMIT:
        raise ConfigError(source, [f"larger than {SIZE_LIMIT // 1024} KiB"])


def parse(text: str, source: str, *, may_be_empty: bool = False) -> Document:
    """Parse *text* and keep its lines. Raises ConfigError for anything that is not one plain YAML document, with
    nothing but comments in it too, unless it *may_be_empty*: its data is None then.
    """
    check_size(text, source)
    builder = Builder(source, may_be_empty)
    try:
        # Loader is named because yaml.parse would otherwise take the one that builds Python objects.
        data = builder.build(yaml.parse(text, Loader=yaml.SafeLoader))
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = mark.line + 1 if mark else 1
        problem = " ".join(part for part in (error.context, error.problem) if part)
        if TAB in problem:
            problem = "indented by a tab, where YAML wants spaces"
        raise ConfigError(source, [f"{source}:{line}: {problem}"]) from None
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        raise ConfigError(source, [f"{source}:{line}: a character that YAML does not allow"]) from None
    except (ValueError, OverflowError):
        # PyYAML passes escapes such as \UFFFFFFFF straight to chr(), and %YAML's numbers to int().
        line = builder.line
        raise ConfigError(source, [f"{source}: after line {line}: an escape or a number out of range"]) from None
    if builder.mistakes:
        raise ConfigError(source, builder.mistakes)
    return Document(source, data, builder.lines)


class Builder:
    """Builds data from YAML's events, which come one at a time: nothing is expanded before it is judged."""

    def __init__(self, source: str, may_be_empty: bool = False) -> None:
        self.source, self.may_be_empty = source, may_be_empty
        self.line = 1
        self.lines: dict[KeyPath, int] = {}
        self.mistakes: list[str] = []

    def build(self, events: Iterator[yaml.Event]) -> Any:
        for event in events:
            if isinstance(event, yaml.DocumentStartEvent):
                break
        else:
            if self.may_be_empty:
                return None
            raise ConfigError(self.source, [f"{self.source}: empty"])
        data = self.value(next(events), events, ())
        for event in events:
            if isinstance(event, yaml.DocumentStartEvent):
                self.refuse(event, "a second document; one file holds one")
        return data

    def value(self, event: Any, events: Iterator[yaml.Event], path: KeyPath) -> Any:
        self.line = line_of(event)
        self.lines.setdefault(path, self.line)
        if isinstance(event, yaml.AliasEvent):
            self.refuse(event, f"*{event.anchor}: aliases are not read here; write the value out")
            return ""
        if len(path) > DEPTH_LIMIT:
            raise ConfigError(self.source, [f"{self.source}:{self.line}: nested more than {DEPTH_LIMIT} deep"])
        if isinstance(event, yaml.ScalarEvent):
            return self.text(event)
        if event.tag is not None:
            self.refuse(event, f"tag {event.tag!r} is not read here")
        if isinstance(event, yaml.MappingStartEvent):
            return self.mapping(events, path)
        return self.sequence(events, path)

    def mapping(self, events: Iterator[yaml.Event], path: KeyPath) -> dict[str, Any]:
        result: dict[str, Any] = {}
        for event in events:
            if isinstance(event, yaml.MappingEndEvent):
                break
            if not isinstance(event, yaml.ScalarEvent):
                raise ConfigError(self.source, [f"{self.source}:{line_of(event)}: a key must be plain text"])
            key = self.text(event)
            if key in result:
                self.refuse(event, f"{key!r} is here for the second time; first on line {self.lines[(*path, key)]}")
            self.lines.setdefault((*path, key), line_of(event))
            result[key] = self.value(next(events), events, (*path, key))
        return result

    def sequence(self, events: Iterator[yaml.Event], path: KeyPath) -> list[Any]:
        result: list[Any] = []
        for event in events:
            if isinstance(event, yaml.SequenceEndEvent):
                break
            result.append(self.value(event, events, (*path, len(result))))
        return result

    def text(self, event: yaml.ScalarEvent) -> str:
        text = str(event.value)
        if event.tag not in (None, "!", TEXT_TAG):
            self.refuse(event, f"tag {event.tag!r} is not read here")
        if not is_unicode(text):
            self.refuse(event, "half of a surrogate pair; write the character itself")
        return text

    def refuse(self, event: yaml.Event, problem: str) -> None:
        self.mistakes.append(f"{self.source}:{line_of(event)}: {problem}")


def line_of(event: yaml.Event) -> int:
    return event.start_mark.line + 1 if event.start_mark else 1


def is_unicode(text: str) -> bool:
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True


def dump(data: Any) -> str:
    """Block style, keys in the order of *data*, text quoted. Takes mappings, sequences, text, int and bool only."""
    # An endless width: a folded line would make one changed word a change of several lines.
    return str(yaml.serialize(node(data), Dumper=yaml.SafeDumper, allow_unicode=True, width=2**31))


def node(data: Any) -> yaml.Node:
    if isinstance(data, bool):
        return yaml.ScalarNode("tag:yaml.org,2002:bool", str(data).lower())
    if isinstance(data, int):
        return yaml.ScalarNode("tag:yaml.org,2002:int", str(data))
    if isinstance(data, str):
        return text_node(data, style='"')
    if isinstance(data, Mapping):
        pairs = [(key_node(key), node(value)) for key, value in data.items()]
        return yaml.MappingNode("tag:yaml.org,2002:map", pairs, flow_style=False)
    if isinstance(data, Sequence):
        return yaml.SequenceNode("tag:yaml.org,2002:seq", [node(item) for item in data], flow_style=False)
    raise TypeError(f"a {type(data).__name__} cannot be written to YAML here")


def key_node(key: Any) -> yaml.Node:
    if not isinstance(key, str):
        raise TypeError(f"a key must be text, not {type(key).__name__}")
    plain = PLAIN_KEY.match(key) and key.lower() not in NOT_PLAIN
    return text_node(key, style=None if plain else '"')


def text_node(text: str, style: str | None) -> yaml.Node:
    if not is_unicode(text):
        raise UsageError(f"{text!r} holds bytes that are not UTF-8, so it cannot be written to YAML")
    return yaml.ScalarNode(TEXT_TAG, text, style=style)
