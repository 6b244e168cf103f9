"""How a machine is reached by ssh: its address, its port, and the machine in front of it."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache

from . import kinds
from .errors import UsageError
from .fields import OUTSIDE_BRACKETS, is_ipv6, limit_nodes, read_account, read_host, read_node_names, read_port
from .kinds import Kind, setting, settings_of
from .nodeset import expand

JUMP = re.compile(r"(?:(?P<user>[^@]+)@)?(?:\[(?P<six>[^]]+)\]|(?P<host>[^:]+))(?::(?P<port>[^:]+))?\Z")
PADDED = re.compile(r"(?=.*(?:^|\.)0[0-9])[0-9]{1,3}(\.[0-9]{1,3}){3}")
ROOT = "root"
SLURM = "slurm"
"""In place of a node set: every node that Slurm knows."""


@dataclass(frozen=True)
class Jump:
    """A machine to go through. Without a user it is the local one, without a port ssh's own: as `ssh -J` has it."""

    host: str
    user: str | None = None
    port: int | None = None

    def __str__(self) -> str:
        """As read_jump reads it."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return "".join((f"{self.user}@" if self.user else "", host, f":{self.port}" if self.port else ""))

    @property
    def destination(self) -> str:
        """`[user@]host`, as ssh takes it."""
        return f"{self.user}@{self.host}" if self.user else self.host


def read_jump(text: str) -> Jump:
    """`[user@]host[:port]`, an IPv6 address between [ and ] -> Jump. Raises ValueError."""
    match = JUMP.match(text)
    if not match:
        raise ValueError(f"{text!r} is not [user@]host[:port]")
    if match["six"] and not is_ipv6(match["six"]):
        raise ValueError(f"{text!r} must hold an IPv6 address between [ and ]")
    return Jump(
        read_host(match["six"] or match["host"]),
        read_account(match["user"]) if match["user"] else None,
        read_port(match["port"]) if match["port"] else None,
    )


def read_addresses(text: str) -> str:
    """A node set of addresses or names, as it is written. Raises ValueError."""
    addresses(text)
    return text


def addresses(text: str) -> list[str]:
    """What such a node set means, in the order in which it is written. Raises ValueError."""
    if is_ipv6(text):
        return [text]
    limit_nodes(text)
    found = [read_host(one) for one in in_order(text)]
    if padded := [one for one in found if PADDED.fullmatch(one)]:
        raise ValueError(f"{padded[0]}: a number of an IPv4 address must not begin with 0, which some take as octal")
    return found


def in_order(text: str) -> list[str]:
    """A node set's names as they are written: `n[2,1]` is n2, n1; ClusterShell would sort them. Raises ValueError."""
    if re.search("[@*!&^]", text):
        raise ValueError(f"{text!r} must not use groups (@), * or operators here; write them out")
    found: list[str] = []
    for part in re.split("," + OUTSIDE_BRACKETS, text):
        listed = re.search(r"\[([^][]*,[^][]*)\]", part)
        if listed:
            before, after = part[: listed.start()], part[listed.end() :]
            found += [name for one in listed[1].split(",") for name in in_order(f"{before}[{one.strip()}]{after}")]
        else:
            found += expand_one(part.strip())
    return found


def names_in_order(text: str) -> list[str]:
    """The names of a node set as they are written, where it has no operator, whose result ClusterShell sorts."""
    return read_node_names(text) if re.search("[!&^]", text) else in_order(text)


def expand_one(part: str) -> list[str]:
    if not part:
        raise ValueError("has a comma too many")
    try:
        return expand(part)
    except UsageError as error:
        raise ValueError(str(error)) from None


GATE = Kind(
    read_jump,
    kinds.text(rf"({kinds.ACCOUNT_NAME}@)?(\[{kinds.ADDRESS}\]|{kinds.NAME})(:[0-9]{{1,5}})?", number=True),
)
ADDRESSES = Kind(read_addresses, kinds.text(r"[A-Za-z0-9:[][][A-Za-z0-9._,: -]*", number=True))


@dataclass(frozen=True)
class NodeRoute:
    """How a node set is reached; what is None, the controller's own ssh_config says, or Slurm."""

    address: str | None = field(
        default=None,
        metadata=setting(
            ADDRESSES,
            "Addresses, or names that the controller resolves: a node set of as many, in the same order.",
        ),
    )
    port: int | None = field(default=None, metadata=setting(kinds.PORT, "The port of their sshd."))
    jump: Jump | None = field(
        default=None,
        metadata=setting(GATE, "A machine that the controller goes through, [user@]host[:port]."),
    )
    user: str | None = field(
        default=None,
        metadata=setting(
            kinds.ACCOUNT,
            "Who logs in there, in place of root: somebody with `sudo -n`, whom root on the controller logs in as.",
        ),
    )
    nodes: str = SLURM

    def written(self) -> dict[str, str]:
        """As a cluster file has it, below the node set."""
        values = {name: getattr(self, name) for name in ROUTE_SETTINGS}
        return {name: str(value) for name, value in values.items() if value is not None}


ROUTE_SETTINGS = settings_of(NodeRoute)


@dataclass(frozen=True)
class Route:
    """How one node is reached from the controller; what is None, ssh finds out there by itself.

    `proxy` is a command of the controller whose input and output are the connection, with ssh's `%h` and `%p`.
    """

    address: str | None = None
    port: int | None = None
    jump: Jump | None = None
    proxy: str | None = None
    user: str = ROOT

    @property
    def as_root(self) -> list[str]:
        """What a command there begins with, so that it is root's."""
        return [] if self.user == ROOT else ["sudo", "-n"]


@lru_cache(maxsize=8)
def configured(routes: Sequence[NodeRoute]) -> dict[str, Route]:
    """The route of each node, by its name; that of SLURM is for all others."""
    found: dict[str, Route] = {}
    for one in routes:
        names = [SLURM] if one.nodes == SLURM else names_in_order(one.nodes)
        of_each = addresses(one.address) if one.address else [None] * len(names)
        found.update(
            (name, Route(address, one.port, one.jump, user=one.user or ROOT)) for name, address in zip(names, of_each)
        )
    return found


def configured_route(node: str, routes: Sequence[NodeRoute]) -> Route:
    """What `nodes` of the cluster file says of a node; an empty route where it says nothing."""
    found = configured(tuple(routes))
    return found.get(node) or found.get(SLURM) or Route()


def by_node_set(routes: Sequence[NodeRoute]) -> dict[str, dict[str, str]]:
    """The routes as `nodes` has them."""
    return {one.nodes: one.written() for one in routes}
