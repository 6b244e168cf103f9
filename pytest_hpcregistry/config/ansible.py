"""The three formats that can name a cluster, all brought into the shape of the cluster file, nothing checked yet."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from ..core import documents
from ..core.documents import KeyPath
from ..core.errors import CommandTimeout, ConfigError
from ..core.fields import nearest
from ..core.names import excerpt, last_line
from ..core.role import settings_beside_role, settings_in_role
from ..core.routes import SLURM, NodeRoute
from ..transports.process import run_process
from . import foreign
from .connection import ALIASES, controller_of, node_addresses, read_login
from .hostvars import fold_hosts
from .role import asks_slurm, names_of, read_role, settings_of_role

IGNORED = re.compile(
    r"\.|(?:host_vars|group_vars|vars_plugins)\Z|.*(?:~|\.(?:orig|bak|cfg|retry|pyc|pyo|swp|rpm|md|txt|rst))\Z"
)
"""What Ansible passes over in a directory of inventories: inventory/manager.py, and INVENTORY_IGNORE_EXTS' default."""
INI_SECTION = re.compile(r"^\[[A-Za-z_][\w:.-]*\]\s*(?:[#;].*)?$", re.MULTILINE)
ANSIBLE_KEY = re.compile(r"""^[^#\n]*\b(?:hosts|children)["']?:\s*(?:\{|#|$)""", re.MULTILINE)
CLUSTERS_KEY = re.compile(r"^clusters:", re.MULTILINE)

CONTROLLER_GROUPS = ("controller", "hpc_controllers")
COMPUTE_GROUPS = ("compute", "hpc_compute_nodes")
"""The groups that the playbook runs on, too: each host in any of these."""
PLUGINS = "yaml,ini"
"""Those that run nothing: script and auto, which are on by default, would run the file, or what it names."""
ENVIRONMENT = {
    "ANSIBLE_INVENTORY_ANY_UNPARSED_IS_FAILED": "True",
    # Without these a site's ansible.cfg or environment could have something else printed.
    "ANSIBLE_INVENTORY_EXPORT": "False",
    "ANSIBLE_VERBOSITY": "0",
    "ANSIBLE_DEBUG": "False",
    "ANSIBLE_ASK_VAULT_PASS": "False",
    "ANSIBLE_FORCE_COLOR": "0",
    "ANSIBLE_NOCOLOR": "1",
    "LC_ALL": "C.UTF-8",
}
TIMEOUT = 60  # seconds
VAULT = "ANSIBLE_VAULT_PASSWORD_FILE"
VAULT_HEADER = "$ANSIBLE_VAULT;"
TROUBLES = {
    "no vault secrets found": ("it is encrypted (Ansible Vault)", f"set {VAULT}=FILE, the file with its password"),
    "Decryption failed": ("the password of its vault is another", f"set {VAULT}=FILE, the file with its password"),
}
"""What Ansible says, what that is in plain words, and what to do."""


@dataclass(frozen=True)
class Draft:
    """What was said about a cluster, in the shape of the cluster file, and where each part was said."""

    source: str
    folder: Path
    data: Any
    place_of: Callable[[KeyPath], str]
    overridden: dict[KeyPath, str] = field(default_factory=dict)
    role: dict[str, Any] = field(default_factory=dict)
    """The role's variables that an inventory has, as Ansible hands them to the role."""
    nodes_by_slurm: bool = False

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
    """Read a file of any of the formats, told apart by its content, or a directory of inventories. Raises ConfigError;
    UsageError without it.
    """
    if path.is_dir():
        return from_directory(path)
    text = documents.read_text(path)
    if text.startswith(VAULT_HEADER):
        return from_ansible(path, PLUGINS)
    refuse_foreign(path, text, path)
    if path.suffix == ".toml":
        return from_ansible(path, "toml")
    if INI_SECTION.search(text):
        return from_ansible(path, "ini")
    if ANSIBLE_KEY.search(text) and not CLUSTERS_KEY.search(text):
        return from_ansible(path, "yaml")
    document = documents.parse(text, str(path))
    if isinstance(document.data, dict) and "clusters" in document.data:
        return from_clusters(document, path.absolute().parent)
    return Draft(str(path), path.absolute().parent, document.data, document.place)


def refuse_foreign(path: Path, text: str, source: Path) -> None:
    """Raise ConfigError for a file that is known to be something else than a cluster's description; *source* is the
    directory that it was found in, or the file itself.
    """
    found = foreign.describe_program(path, text, source)
    if not found and not INI_SECTION.search(text) and not ANSIBLE_KEY.search(text):
        found = foreign.describe(path, text)
    if found:
        raise ConfigError(str(path), [f"{path}: this is {found[0]}"], hint=found[1])


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


def from_directory(path: Path) -> Draft:
    """All inventories in a directory, as Ansible puts them together."""
    for one in files_in(path):
        refuse_foreign(one, documents.read_text(one), path)
    return from_ansible(path, PLUGINS)


def files_in(folder: Path) -> Iterator[Path]:
    """The files that Ansible reads of a directory of inventories, and of the directories in it."""
    for one in sorted(folder.iterdir()):
        if IGNORED.match(one.name):
            continue
        if one.is_dir():
            yield from files_in(one)
        else:
            yield one


def from_ansible(path: Path, plugins: str) -> Draft:
    """The playbook's groups of an inventory, and what it says of their hosts. Ansible reads it, group_vars too."""
    inventory = ask_ansible(path, plugins)
    mistakes: list[str] = []
    controllers = group_hosts(inventory, CONTROLLER_GROUPS, mistakes)
    nodes = group_hosts(inventory, COMPUTE_GROUPS, mistakes)
    if len(controllers) > 1:
        mistakes.append(f"group controller: one host, not {len(controllers)}: {', '.join(controllers)}")
    if mistakes:
        hint = f"a group can be made of others: [{CONTROLLER_GROUPS[0]}:children], [{COMPUTE_GROUPS[0]}:children]"
        raise ConfigError(str(path), [f"{path}: {mistake}" for mistake in mistakes], hint=hint)
    (name,) = controllers
    hosts = {host: inventory["_meta"]["hostvars"].get(host, {}) for host in dict.fromkeys([name, *nodes])}
    role = read_role(hosts, mistakes)
    settings = settings_of_role(role, nodes, mistakes)
    controller = read_login(hosts[name])
    troubles = {name: controller.mistakes}
    compute = {host: hosts[host] for host in nodes if host != name}
    addresses = node_addresses(compute, controller, name, troubles)
    refuse_addresses(addresses, settings["nodes"], troubles)
    mistakes += [f"{on_hosts(names)}: {trouble}" for trouble, names in turned(troubles).items()]
    folder = (path if path.is_dir() else path.parent).absolute()
    if mistakes:
        hint = "nothing was changed; correct this, or describe the cluster in a cluster file"
        raise ConfigError(str(path), [f"{path}: {mistake}" for mistake in mistakes], hint=hint)
    data = {**settings, **controller_of(name, controller)}
    by_slurm = asks_slurm(role)
    role = {name: value for name, value in role.items() if name not in settings_beside_role()}
    place = partial(place_in_inventory, path, name)
    return Draft(str(path), folder, data, place, role=role, nodes_by_slurm=by_slurm)


NAMES_IN_INVENTORY = {
    "address": "ansible_host",
    "port": "ansible_port",
    "user": "ansible_user",
    "jump": "a jump",
}


def refuse_addresses(addresses: Mapping[str, NodeRoute], nodes: Any, troubles: dict[str, list[str]]) -> None:
    """How a node is reached from here says nothing of how the controller reaches it; *nodes* may say the same."""
    stated: dict[str, set[str]] = {}
    for key, route in nodes.items() if isinstance(nodes, dict) else ():
        for name in names_of([key]):
            stated[name] = set(route) if isinstance(route, dict) else set()
    for host, one in addresses.items():
        known = stated.get(host, stated.get(SLURM, set()))
        said = {"address": one.address, "port": one.port, "user": one.user, "jump": one.jump}
        left = [key for key, value in said.items() if value is not None and key not in known]
        if not left:
            continue
        named = ", ".join(NAMES_IN_INVENTORY[key] for key in left)
        troubles.setdefault(host, []).append(
            f"{named} is not read: nodes are reached from the controller by their names, at port 22, as its user. What"
            " differs belongs into container_registry_nodes, written as nodes: of a cluster file, or into the"
            " controller's own ssh_config"
        )


def turned(troubles: Mapping[str, Sequence[str]]) -> dict[str, list[str]]:
    """Each trouble, and the hosts that have it."""
    found: dict[str, list[str]] = {}
    for host, all_of in troubles.items():
        for trouble in all_of:
            found.setdefault(trouble, []).append(host)
    return found


def on_hosts(names: Sequence[str]) -> str:
    return f"host{'s' if len(names) > 1 else ''} {fold_hosts(names)}"


def ask_ansible(path: Path, plugins: str) -> dict[str, Any]:
    """What `ansible-inventory --list` prints: its documented interface, which the Python modules behind it are not."""
    environment = {**ENVIRONMENT, "ANSIBLE_INVENTORY_ENABLED": plugins}
    argv = ["env", *(f"{name}={value}" for name, value in environment.items())]
    argv += [sys.executable, "-m", "ansible", "inventory", "-i", str(path.absolute()), "--list"]
    try:
        result = run_process(str(path), argv, timeout=TIMEOUT)
    except CommandTimeout:
        raise ConfigError(str(path), [f"ansible-inventory did not end within {TIMEOUT} s"]) from None
    if result.exit_code != 0:
        for sign, (reason, hint) in TROUBLES.items():
            if sign in result.stderr:
                raise ConfigError(str(path), [f"{path}: Ansible cannot read it: {reason}"], hint=hint)
        raise ConfigError(str(path), [f"{path}: Ansible cannot read it: {find_reason(result.stderr)}"])
    try:
        inventory: dict[str, Any] = json.loads(result.stdout)
    except ValueError:
        raise ConfigError(str(path), [f"{path}: Ansible printed no inventory but {excerpt(result.stdout)}"]) from None
    return inventory


def find_reason(stderr: str) -> str:
    """The one line of Ansible's many that says what is wrong."""
    reason = re.search(r"^\[WARNING\]: Failed to parse inventory with '\w+' plugin: (.+)", stderr, re.MULTILINE)
    place = re.search(r"^Origin: .*?(:\d+)(?::\d+)?$", stderr, re.MULTILINE)
    said = excerpt(reason[1]) if reason else last_line(stderr, "it said nothing")
    return f"line {place[1][1:]}: {said}" if place else said


def group_hosts(inventory: Mapping[str, Any], names: Sequence[str], mistakes: list[str]) -> list[str]:
    """The hosts of the groups *names*, with those of their children."""
    waiting, seen = [name for name in names if name in all_groups(inventory)], set()
    if not waiting:
        there = sorted(all_groups(inventory) - {"all", "ungrouped"})
        near = f' Perhaps you meant "{one}"?' if (one := nearest(names[0], there, 0.8)) else ""
        found = excerpt(", ".join(there)) or "none"
        mistakes.append(
            f"no group {names[0]}.{near} The names taken are {' and '.join(names)}; the groups here: {found}"
        )
        return []
    hosts: dict[str, None] = {}
    while waiting:
        group = waiting.pop(0)
        if group not in seen:
            seen.add(group)
            hosts.update(dict.fromkeys(inventory.get(group, {}).get("hosts", [])))
            waiting.extend(inventory.get(group, {}).get("children", []))
    if not hosts:
        mistakes.append(f"group {names[0]} holds no host")
    return list(hosts)


def all_groups(inventory: Mapping[str, Any]) -> set[str]:
    """Also those without hosts, which Ansible names only as somebody's children."""
    children = {child for name, group in inventory.items() if name != "_meta" for child in group.get("children", [])}
    return children | (set(inventory) - {"_meta"})


def place_in_inventory(path: Path, controller: str, place: KeyPath) -> str:
    """No line: a value may come from a range, from group_vars or from a vault."""
    if len(place) == 2 and place[0] == "controller":
        return f"{path}: host {controller}: {ALIASES.get(str(place[1]), (place[1],))[0]}"
    names = {setting: name for name, setting in (settings_in_role() | settings_beside_role()).items()}
    return f"{path}: {names[place]}" if place in names and place != ("nodes",) else str(path)
