"""A file, the environment and the command line -> a checked Cluster, with every mistake told at once.

The keys of the cluster file, their types and their defaults are the fields of model.py; there is no second list.
"""

from __future__ import annotations

import dataclasses
import os
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import is_dataclass
from pathlib import Path
from typing import Any, get_type_hints

from ..core.documents import KeyPath
from ..core.errors import ConfigError, UsageError
from ..core.model import Cluster
from . import fields
from .ansible import Draft, read

SYNC_METHODS = ("auto", "star", "relay", "shared")
TRANSPORTS = ("openssh", "paramiko")

# The environment variables of the bash framework that this replaces. TEST_CONTROLLER is one more: see point_at.
ENVIRONMENT = {
    "SSH_USER": ("controller", "user"),
    "SSH_KEY_PATH": ("controller", "key"),
    "REGISTRY_BASE_PATH": ("registry", "path"),
    "EXPECTED_MODE": ("registry", "directory_mode"),
    "EXPECTED_OWNER": ("registry", "owner"),
    "EXPECTED_GROUP": ("registry", "group"),
}

BY_TYPE: dict[Any, Callable[[str], Any]] = {
    int: fields.read_number,
    bool: fields.read_switch,
    str: fields.read_word,
    str | None: fields.read_word,
}
# Where the type does not say enough.
BY_NAME: dict[tuple[str, str], Callable[[str], Any]] = {
    ("controller", "name"): fields.read_host,
    ("controller", "host"): fields.read_host,
    ("controller", "port"): fields.read_port,
    ("controller", "user"): fields.read_account,
    ("controller", "jump"): fields.read_jump,
    ("registry", "path"): fields.read_remote_path,
    ("registry", "owner"): fields.read_account,
    ("registry", "group"): fields.read_account,
    ("registry", "directory_mode"): fields.read_directory_mode,
    ("registry", "file_mode"): fields.read_file_mode,
    ("registry", "directories"): fields.read_directory,
    ("registry", "keep"): fields.read_count,
    ("sync", "method"): fields.one_of(*SYNC_METHODS),
    ("sync", "network"): fields.read_network,
    ("sync", "limit_rate"): fields.read_rate,
    ("sync", "key"): fields.read_remote_path,
    ("sync", "key_from"): fields.read_source,
    ("sync", "log"): fields.read_remote_path,
    ("slurm", "conf_dir"): fields.read_remote_path,
    ("slurm", "run_as"): fields.read_account,
    ("slurm", "partition"): fields.read_partition,
    ("ssh", "transport"): fields.one_of(*TRANSPORTS),
}
# Words that stand alone, where else there is a list.
ALONE: dict[tuple[str, str], tuple[str, ...]] = {("sync", "key_from"): ("auto", "any")}


def load_cluster(
    path: Path | None,
    *,
    controller: str | None = None,
    user: str | None = None,
    key: str | Path | None = None,
    environ: Mapping[str, str] = os.environ,
) -> Cluster:
    """The cluster that *path* describes: a cluster file, the bash framework's `clusters:` file or an Ansible inventory.

    Without *path* the file is HPC_CLUSTER's, and without that there is only a controller, which asks Slurm for the
    nodes. An argument wins over the environment, the environment over the file. Raises UsageError when nothing names
    a cluster or the file is not there, ConfigError with every mistake.
    """
    if path is None and environ.get("HPC_CLUSTER"):
        path = Path(environ["HPC_CLUSTER"])
    target, place = (controller, "--controller") if controller else (environ.get("TEST_CONTROLLER"), "TEST_CONTROLLER")
    if path is not None:
        draft = read(path)
    elif target:
        draft = Draft("command line", Path.cwd(), {}, lambda _: "command line")
    else:
        raise UsageError(
            "no cluster is named", hint="give --cluster FILE, or set HPC_CLUSTER=FILE, or give --controller HOST"
        )
    if target:
        point_at(draft, target, place)
    for variable, (section, field) in ENVIRONMENT.items():
        override(draft, section, field, environ.get(variable), variable)
    override(draft, "controller", "user", user, "--user")
    override(draft, "controller", "key", key, "--key")
    return Checker(draft).cluster()


def point_at(draft: Draft, target: str, place: str) -> None:
    """Talk to *target* in place of the file's controller, unless it is another word for the same."""
    known = draft.data.get("controller") if isinstance(draft.data, dict) else None
    if isinstance(known, dict) and target in (known.get("name"), known.get("host")):
        return
    draft.override("controller", "name", target, place)
    draft.override("controller", "host", target, place)


def override(draft: Draft, section: str, field: str, value: str | Path | None, place: str) -> None:
    if value is None or str(value) == "":
        return
    # A path typed at a prompt is relative to where it was typed, not to the file.
    text = str(value) if field != "key" or str(value).startswith("~") else str(Path(value).absolute())
    draft.override(section, field, text, place)


class Checker:
    """Turns a draft into a Cluster and gathers the mistakes on the way."""

    def __init__(self, draft: Draft) -> None:
        self.draft = draft
        self.mistakes: list[tuple[int, str]] = []

    def cluster(self) -> Cluster:
        kinds = get_type_hints(Cluster)
        data = self.mapping(self.draft.data, (), kinds)
        nodes = self.nodes(data.pop("nodes", "slurm"))
        sections = {
            name: self.section(name, kinds[name], data.get(name, ""))
            for name in kinds
            if name != "nodes" and (name in data or name == "controller")
        }
        if self.mistakes:
            found = [mistake for _, mistake in sorted(self.mistakes, key=lambda mistake: mistake[0])]
            raise ConfigError(self.draft.source, found, hint="nothing was changed; correct this and try again")
        return Cluster(nodes=nodes, **{name: kinds[name](**values) for name, values in sections.items()})

    def section(self, name: str, kind: type, raw: Any) -> dict[str, Any]:
        kinds = get_type_hints(kind)
        given = self.mapping(raw, (name,), kinds)
        optional = {field.name for field in dataclasses.fields(kind) if field.default is None}
        values: dict[str, Any] = {}
        for key, value in given.items():
            if key in optional and value in ("", "null", "~"):
                continue
            try:
                values[key] = self.value(name, key, kinds[key], value)
            except ValueError as error:
                self.add((name, key), str(error))
        return self.with_name_and_host(given, values) if name == "controller" else values

    def with_name_and_host(self, given: Mapping[str, Any], values: dict[str, Any]) -> dict[str, Any]:
        """People write one of the two when both are the same."""
        if "name" not in given and "host" not in given:
            self.add(("controller",), "host is missing: the controller's address, or its name for ssh")
        same = values.get("host") or values.get("name")
        return {"name": same, "host": same, **values}

    def value(self, section: str, key: str, kind: Any, raw: Any) -> Any:
        reader = BY_NAME.get((section, key)) or BY_TYPE.get(kind)
        if raw in (words := ALONE.get((section, key), ())):
            return (raw,)
        if words and isinstance(raw, str):
            raise ValueError(f"must be {', '.join(words)}, or a list")
        if kind == tuple[str, ...]:
            return self.several(raw, reader or fields.read_word)
        if not isinstance(raw, str):
            raise ValueError(f"must be one value, not a {'mapping' if isinstance(raw, dict) else 'list'}")
        if raw == "":
            raise ValueError("is empty")
        return reader(raw) if reader else fields.read_local_file(raw, self.draft.folder)

    def several(self, raw: Any, reader: Callable[[str], str]) -> tuple[str, ...]:
        if not isinstance(raw, list) or not raw or not all(isinstance(item, str) for item in raw):
            raise ValueError("must be a list of names, at least one")
        if fields.find_repeated(raw):
            raise ValueError(f"listed twice: {', '.join(fields.find_repeated(raw))}")
        return tuple(reader(item) for item in raw)

    def nodes(self, raw: Any) -> tuple[str, ...] | None:
        if raw == "slurm":
            return None
        parts: Sequence[tuple[KeyPath, Any]] = [(("nodes",), raw)]
        if isinstance(raw, list):
            parts = [(("nodes", index), item) for index, item in enumerate(raw)]
        names: list[str] = []
        before = len(self.mistakes)
        for path, part in parts:
            try:
                names += self.node_names(part)
            except ValueError as error:
                self.add(path, str(error))
        if fields.find_repeated(names):
            self.add(("nodes",), f"listed twice: {', '.join(fields.find_repeated(names)[:10])}")
        if not names and len(self.mistakes) == before:
            self.add(("nodes",), "no node is listed; write slurm, a node set or a list")
        return tuple(names)

    def node_names(self, part: Any) -> list[str]:
        if not isinstance(part, str):
            raise ValueError("must be slurm, a node set such as c[001-064], or a list of names")
        if part == "" and isinstance(self.draft.data.get("nodes"), list):
            raise ValueError("an entry without a name or an address")
        if part == "slurm":
            raise ValueError("slurm stands alone (nodes: slurm), not in a list")
        return fields.read_node_names(part)

    def mapping(self, raw: Any, path: KeyPath, known: Mapping[str, Any]) -> dict[str, Any]:
        """The known keys of *raw*. Nothing under a heading, as when all is commented out, is an empty mapping."""
        if raw == "":
            return {}
        if not isinstance(raw, dict):
            self.add(path, f"must be a mapping with keys such as {', '.join(list(known)[:3])}")
            return {}
        for key in raw:
            if key not in known:
                self.add((*path, key), f"unknown key.{homes_of(key) or fields.suggest(key, known)}")
        return {key: value for key, value in raw.items() if key in known}

    def add(self, path: KeyPath, problem: str) -> None:
        dotted = ".".join(part for part in path if isinstance(part, str))
        place = self.draft.place(path)
        line = re.search(r":([0-9]+)\Z", place)
        self.mistakes.append((int(line[1]) if line else 0, ": ".join(filter(None, (place, dotted, problem)))))


def homes_of(key: str) -> str:
    """Where a key that is in the wrong section belongs, as the end of a message."""
    kinds = get_type_hints(Cluster)
    homes = [name for name, kind in kinds.items() if is_dataclass(kind) and key in get_type_hints(kind)]
    return f" It is a key of {' and of '.join(homes)}." if homes else ""
