"""How this controller reaches a node. ssh reads its ssh_config by itself, so what is asked here is little."""

from __future__ import annotations

import socket
from collections.abc import Sequence
from dataclasses import replace
from functools import cache, lru_cache
from threading import Lock

from ..core.errors import HpcRegistryError
from ..core.routes import NodeRoute, Route, configured_route
from ..transports import CommandResult
from ..transports.process import run_process
from ..transports.routes import Hosts, ask_slurm, find_routes

ASKING = Lock()


def route_to(node: str, routes: Sequence[NodeRoute]) -> Route:
    """The route of a node: what *routes*, the cluster file's, say of it, and the address that Slurm knows where neither
    they nor ssh_config nor any name service do."""
    wanted = configured_route(node, routes)
    return wanted if wanted.address or resolves(node) else replace(wanted, address=address_beside(node, wanted))


def resolves(name: str) -> bool:
    try:
        return bool(socket.getaddrinfo(name, None, type=socket.SOCK_STREAM))
    except (OSError, UnicodeError):
        return False


@cache
def address_beside(node: str, wanted: Route) -> str | None:
    """The address of a node whose name says none; None where nobody has one."""
    try:
        return find_routes(run_here, [node], slurm=slurm_hosts())[node].address if not wanted.jump else None
    except (HpcRegistryError, LookupError):
        return None


def slurm_hosts() -> Hosts:
    """What Slurm says, which is asked once, however many nodes wait for it."""
    with ASKING:
        return slurm_hosts_once()


@lru_cache(maxsize=1)
def slurm_hosts_once() -> Hosts:
    return ask_slurm(run_here)


def run_here(argv: Sequence[str], stdin: bytes, timeout: float) -> CommandResult:
    return run_process("controller", argv, stdin=stdin, timeout=timeout)
