"""What an inventory says of the role's variables, brought into the shape of the cluster file.

Each must be the same on all hosts, as a cluster has one registry.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ..core import nodeset
from ..core.fields import nearest, read_node_names
from ..core.names import excerpt
from ..core.role import OTHERS, PATHS, settings_beside_role, settings_in_role
from ..core.routes import SLURM
from .hostvars import HostVars, as_text, fold_hosts, plain

PREFIX = "container_registry_"
MODES = ("container_registry_directory_mode", "container_registry_dir_mode", "container_registry_file_mode")
NOT_SET = object()
NEAR = 0.8
"""How like a name of the role's another one must be to count as misspelt: sites have container_registry_ words, too."""
MISSPELT = 0.9
"""The same for names that begin with another word."""


def read_role(hosts: HostVars, mistakes: list[str]) -> dict[str, Any]:
    """The variables of the role that *hosts* have, by their names, as Ansible gives them to the role."""
    known = {*settings_in_role(), *settings_beside_role(), *OTHERS}
    names = {name for variables in hosts.values() for name in variables}
    for name in sorted(one for one in names - known if one.startswith(PREFIX)):
        if near := nearest(name[len(PREFIX) :], [one.removeprefix(PREFIX) for one in known], NEAR):
            mistakes.append(f'{name}: the role has no such variable. Perhaps you meant "{PREFIX}{near}"?')
    for name in sorted(one for one in names if not one.startswith(PREFIX)):
        if near := nearest(name.lower(), [one for one in known if one.startswith(PREFIX)], MISSPELT):
            mistakes.append(f'{name}: the role has no such variable. Perhaps you meant "{near}"?')
    said: dict[str, Any] = {}
    for name in sorted(names & known):
        try:
            said[name] = the_same(hosts, name)
        except ValueError as error:
            mistakes.append(f"{name}: {error}")
    return said


def the_same(hosts: HostVars, name: str) -> Any:
    """The one value that a variable has on all *hosts*. Raises ValueError."""
    values = {host: plain(variables.get(name, NOT_SET)) for host, variables in hosts.items()}
    first = next(iter(values.values()))
    if any(value != first or type(value) is not type(first) for value in values.values()):
        told = nodeset.group_by(
            values, lambda host: "not set" if values[host] is NOT_SET else excerpt(repr(values[host]))
        )
        raise ValueError(
            f"differs: {'; '.join(f'{value} on {fold_hosts(names)}' for value, names in told.items())}. It must be the"
            " same on the controller and on all nodes, as in [all:vars]"
        )
    return first


def settings_of_role(said: dict[str, Any], group: Sequence[str], mistakes: list[str]) -> dict[str, Any]:
    """The sections of the cluster file, and its nodes, that *said* (see read_role) makes.

    *group* is the hosts that the playbook runs on, which are the nodes where nothing is said of them.
    """
    data: dict[str, Any] = {"nodes": sorted(group)}
    for section, key, value in storage(said, mistakes):
        data.setdefault(section, {})[key] = value
    for name, path in (settings_in_role() | settings_beside_role()).items():
        if name not in said:
            continue
        if name in MODES and not isinstance(said[name], str):
            mistakes.append(f'{name}: must be text in quotes, such as "0755": YAML and INI make numbers of others')
        elif path == ("nodes",):
            data["nodes"] = data["nodes"] if said[name] == "slurm" else as_text(said[name])
        else:
            data.setdefault(str(path[0]), {})[path[1]] = as_text(said[name])
    if others := other_nodes(data["nodes"], group):
        mistakes.append(
            f"container_registry_nodes differs from the group compute by {fold_hosts(others)}: the playbook sets up the"
            " hosts of the group, and syncs go to these nodes"
        )
    return data


def asks_slurm(said: dict[str, Any]) -> bool:
    """Whether syncs go to Slurm's nodes, as the role's default for container_registry_nodes has it."""
    nodes = said.get("container_registry_nodes", said.get("container_registry_sync_nodes"))
    if nodes is not None:
        return bool(nodes == "slurm")
    earlier = said.get("container_registry_slurm_integration", True)
    return str(said.get("container_registry_slurm_container", earlier)).lower() in ("true", "yes", "on")


def storage(said: dict[str, Any], mistakes: list[str]) -> list[tuple[str, str, Any]]:
    """What container_registry_storage_backend makes of the path and the way of syncs, as the role's defaults do."""
    backend = said.get("container_registry_storage_backend", "local")
    paths = said.get("container_registry_paths", PATHS)
    if not isinstance(paths, dict) or backend not in paths:
        known = ", ".join(map(str, paths)) if isinstance(paths, dict) else "a mapping of paths"
        mistakes.append(f"container_registry_storage_backend: {backend!r} is not in container_registry_paths: {known}")
        return []
    if said.keys().isdisjoint({"container_registry_storage_backend", "container_registry_paths"}):
        return []
    return [
        ("registry", "path", as_text(paths[backend])),
        ("sync", "method", "auto" if backend == "local" else "shared"),
    ]


def other_nodes(nodes: Any, group: Sequence[str]) -> list[str]:
    """The names that are in *nodes* or in *group* only; what is no list of names has its mistake from the Reader."""
    names = names_of([nodes] if isinstance(nodes, str) else nodes)
    return sorted(set(names) ^ set(group)) if names and SLURM not in names else []


def names_of(parts: Any) -> list[str]:
    """The names that node sets mean; none where that is no list of node sets."""
    try:
        return [name for part in parts for name in read_node_names(part)]
    except (TypeError, ValueError):
        return []
