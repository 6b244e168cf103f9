"""Kinds of settings: how each is read from text, how it is written again, and what a JSON Schema can say of it.

A schema never refuses what the parser takes; what it cannot express (a name listed twice, a file that is not there)
only the parser refuses. YAML may make a number of what is read as text here, so most schemas take both.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from . import fields, image_keys

Schema = Mapping[str, Any]

NAME = r"[A-Za-z0-9][A-Za-z0-9._-]{0,252}"
ACCOUNT_NAME = r"[A-Za-z_][A-Za-z0-9_.-]{0,63}"
ADDRESS = r"[0-9A-Fa-f:.]+"
SWITCHES = ("true", "yes", "on", "false", "no", "off")


@dataclass(frozen=True)
class Kind:
    """`parse` raises ValueError that says what is wrong with the text; `write` is the way back, to what YAML can hold.

    `several`: the value is a tuple, written as a list of such texts, none twice unless they `may_repeat`, and at least
    one unless it `may_be_empty`. `alone` are words that stand in the list's place. `records`: in place of each text is
    a mapping, which `parse` gets. `parse_here` is for a file of the workstation, where text may name one: it also gets
    the folder that paths begin at.
    """

    parse: Callable[[Any], Any]
    schema: Schema
    write: Callable[[Any], Any] = lambda value: value
    several: bool = False
    alone: tuple[str, ...] = ()
    may_be_empty: bool = False
    may_repeat: bool = False
    records: bool = False
    parse_here: Callable[[str, Path], Any] | None = None


@dataclass(frozen=True)
class Setting:
    """What stands beside a field of model.py. `ours`: the workstation's own, so it is not written into config.yaml."""

    kind: Kind
    help: str
    ours: bool = False


def setting(kind: Kind, help: str, *, ours: bool = False) -> dict[str, Setting]:  # noqa: A002
    """The metadata of a dataclass's field that is a setting."""
    return {"setting": Setting(kind, help, ours)}


def settings_of(section: type) -> dict[str, Setting]:
    """The settings of a class, by their keys: of model.py all fields are such."""
    return {one.name: one.metadata["setting"] for one in dataclasses.fields(section) if "setting" in one.metadata}


def text(pattern: str, *, number: bool = False) -> Schema:
    """Text of this form, with *number* also what YAML takes for a number."""
    return {"type": ["string", "number"] if number else "string", "pattern": f"^(?:{pattern})$"}


def whole(least: int, most: int, pattern: str) -> Schema:
    """A whole number within bounds, or text that means one."""
    return {"type": ["integer", "string"], "minimum": least, "maximum": most, "pattern": f"^(?:{pattern})$"}


def one_of(*words: str) -> Kind:
    """One of these words."""
    return Kind(fields.one_of(*words), {"enum": list(words)})


def list_of(parse: Callable[[str], str], items: Schema, *alone: str, least: int = 1) -> Kind:
    """A list of texts, *least* 1 or 0 of them, or one of the words *alone*."""
    several: Schema = {"type": "array", "minItems": least, "uniqueItems": True, "items": items}
    schema: Schema = {"anyOf": [{"enum": list(alone)}, several]} if alone else several

    def write(value: tuple[str, ...]) -> str | list[str]:
        return value[0] if alone and value[0] in alone else list(value)

    return Kind(parse, schema, write, several=True, alone=alone, may_be_empty=not least)


def write_mode(mode: int) -> str:
    """0o755 -> "0755"."""
    return f"{mode:04o}"


def write_nodes(nodes: tuple[str, ...] | None) -> str | list[str]:
    """None, which means that Slurm knows them, is `slurm`."""
    return "slurm" if nodes is None else list(nodes)


HOST = Kind(fields.read_host, text(rf"{NAME}|[0-9A-Fa-f.]*:[0-9A-Fa-f:.]*", number=True))
PORT = Kind(fields.read_port, whole(1, 65535, "0*[1-9][0-9]{0,4}"))
ACCOUNT = Kind(fields.read_account, text(ACCOUNT_NAME))
PARTITION = Kind(fields.read_partition, text(NAME, number=True))
NUMBER = Kind(fields.read_number, whole(1, 999_999_999, "0*[1-9][0-9]{0,8}"))
COUNT = Kind(fields.read_count, whole(0, 9999, "[0-9]{1,4}"))
RATE = Kind(fields.read_rate, whole(0, 10**12 - 1, "[0-9]{1,12}[KMGkmg]?"))
SWITCH = Kind(
    fields.read_switch,
    {"enum": [True, False, *(form for word in SWITCHES for form in (word, word.title(), word.upper()))]},
)
# As a number a mode is what its digits say, or what they mean: YAML's versions differ.
DIRECTORY_MODE = Kind(fields.read_directory_mode, whole(0o700, 7777, "(0o|0)?[0-7]?7[0-7]{2}"), write_mode)
FILE_MODE = Kind(fields.read_file_mode, whole(0o400, 777, "(0o|0)?0?[4-7][0-7]{2}"), write_mode)
REMOTE_PATH = Kind(fields.read_remote_path, text(r"(/(?!\.{1,2}(/|$))[A-Za-z0-9._+-]+)+"))
LOCAL_FILE = Kind(fields.read_local_file, text(r"[^-].*"), str, parse_here=fields.read_local_file)
# What the file says is the value, so that nothing can be written; config/waivers.py reads it.
WAIVERS = Kind(
    fields.read_local_file, {"anyOf": [text(r"[^-].*"), {"type": "null"}, {"const": ""}]}, lambda waivers: ""
)
# Of an unquoted off, YAML 1.1 makes false.
SIGNATURES = Kind(fields.one_of("off", "warn", "require"), {"enum": ["off", "warn", "require", False]})
SIGNERS = list_of(fields.read_signer, text(fields.SIGNER.pattern.removesuffix(r"\Z")), least=0)
IMAGE_KEYS = replace(
    list_of(image_keys.read_line, text(r"[^-].*"), least=0),
    parse_here=image_keys.read_file,
)
DIRECTORIES = list_of(fields.read_directory, text("[A-Za-z0-9][A-Za-z0-9_-]{0,63}", number=True))
NETWORK = Kind(fields.read_network, text(rf"{ADDRESS}(/[0-9.]+)?"), lambda network: network or "")
BINDS = list_of(fields.read_bind, text(r"/[^:,\s]*(:/[^:,\s]*(:(ro|rw))?)?"), least=0)
VARIABLES = list_of(fields.read_variable, text("[A-Za-z_][A-Za-z0-9_]{0,63}=.{0,1000}"), least=0)
RUNTIME_OPTIONS = list_of(fields.read_runtime_option, text("--[a-z][a-z-]{1,40}(=.{1,1000})?"), least=0)
SOURCES = list_of(fields.read_source, text(rf"{ADDRESS}(/[0-9.]+)?"), "auto", "any")
NODE_SET: Schema = text(r"[A-Za-z0-9[]([][A-Za-z0-9._,!&^ -]*[]A-Za-z0-9._ -])?", number=True)
NODES = Kind(
    fields.read_node_names,
    {
        "anyOf": [
            NODE_SET,
            {"type": "array", "minItems": 1, "uniqueItems": True, "items": {**NODE_SET, "not": {"const": "slurm"}}},
        ]
    },
    write_nodes,
)
