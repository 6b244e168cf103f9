"""config.yaml: what of the cluster file is in force on the controller, as phase 1 wrote it there.

Its keys are those of the cluster file, and two of its own: `version`, and `admitted`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from . import nodeset
from .documents import Document, KeyPath
from .errors import RUN_SETUP
from .fields import read_source, suggest
from .kinds import settings_of
from .model import NODES, SECTIONS, Cluster, Registry, Runtime, Slurm, Sync
from .names import excerpt
from .reader import Reader
from .routes import NodeRoute, by_node_set

VERSION = "2"
"""Of config.yaml's form; the role's template has the same."""
IN_FORCE = tuple(name for name, part in SECTIONS.items() if not part.ours)
KEYS = ("version", "nodes", *IN_FORCE, "admitted")

# Version 1 had other words for the same; what else was in there nobody reads any more.
EARLIER: dict[str, KeyPath] = {
    "nodes": ("synchronization", "nodes"),
    "registry": ("registry",),
    "sync": ("synchronization",),
    "slurm": ("slurm_integration",),
    "admitted": ("synchronization", "key_from"),
}
MOVED = ("nodes", "key_from", "known_hosts")
"""What lay in `synchronization` and is no key of `sync`, or means something else there."""


@dataclass(frozen=True)
class Settings:
    """The controller's part of a cluster. `nodes` None: ask Slurm.

    `admitted` is where the sync key may log in from as phase 1 worked it out, addresses and networks (CIDR); empty:
    anywhere. `outdated`: the file has the form of an older version.
    """

    registry: Registry
    sync: Sync
    slurm: Slurm
    runtime: Runtime
    nodes: tuple[str, ...] | None = None
    admitted: tuple[str, ...] = ()
    outdated: bool = False
    routes: tuple[NodeRoute, ...] = ()


def read(document: Document) -> Settings:
    """What a config.yaml says. A key that is not there has its default: the version that wrote it did not know it.

    Raises ConfigError with every mistake.
    """
    raw = document.data
    outdated = isinstance(raw, dict) and "synchronization" in raw
    reader = Reader(lambda path: document.place(there(path) if outdated else path))
    data = reader.mapping(renamed(raw) if outdated else raw, (), dict.fromkeys(KEYS))
    if data.get("version", VERSION) != VERSION:
        reader.add(("version",), f"{data['version']!r} is not known.{suggest('', [VERSION])}")
    sections = {name: reader.section(name, data.get(name, "")) for name in IN_FORCE}
    if "path" not in sections["registry"] and not reader.mistakes:
        # Its default could be another registry than the one that this file lies in.
        reader.add(("registry",), "path is missing")
    nodes, routes = reader.nodes(data.get("nodes", "slurm")), reader.routes(data.get("nodes"))
    admitted = read_admitted(reader, data.get("admitted", []))
    reader.finish(document.source, RUN_SETUP)
    values: dict[str, Any] = {name: SECTIONS[name].kind(**given) for name, given in sections.items()}
    return Settings(**values, nodes=nodes, admitted=admitted, outdated=outdated, routes=routes)


def read_admitted(reader: Reader, raw: Any) -> tuple[str, ...]:
    """Addresses and networks, perhaps none, perhaps one of them twice."""
    try:
        if not isinstance(raw, list) or not all(isinstance(item, str) for item in raw):
            raise ValueError("must be a list of addresses and networks")
        return tuple(read_source(item) for item in raw)
    except ValueError as error:
        reader.add(("admitted",), str(error))
        return ()


def renamed(raw: Mapping[str, Any]) -> dict[str, Any]:
    """Version 1's data under the keys of today."""
    data: dict[str, Any] = {}
    for key, path in EARLIER.items():
        found: Any = raw
        for part in path:
            found = found.get(part) if isinstance(found, dict) else None
        if found is not None:
            data[key] = found
    if isinstance(data["sync"], dict):
        data["sync"] = {key: value for key, value in data["sync"].items() if key not in MOVED}
    return data


def there(path: KeyPath) -> KeyPath:
    """Where in version 1 something of today is."""
    return (*EARLIER[str(path[0])], *path[1:]) if path and path[0] in EARLIER else path


def written(cluster: Cluster | Settings) -> dict[str, Any]:
    """What of a cluster phase 1 writes down, by the cluster file's keys: text, numbers, booleans, lists of text."""
    data: dict[str, Any] = {"nodes": by_node_set(cluster.routes) or NODES.kind.write(named_nodes(cluster))}
    for name in IN_FORCE:
        values = getattr(cluster, name)
        data[name] = {
            key: one.kind.write(getattr(values, key))
            for key, one in settings_of(SECTIONS[name].kind).items()
            if not one.ours
        }
    return data


def named_nodes(cluster: Cluster | Settings) -> Any:
    """The nodes that syncs go to; None where these are Slurm's, whoever phase 1 sets up."""
    return None if isinstance(cluster, Cluster) and cluster.nodes_by_slurm else cluster.nodes


WORDS = {"routes": "how nodes are reached"}
"""What `flat` calls in words of its own."""


def flat(cluster: Cluster | Settings) -> dict[str, Any]:
    """As `written`, but by `section.key`, and nodes as a node set: their order means nothing. How they are reached is
    beside them, `routes`."""
    data = written(cluster)
    del data["nodes"]
    found = {f"{name}.{key}": value for name, part in data.items() for key, value in part.items()}
    names = named_nodes(cluster)
    nodes = "slurm" if names is None else nodeset.fold(names)
    return {"nodes": nodes, "routes": by_node_set(cluster.routes), **found}


def chosen(cluster: Cluster) -> dict[str, Any]:
    """What of a cluster is not as it would be without a word about it, as `flat`."""
    default = flat(Cluster(cluster.controller))
    return {key: value for key, value in flat(cluster).items() if value != default[key]}


def differences(wanted: Mapping[str, Any], in_force: Settings) -> list[str]:
    """What is not in force of a cluster file's settings, these as `flat`: one sentence for each.

    A key that is not known here is passed over: versions may differ. So is one that an older form does not have.
    """
    theirs = flat(in_force)
    if in_force.outdated:
        del theirs["sync.key_from"]
    return [
        f"{WORDS.get(key, key)} is {shown(value)} in the cluster file, and {shown(theirs[key])} on the controller"
        for key, value in wanted.items()
        if key in theirs and value != theirs[key]
    ]


def shown(value: Any) -> str:
    """A value as a cluster file has it."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, Mapping):
        value = ", ".join(
            " ".join((nodes, *(f"{key} {one}" for key, one in route.items()))) for nodes, route in value.items()
        )
    return excerpt(f"[{', '.join(value)}]" if isinstance(value, list) else str(value)) or "not set"
