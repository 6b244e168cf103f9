"""The three formats that can name a cluster, all brought into the shape of the cluster file, nothing checked yet."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..core import documents
from ..core.documents import KeyPath
from ..core.errors import CommandTimeout, ConfigError
from ..core.fields import suggest
from ..core.names import excerpt, last_line
from ..transports.process import run_process

INI_SECTION = re.compile(r"^\[[A-Za-z_][\w:.-]*\]\s*(?:[#;].*)?$", re.MULTILINE)
ANSIBLE_KEY = re.compile(r"""^[^#\n]*\b(?:hosts|children)["']?:\s*(?:\{|#|$)""", re.MULTILINE)
CLUSTERS_KEY = re.compile(r"^clusters:", re.MULTILINE)

CONTROLLER_GROUPS = ("controller", "controllers", "hpc_controllers")
COMPUTE_GROUPS = ("compute", "compute_nodes", "hpc_compute_nodes")
CONNECTION = {
    "host": "ansible_host",
    "port": "ansible_port",
    "user": "ansible_user",
    "key": "ansible_ssh_private_key_file",
}
ANSIBLE_ENVIRONMENT = {
    "ANSIBLE_INVENTORY_ANY_UNPARSED_IS_FAILED": "True",
    "ANSIBLE_NOCOLOR": "1",
    "LC_ALL": "C.UTF-8",
}
ANSIBLE_TIMEOUT = 60  # seconds


@dataclass(frozen=True)
class Draft:
    """What was said about a cluster, in the shape of the cluster file, and where each part was said."""

    source: str
    folder: Path
    data: Any
    place_of: Callable[[KeyPath], str]
    overridden: dict[KeyPath, str] = field(default_factory=dict)

    def override(self, section: str, key: str, text: str, place: str) -> None:
        """Let *text*, said at *place*, win over the file. A section that is no mapping stays, to be reported."""
        if not isinstance(self.data, dict):
            return
        if self.data.get(section, "") == "":
            self.data[section] = {}
        if isinstance(self.data[section], dict):
            self.data[section][key] = text
            self.overridden[(section, key)] = place

    def place(self, path: KeyPath) -> str:
        return self.overridden.get(path) or self.place_of(path)


def read(path: Path) -> Draft:
    """Read a file of any of the formats, told apart by its content. Raises ConfigError; UsageError without it."""
    text = documents.read_text(path)
    if INI_SECTION.search(text):
        return from_ansible(path, "ini")
    if ANSIBLE_KEY.search(text) and not CLUSTERS_KEY.search(text):
        return from_ansible(path, "yaml")
    document = documents.parse(text, str(path))
    if isinstance(document.data, dict) and "clusters" in document.data:
        return from_clusters(document, path.absolute().parent)
    return Draft(str(path), path.absolute().parent, document.data, document.place)


def from_clusters(document: documents.Document, folder: Path) -> Draft:
    """`clusters: {hpc: {controller: {ip_address}, compute_nodes: [{ip}]}}`; other keys are passed over."""
    root = ("clusters", choose_cluster(document))
    cluster = document.data["clusters"][root[1]]
    mistakes = [
        f"{document.place((*root, key))}: {'.'.join((*root, key))}: must be {what}"
        for key, kind, what in (("controller", dict, "a mapping with ip_address"), ("compute_nodes", list, "a list"))
        if not isinstance(cluster.get(key), kind)
    ]
    if mistakes:
        raise ConfigError(document.source, mistakes)

    controller, nodes = cluster["controller"], cluster["compute_nodes"]
    data: dict[str, Any] = {"controller": {}, "nodes": [node_name(node) for node in nodes]}
    origins: dict[KeyPath, KeyPath] = {("nodes", index): (*root, "compute_nodes", index) for index in range(len(nodes))}
    origins |= {("controller",): (*root, "controller"), ("nodes",): (*root, "compute_nodes")}
    for key, theirs in (("host", "ip_address"), ("name", "hostname"), ("name", "name")):
        if theirs in controller:
            data["controller"][key] = controller[theirs]
            origins["controller", key] = (*root, "controller", theirs)
    mount_point = shared_mount_point(cluster)
    if mount_point:
        data["registry"] = {"path": f"{mount_point}/containers"}
        data["sync"] = {"method": "shared"}
        origins["registry", "path"] = (*root, "storage", "beegfs", "mount_point")
    return Draft(document.source, folder, data, lambda path: document.place(origins.get(path, root)))


def choose_cluster(document: documents.Document) -> str:
    clusters = document.data["clusters"]
    place = document.place(("clusters",))
    if not isinstance(clusters, dict) or not clusters:
        raise ConfigError(document.source, [f"{place}: clusters: must be a mapping from names to clusters"])
    name = "hpc" if "hpc" in clusters else next(iter(clusters))
    if name != "hpc" and len(clusters) > 1:
        problem = f"{place}: clusters: {', '.join(clusters)}: several, and none is called hpc"
        raise ConfigError(document.source, [problem], hint="name one hpc, or keep one cluster in the file")
    if not isinstance(clusters[name], dict):
        raise ConfigError(
            document.source, [f"{document.place(('clusters', name))}: clusters.{name}: must be a mapping"]
        )
    return str(name)


def node_name(node: Any) -> Any:
    if not isinstance(node, dict):
        return node
    return node.get("name") or node.get("hostname") or node.get("ip") or ""


def shared_mount_point(cluster: Mapping[str, Any]) -> str:
    storage = cluster.get("storage")
    beegfs = storage.get("beegfs") if isinstance(storage, dict) else None
    if isinstance(beegfs, dict) and str(beegfs.get("enabled")).lower() in ("true", "yes", "on"):
        return str(beegfs.get("mount_point", "/mnt/beegfs"))
    return ""


def from_ansible(path: Path, plugin: str) -> Draft:
    """Groups controller and compute of an Ansible inventory. Ansible itself reads it, group_vars too."""
    inventory = ask_ansible(path, plugin)
    mistakes: list[str] = []
    controllers = group_hosts(inventory, CONTROLLER_GROUPS, path, mistakes)
    nodes = group_hosts(inventory, COMPUTE_GROUPS, path, mistakes)
    if len(controllers) > 1:
        mistakes.append(f"{path}: group controller: one host, not {len(controllers)}: {', '.join(controllers)}")
    if mistakes:
        raise ConfigError(str(path), mistakes)
    name = controllers[0]
    variables = inventory["_meta"]["hostvars"].get(name, {})
    controller = {key: as_text(variables[theirs]) for key, theirs in CONNECTION.items() if theirs in variables}
    data = {"controller": {"name": name, **controller}, "nodes": nodes}
    return Draft(str(path), path.absolute().parent, data, lambda place: place_in_inventory(path, name, place))


def ask_ansible(path: Path, plugin: str) -> dict[str, Any]:
    """What `ansible-inventory --list` prints: its documented interface, which the Python modules behind it are not."""
    # One plugin: script and auto, which are on by default, would run the file or what it names.
    environment = {**ANSIBLE_ENVIRONMENT, "ANSIBLE_INVENTORY_ENABLED": plugin}
    argv = ["env", *(f"{name}={value}" for name, value in environment.items())]
    argv += [sys.executable, "-m", "ansible", "inventory", "-i", str(path.absolute()), "--list"]
    try:
        result = run_process(str(path), argv, timeout=ANSIBLE_TIMEOUT)
    except CommandTimeout:
        raise ConfigError(str(path), [f"ansible-inventory did not end within {ANSIBLE_TIMEOUT} s"]) from None
    if result.exit_code != 0:
        raise ConfigError(str(path), [f"{path}: Ansible cannot read it: {find_reason(result.stderr)}"])
    inventory: dict[str, Any] = json.loads(result.stdout)
    return inventory


def find_reason(stderr: str) -> str:
    """The one line of Ansible's many that says what is wrong."""
    reason = re.search(r"^\[WARNING\]: Failed to parse inventory with '\w+' plugin: (.+)", stderr, re.MULTILINE)
    place = re.search(r"^Origin: .*?(:\d+)(?::\d+)?$", stderr, re.MULTILINE)
    said = excerpt(reason[1]) if reason else last_line(stderr, "it said nothing")
    return f"line {place[1][1:]}: {said}" if place else said


def group_hosts(inventory: Mapping[str, Any], names: Sequence[str], path: Path, mistakes: list[str]) -> list[str]:
    """The hosts of the first of *names* that is there, with those of its children."""
    name = next((name for name in names if name in all_groups(inventory)), None)
    if name is None:
        groups = sorted(all_groups(inventory) - {"all", "ungrouped"})
        mistakes.append(f"{path}: no group {names[0]}." + suggest(names[0], groups or ["no group at all"]))
        return []
    hosts: dict[str, None] = {}
    waiting, seen = [name], set()
    while waiting:
        group = waiting.pop(0)
        if group not in seen:
            seen.add(group)
            hosts.update(dict.fromkeys(inventory.get(group, {}).get("hosts", [])))
            waiting.extend(inventory.get(group, {}).get("children", []))
    if not hosts:
        mistakes.append(f"{path}: group {name} holds no host")
    return list(hosts)


def all_groups(inventory: Mapping[str, Any]) -> set[str]:
    """Also those without hosts, which Ansible names only as somebody's children."""
    children = {child for name, group in inventory.items() if name != "_meta" for child in group.get("children", [])}
    return children | (set(inventory) - {"_meta"})


def as_text(value: Any) -> Any:
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else value


def place_in_inventory(path: Path, controller: str, place: KeyPath) -> str:
    """No line: a value may come from a range, from group_vars or from a vault."""
    if len(place) == 2 and place[0] == "controller":
        return f"{path}: host {controller}: {CONNECTION.get(str(place[1]), place[1])}"
    return str(path)
