"""What is particular to a lab: its machines' names, their sshd, their files, its Slurm. One YAML in sites/ for each.

A site says what a stranger's cluster is like. Nothing else of this package knows which one it is on.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from functools import partial
from importlib import resources
from typing import Any, TypeVar

from ..core import documents
from ..core.documents import Document, KeyPath
from ..core.errors import ConfigError, UsageError
from ..core.fields import (
    find_repeated,
    one_of,
    read_account,
    read_count,
    read_file_mode,
    read_host,
    read_node_names,
    read_port,
    read_remote_path,
    suggest,
)
from .image import SOURCES

T = TypeVar("T")
DEMO = "demo"
CONTROLLER = "hpc-controller"
"""Of the demo's site, and of each that says nothing else."""
MOST_NODES = 64


@dataclass(frozen=True)
class File:
    """A file that lies on the machines `on` (a role or a machine) before their daemons start."""

    path: str = ""
    text: str = ""
    mode: int = 0o644
    owner: str = "root"
    on: str = "all"


@dataclass(frozen=True)
class Site:
    """One YAML in sites/. What is by role has the keys `all`, `controller`, `nodes`, `gate`, or a machine's name.

    `debian` is the release of all machines. `nodes` are the hosts that there may be, `count` how many there are by
    default, and `node_names` what Slurm calls them where that is something else. `gate` is a machine to go through.
    `login` is who logs in from the workstation, `users` who else has an account beside admin and alice, `home` where
    homes lie, `key` the type of all keys. `pythons` are versions that /usr/bin/python3 is of, taken from this machine.
    `slurm` ends slurm.conf. `start` are scripts that run as root before the daemons do, each time a machine starts;
    `running` is one that runs on the controller once every node is idle. `cluster` is what the cluster file says beside
    how the controller is reached. `refused` are the words with which setup refuses it; `limits` are those of other
    steps of `make sites`, by their names, that must not succeed.
    """

    name: str = DEMO
    about: str = ""
    debian: str = "trixie"
    controller: str = CONTROLLER
    nodes: tuple[str, ...] = ()
    count: int = 0
    node_names: tuple[str, ...] = ()
    gate: str = ""
    domain: str = ""
    login: str = "root"
    users: tuple[str, ...] = ()
    home: str = "/home"
    key: str = "ed25519"
    ports: Mapping[str, int] = field(default_factory=dict)
    pythons: Mapping[str, str] = field(default_factory=dict)
    sshd: Mapping[str, str] = field(default_factory=dict)
    files: tuple[File, ...] = ()
    slurm: str = "PartitionName=main Nodes=ALL Default=YES MaxTime=INFINITE State=UP\n"
    start: Mapping[str, str] = field(default_factory=dict)
    running: str = ""
    cluster: Mapping[str, Any] = field(default_factory=dict)
    refused: str = ""
    limits: Mapping[str, str] = field(default_factory=dict)

    def role(self, machine: str) -> str:
        """`controller`, `gate` or `nodes`."""
        return {self.controller: "controller", self.gate: "gate"}.get(machine, "nodes")

    def keys(self, machine: str) -> tuple[str, str, str]:
        """The keys that concern a machine, in the order in which they apply."""
        return "all", self.role(machine), machine

    def lines(self, texts: Mapping[str, str], machine: str) -> str:
        """All of the *texts* by role that concern a machine."""
        return "".join(texts.get(key, "").rstrip("\n") + "\n" for key in self.keys(machine) if texts.get(key))

    def port(self, machine: str) -> int:
        """The port of a machine's sshd."""
        return self.nearest(self.ports, machine) or 22

    def python(self, machine: str) -> str | None:
        """The version that /usr/bin/python3 of a machine is of, where it is not the image's."""
        return self.nearest(self.pythons, machine)

    def nearest(self, values: Mapping[str, T], machine: str) -> T | None:
        """Of the *values* by role the one that says most of a machine."""
        return next((values[key] for key in reversed(self.keys(machine)) if key in values), None)


def names() -> list[str]:
    """The sites that there are, the default one first."""
    found = [entry.name.removesuffix(".yaml") for entry in directory().iterdir() if entry.name.endswith(".yaml")]
    return sorted(found, key=lambda name: (name != DEMO, name))


def directory() -> Any:
    return resources.files(__package__).joinpath("sites")


def load(name: str) -> Site:
    """The site of that name. Raises UsageError when there is none, ConfigError with every mistake in its file."""
    if name not in names():
        raise UsageError(f"there is no site {name!r}.{suggest(name, names())}", hint="hpc-container-manager lab sites")
    file = directory().joinpath(f"{name}.yaml")
    return read(documents.parse(file.read_text(), file.name), name)


def read(document: Document, name: str) -> Site:
    """The site that a document describes. Raises ConfigError with every mistake and its line."""
    mistakes: list[tuple[KeyPath, str]] = []
    values = read_mapping(document.data, READERS, (), mistakes)
    if not mistakes:
        nodes = values.get("nodes", ())
        if not 1 <= len(nodes) <= MOST_NODES:
            mistakes.append((("nodes",), f"nodes: 1 to {MOST_NODES} hosts"))
        if values.get("node_names") and len(values["node_names"]) != len(nodes):
            mistakes.append((("node_names",), "node_names: one for each of nodes"))
        values.setdefault("count", len(nodes))
        if not 1 <= values["count"] <= len(nodes):
            mistakes.append((("count",), "count: at least 1, at most as many as nodes"))
        if not values.get("about"):
            mistakes.append(((), "about is missing: one line that says what the site is"))
        site = Site(name, **values)
        mistakes += wrong_roles(site)
    if mistakes:
        raise ConfigError(document.source, [f"{document.place(path)}: {what}" for path, what in mistakes])
    return site


def wrong_roles(site: Site) -> list[tuple[KeyPath, str]]:
    """What is by role, and names neither a role nor a machine."""
    known = ["all", "controller", "nodes", "gate", site.controller, *site.nodes]
    named: list[tuple[KeyPath, str]] = [(("files", number, "on"), one.on) for number, one in enumerate(site.files)]
    named += [((key, role), role) for key in ("ports", "pythons", "sshd", "start") for role in getattr(site, key)]
    return [
        (path, f"{role!r} is neither a role nor a machine.{suggest(role, known)}")
        for path, role in named
        if role not in known
    ]


Readers = Mapping[str, Callable[[Any, KeyPath, list[tuple[KeyPath, str]]], Any]]


def read_mapping(raw: Any, readers: Readers, path: KeyPath, mistakes: list[tuple[KeyPath, str]]) -> dict[str, Any]:
    """The values of a mapping's known keys; what is wrong with it is added to *mistakes*."""
    if not isinstance(raw, dict):
        mistakes.append((path, "must be a mapping"))
        return {}
    values = {}
    for key, value in raw.items():
        if key not in readers:
            mistakes.append(((*path, key), f"{key}: unknown key.{suggest(key, readers)}"))
            continue
        try:
            values[key] = readers[key](value, (*path, key), mistakes)
        except ValueError as error:
            mistakes.append(((*path, key), f"{key}: {error}"))
    return values


def text(parse: Callable[[str], Any], raw: Any, *_: object) -> Any:
    if not isinstance(raw, str) or not raw:
        raise ValueError("must be text")
    return parse(raw)


def several(parse: Callable[[str], Any], raw: Any, *_: object) -> tuple[Any, ...]:
    if not isinstance(raw, list) or not raw or find_repeated([str(one) for one in raw]):
        raise ValueError("must be a list, none of it twice")
    return tuple(text(parse, one) for one in raw)


def by_name(parse: Callable[[str], Any], raw: Any, *_: object) -> dict[str, Any]:
    if not isinstance(raw, dict):
        raise ValueError("must be a mapping")
    return {key: text(parse, value) for key, value in raw.items()}


def read_files(raw: Any, path: KeyPath, mistakes: list[tuple[KeyPath, str]]) -> tuple[File, ...]:
    if not isinstance(raw, list):
        raise ValueError("must be a list")
    found = [File(**read_mapping(one, FILE_READERS, (*path, number), mistakes)) for number, one in enumerate(raw)]
    mistakes += [((*path, number), "path is missing") for number, one in enumerate(found) if not one.path]
    return tuple(found)


def read_cluster(raw: Any, *_: object) -> dict[str, Any]:
    """Sections as a cluster file has them; whoever loads that file checks them."""
    if not isinstance(raw, dict):
        raise ValueError("must be a mapping")
    return raw


def read_version(text: str) -> str:
    if not re.fullmatch(r"3\.[0-9]{1,2}", text):
        raise ValueError(f"{text!r} is no version such as 3.6")
    return text


def node_set(raw: str) -> tuple[str, ...]:
    return tuple(read_node_names(raw))


FILE_READERS: Readers = {
    "path": partial(text, read_remote_path),
    "text": partial(text, str),
    "mode": partial(text, read_file_mode),
    "owner": partial(text, read_account),
    "on": partial(text, str),
}
READERS: Readers = {
    "about": partial(text, str),
    "debian": partial(text, one_of(*SOURCES)),
    "controller": partial(text, read_host),
    "nodes": partial(text, node_set),
    "count": partial(text, read_count),
    "node_names": partial(text, node_set),
    "gate": partial(text, read_host),
    "domain": partial(text, read_host),
    "login": partial(text, read_account),
    "users": partial(several, read_account),
    "home": partial(text, read_remote_path),
    "key": partial(text, one_of("ed25519", "ecdsa", "rsa")),
    "ports": partial(by_name, read_port),
    "pythons": partial(by_name, read_version),
    "sshd": partial(by_name, str),
    "files": read_files,
    "slurm": partial(text, str),
    "start": partial(by_name, str),
    "running": partial(text, str),
    "cluster": read_cluster,
    "refused": partial(text, str),
    "limits": partial(by_name, str),
}
assert set(READERS) | {"name"} == {one.name for one in fields(Site)}
