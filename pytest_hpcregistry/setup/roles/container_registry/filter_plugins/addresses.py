"""Addresses as machines report them, for the tasks and templates of this role.

Ansible loads this file by itself, on the workstation; standard library only.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Iterable
from typing import Any


def reachable(addresses: Iterable[str]) -> list[str]:
    """Those of *addresses* that another machine can use, each once, IPv4 first; whatever is no address is left out."""
    found = {ipaddress.ip_address(text) for text in addresses if is_network(text) and "/" not in text}
    own = {one for one in found if one.is_loopback or one.is_link_local or one.is_multicast or one.is_unspecified}
    return [str(one) for one in sorted(found - own, key=lambda one: (one.version, int(one)))]


def is_network(text: str) -> bool:
    """Whether *text* is an address or a network; with a zone (fe80::1%eth0) it means something on one machine only."""
    try:
        return bool(ipaddress.ip_network(text)) and "%" not in text
    except ValueError:
        return False


class FilterModule:
    """What Ansible asks for."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        return {"hpcregistry_reachable": reachable}
