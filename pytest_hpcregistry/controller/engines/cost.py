"""Which engine for which transfer: a small cost model, which says in words why it chose what it chose."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from ...core.messages import count
from ...core.pace import amount

# Right to a factor of two is enough: which engine wins seldom hangs on less.
RELAY_START = 1.5  # seconds until the last node of a chain has its first byte: an estimate
RELAY_SHARE = 1.2  # how much longer than one transfer a relay takes: measured on 8 nodes of the lab, 100 Mbit/s
DELTA_SHARE = 0.1  # of an image goes to a node with the version before: measured for 8 MB new in 90; one file is less
DELTA_RATE = 120e6  # bytes/s of the image in which one core finds the differences: 100 to 150e6 were measured
ASSUMED_LINK = 125e6  # bytes/s (1 Gbit/s), where the kernel does not say


@dataclass(frozen=True)
class Load:
    """What is to be moved: bytes that each node lacks, and those of them whose version before it has."""

    lacking: Mapping[str, int]
    with_base: Mapping[str, int]


def choose(method: str, load: Load, *, link: float, cores: int, limit_rate: int = 0) -> tuple[str, str]:
    """The engine for *load*, and why. *method* is `auto`, or the engine that was asked for; *link* is in bytes/s."""
    if method != "auto":
        return method, "as asked for"
    receivers = {node: size for node, size in load.lacking.items() if size}
    if not receivers:
        return "star", "nothing is to be moved"
    rate = min(link, limit_rate) if limit_rate else link
    sent = sum(size - (1 - DELTA_SHARE) * load.with_base[node] for node, size in receivers.items())
    star = sent / rate + sum(load.with_base.values()) / DELTA_RATE / cores
    relay = RELAY_START + RELAY_SHARE * max(receivers.values()) / rate
    name = "relay" if relay < star and len(receivers) > 1 else "star"
    delta = " by differences" if any(load.with_base.values()) else ""
    seconds = {"star": f"{star:.1f} s{delta}", "relay": f"{relay:.1f} s"}
    other = next(engine for engine in seconds if engine != name)
    what = f"{amount(max(receivers.values()))} to {count(len(receivers), 'node')}"
    return name, f"{what}, about {seconds[name]} at {speed(rate)} ({other}: {seconds[other]})"


def speed(rate: float) -> str:
    """Bytes/s as networks are sold: `100 Mbit/s`, `2.5 Gbit/s`."""
    bits = rate * 8
    return f"{round(bits / 1e9, 1):g} Gbit/s" if bits >= 1e9 else f"{bits / 1e6:.0f} Mbit/s"


def link_rate(interfaces: Path = Path("/sys/class/net")) -> float:
    """Bytes/s of this machine's fastest link that is up, as the kernel knows it (sysfs, `speed` in Mbit/s)."""
    speeds = []
    for interface in interfaces.glob("*/speed"):
        try:
            speeds.append(int(interface.read_text()))
        except (OSError, ValueError):
            continue  # a link that is down, or that has no speed
    fastest = max(speeds, default=0)
    return fastest * 1e6 / 8 if fastest > 0 else ASSUMED_LINK
