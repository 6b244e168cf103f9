"""What the variables of an inventory's hosts say of where a host is and as whom one logs in there.

Each variable of Ansible that decides this is read, or is a mistake that names it and says where it belongs. The others,
such as ansible_python_interpreter, change nothing here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from ..core.fields import read_account, read_host, read_port
from ..core.names import excerpt
from ..core.routes import Jump, NodeRoute, read_jump
from .hostvars import HostVars, as_text, plain
from .ssh_words import read_words

ALIASES = {
    "host": ("ansible_host", "ansible_ssh_host"),
    "port": ("ansible_port", "ansible_ssh_port"),
    "user": ("ansible_user", "ansible_ssh_user"),
    "key": ("ansible_private_key_file", "ansible_ssh_private_key_file"),
}
WORDS = ("ansible_ssh_args", "ansible_ssh_common_args", "ansible_ssh_extra_args")
"""In the order in which Ansible hands them to ssh."""
CONNECTIONS = ("ssh", "ansible.builtin.ssh", "smart")
BY_KEY = (
    "nobody is asked for a password here: log in by a key, as ssh-agent has it or ansible_ssh_private_key_file names it"
)
BY_CONFIG = "it belongs into ~/.ssh/config, which Ansible's ssh and this program's both read"
NO_PASSWORD = "root's rights come from `sudo -n`, which asks for no password: allow the user that in sudoers"  # noqa: S105
UNREAD = {
    "ansible_password": BY_KEY,
    "ansible_ssh_pass": BY_KEY,
    "ansible_ssh_password": BY_KEY,
    "ansible_private_key": BY_KEY,
    "ansible_ssh_private_key": BY_KEY,
    "ansible_private_key_passphrase": BY_KEY,
    "ansible_ssh_private_key_passphrase": BY_KEY,
    "ansible_ssh_pkcs11_provider": f"{BY_CONFIG}: PKCS11Provider",
    "ansible_ssh_executable": "the ssh of the PATH is taken",
    "ansible_become_password": NO_PASSWORD,
    "ansible_become_pass": NO_PASSWORD,
    "ansible_sudo_pass": NO_PASSWORD,
    "ansible_sudo_chdir": "commands of root begin in no directory of their own",
}
"""Variables that are not read, and what to do instead."""
TRUE = ("true", "yes", "on", "1", "y", "t")
BECOME: dict[str, tuple[Callable[[str], bool], str]] = {
    "ansible_become_method": (
        lambda text: text in ("sudo", "ansible.builtin.sudo"),
        "another user than root becomes root by `sudo -n`, by nothing else",
    ),
    "ansible_become_user": (lambda text: text == "root", "the registry is root's work"),
    "ansible_become_exe": (lambda text: text == "sudo", "the sudo of that machine's PATH is taken"),
    "ansible_become_flags": (lambda text: {*text.split()} <= {"-H", "-S", "-n"}, "sudo is given -n and nothing else"),
}
BECOME |= {name.replace("become", "sudo"): one for name, one in BECOME.items() if not name.endswith("method")}
"""What else becoming root could mean: what is as here, and why nothing else is."""


@dataclass
class Login:
    """What one host's variables say, as text, by the keys of ALIASES, and jump, config and known_hosts of ssh's words;
    and what they say that cannot be followed."""

    said: dict[str, str] = field(default_factory=dict)
    mistakes: list[str] = field(default_factory=list)


def read_login(variables: Mapping[str, Any], user: str = "root") -> Login:
    """What a host's *variables* say of a login there; *user* is who logs in where they do not say."""
    login = Login()
    for key, aliases in ALIASES.items():
        for alias in aliases:
            take(login, key, alias, one_text(login, variables, alias))
    for name in WORDS:
        text = one_text(login, variables, name)
        try:
            words = read_words(text)
        except ValueError as error:
            login.mistakes.append(f"{name}: {error}")
            continue
        for key, value in words.said.items():
            take(login, key, name, value)
        login.mistakes += [f"{name}: {excerpt(word, 40)} is not read: {BY_CONFIG}" for word in words.unread]
    connection = one_text(login, variables, "ansible_connection")
    if connection and connection not in CONNECTIONS:
        login.mistakes.append(
            f"ansible_connection={excerpt(connection, 40)} is not read: every machine is reached by ssh, the controller"
            " also by itself. Leave it out, and have `ssh` to that host work"
        )
    login.mistakes += [f"{name} is not read: {why}" for name, why in UNREAD.items() if variables.get(name) is not None]
    login.mistakes += becoming(login, variables, user)
    return login


def take(login: Login, key: str, name: str, text: str) -> None:
    """Keep what the variable *name* says of *key*; two that disagree are a mistake."""
    if text and login.said.setdefault(key, text) != text:
        login.mistakes.append(
            f"{name}: {excerpt(text, 80)}, and elsewhere {excerpt(login.said[key], 80)}: keep one of them"
        )


def one_text(login: Login, variables: Mapping[str, Any], name: str) -> str:
    """A variable's value as text; "" where it is not set, or is a mistake."""
    try:
        value = plain(variables.get(name))
    except ValueError as error:
        login.mistakes.append(f"{name}: {error}")
        return ""
    if isinstance(value, (list, dict)):
        login.mistakes.append(f"{name}: must be one value, not a {'list' if isinstance(value, list) else 'mapping'}")
        return ""
    return "" if value is None else str(as_text(value))


def becoming(login: Login, variables: Mapping[str, Any], user: str) -> Iterator[str]:
    """What is said of becoming root that is not so here. Whoever logs in as root needs none of it."""
    if login.said.get("user", user) == "root":
        others = [name for name in BECOME if name.endswith("_user")]
    else:
        others = list(BECOME)
        switch = one_text(login, variables, "ansible_become")
        if switch and switch.lower() not in TRUE:
            yield f"ansible_become={excerpt(switch, 40)} is not read: another user than root becomes root by `sudo -n`"
    for name in others:
        text = one_text(login, variables, name)
        accepts, why = BECOME[name]
        if text and not accepts(text):
            yield f"{name} is not read: {why}"


def controller_of(name: str, login: Login) -> dict[str, Any]:
    """The sections `controller` and `ssh` of the cluster file for the host *name*."""
    said = dict(login.said)
    ssh = {key: said.pop(key) for key in ("config", "known_hosts") if key in said}
    return {"controller": {"name": name, **said}, **({"ssh": ssh} if ssh else {})}


def node_addresses(
    hosts: HostVars, controller: Login, name: str, mistakes: dict[str, list[str]]
) -> dict[str, NodeRoute]:
    """How each of *hosts* is reached that is not reached by its name, at ssh's own port, as the controller's user.

    All are reached from the controller *name*, so a jump by it, or by its own jump, is none. *mistakes* gets what
    cannot be followed, by hosts.
    """
    user = controller.said.get("user", "root")
    addresses: dict[str, NodeRoute] = {}
    for host, variables in hosts.items():
        login = read_login(variables, user)
        said = dict(login.said)
        for key in ("key", "config"):
            if said.get(key, controller.said.get(key)) != controller.said.get(key):
                login.mistakes.append(f"{key} {excerpt(said[key], 80)}: nodes are reached with the controller's {key}")
        try:
            address = NodeRoute(
                address=read_host(said["host"]) if said.get("host", host) != host else None,
                port=read_port(said["port"]) if said.get("port", "22") != "22" else None,
                user=read_account(said["user"]) if said.get("user", user) != user else None,
                jump=own_jump(said.get("jump", ""), controller, name),
            )
        except ValueError as error:
            login.mistakes.append(str(error))
        else:
            if address != NodeRoute():
                addresses[host] = address
        if login.mistakes:
            mistakes[host] = login.mistakes
    return addresses


def own_jump(text: str, controller: Login, name: str) -> Jump | None:
    """The machine that a node is reached through, unless that is the controller or the controller's own way."""
    if text in ("", controller.said.get("jump")):
        return None
    jump = read_jump(text)
    same = jump.host in (name, controller.said.get("host"))
    same = same and jump.user in (None, controller.said.get("user", "root"))
    return None if same and str(jump.port or 22) == controller.said.get("port", "22") else jump
