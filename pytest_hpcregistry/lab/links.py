"""How fast the lab's network is: every machine's link can be limited, in both directions, as a real one is.

A token bucket, tc-tbf(8), at both ends of each machine's pair of interfaces limits what the machine sends (its own end)
and what it is sent (this machine's end). What is limited is bytes on the wire: TCP reaches 95 % of it in payload.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from ..core.errors import UsageError
from ..transports.process import run_process
from .podman import podman
from .state import LabState

INTERFACE = "eth0"  # what Podman calls it in every container
# The kernel hands over up to 64 KiB at once; a smaller bucket would never hold enough tokens for that.
LEAST_BURST = 65536  # bytes
BURST_SECONDS = 0.02
# How long a packet may wait. Less loses so much where many send to one that TCP stays below the rate.
LATENCY = "50ms"


@dataclass(frozen=True)
class Link:
    """A machine's link: the machine's first process, as this machine counts, and the interface at this end."""

    process: int
    interface: str


def require() -> None:
    """Raise UsageError unless links can be limited on this machine."""
    if not all(map(shutil.which, ("tc", "ip", "nsenter"))):
        raise UsageError("not installed: tc, which limits links", hint="apt-get install iproute2 util-linux")


def find(state: LabState) -> dict[str, Link]:
    """Every machine's link. One that was started again has another than before."""
    shown = podman("inspect", "--format", "{{.State.Pid}}", *map(state.container, state.machines)).check().stdout
    names = {link["ifindex"]: link["ifname"] for link in list_links([])}

    def link_of(process: int) -> Link:
        own = next(link for link in list_links(inside(process)) if link["ifname"] == INTERFACE)
        return Link(process, names[own["link_index"]])

    with ThreadPoolExecutor(max_workers=4) as pool:
        return dict(zip(state.machines, pool.map(link_of, map(int, shown.split())), strict=True))


def limit(links: Sequence[Link], mbit: int) -> None:
    """Limit links to *mbit* Mbit/s in each direction, whatever their limit was; 0 is none."""

    def both_ends(link: Link) -> None:
        tc([*inside(link.process), "tc"], INTERFACE, mbit)
        tc(["tc"], link.interface, mbit)

    with ThreadPoolExecutor(max_workers=4) as pool:
        list(pool.map(both_ends, links))


def inside(process: int) -> list[str]:
    """The command that runs another in the network of *process*."""
    return ["nsenter", f"--target={process}", "--net"]


def list_links(inside: list[str]) -> list[dict[str, Any]]:
    """The interfaces of this machine, or of the one that the command *inside* enters."""
    told = run_process("this machine", [*inside, "ip", "-json", "link", "show"], timeout=30).check().stdout
    links: list[dict[str, Any]] = json.loads(told)
    return links


def tc(command: list[str], interface: str, mbit: int) -> None:
    queue = token_bucket(mbit) if mbit else ["noqueue"]  # that is what such an interface is born with
    argv = [*command, "qdisc", "replace", "dev", interface, "root", *queue]
    run_process("this machine", argv, timeout=30).check()


def token_bucket(mbit: int) -> list[str]:
    """The arguments of a limit of *mbit* Mbit/s."""
    burst = max(LEAST_BURST, int(mbit * 1e6 / 8 * BURST_SECONDS))
    return ["tbf", "rate", f"{mbit}mbit", "burst", f"{burst}b", "latency", LATENCY]
