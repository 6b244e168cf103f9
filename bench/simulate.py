"""What the ways of distribution would take at 1,000 and 10,000 nodes, computed; and how wrong the same is where it was
measured.

    python -m bench.simulate [--report reports/bench-distribution.json]

Each way is a formula of a few times, all in one unit T, the time of one copy over one link:

- star: the controller's link carries every copy: n T.
- tree of two (sbcast -F2): each sends to two, and waits until everybody below has it: about 2 log2(n) T.
- doubling: whoever has the whole file serves the next: log2(n + 1) rounds of T.
- relay: pieces go from node to node as they come: T, and one hop more for each node; in several chains when one would
  be too long, each of which costs the controller another T.
- swarm: T ÷ (how well the peers use their links), and log2(n) pieces until everybody has something to give.

To all but sbcast come a start, the logins to each node (the controller's CPU makes them, whatever the way), and the
node's own reading back of what it got. Nothing is fitted to a report: the errors are printed as they are.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from pytest_hpcregistry.agent.pieces import piece_size
from pytest_hpcregistry.report import lines

from .plan import REPORT
from .report import floor
from .testbed import say

PAYLOAD = 0.956  # of the bytes on the wire, with Ethernet's, IP's and TCP's headers: 1448 of 1514


@dataclass(frozen=True)
class Site:
    """A cluster and one image; times in seconds, sizes in bytes, rates in bytes per second unless named otherwise."""

    size: int
    link_mbit: int
    copy_rate: float = 1e9  # what a node can take in, write and pass on, however fast its link
    hash_rate: float = 2e9
    start: float = 0.7  # until the controller's program has begun
    login: float = 0.09  # of CPU; in the lab the 0.06 of the node's side are spent on the same cores
    cores: int = 2  # of the machine that makes the logins
    hop: float = 0.001  # from one node to the next, beside the piece itself
    swarm_piece: int = 1 << 18
    swarm_use: float = 0.65  # of its link that a peer uses, measured with aria2
    dead: float = 0.0  # share of nodes that die on the way
    bridge: float = 3.0  # until a relay goes on behind a dead node
    connect_timeout: float = 10.0
    window: int = 64

    @property
    def rate(self) -> float:
        """Bytes per second from one machine to another."""
        return min(self.link_mbit * 1e6 / 8 * PAYLOAD, self.copy_rate)

    @property
    def copy(self) -> float:
        """T: the time of one copy over one link."""
        return self.size / self.rate

    def around(self, nodes: int, logins: int) -> float:
        """What a way has beside its transfer: start, so many logins to each node, reading back."""
        return self.start + nodes * logins * self.login / self.cores + self.size / self.hash_rate


@dataclass(frozen=True)
class Predicted:
    """Seconds until all living nodes are verified, and copies that the controller sends."""

    seconds: float
    copies: float


Formula = Callable[[Site, int], Predicted]


def star(site: Site, nodes: int) -> Predicted:
    """Dead nodes hold places in the window until they are given up; the rest of the window goes on."""
    waiting = site.dead * nodes * site.connect_timeout / site.window
    return Predicted(site.around(nodes, logins=2) + max(nodes * site.copy, waiting), nodes)


def tree_of_two(site: Site, nodes: int) -> Predicted:
    """A dead node is given up by the one above it, after its time-out, once on each level at worst."""
    depth = copies_below(nodes + 1)
    given_up = site.connect_timeout * min(site.dead * nodes, math.log2(nodes + 1))
    return Predicted(depth * site.copy + given_up, min(2, nodes))


def copies_below(group: int) -> int:
    """Copies sent one after the other in a group of nodes whose first has the block."""
    rest = group - 1
    return rest if rest < 2 else 2 + copies_below(math.ceil(rest / 2))


def doubling(site: Site, nodes: int) -> Predicted:
    """What a dead node was to serve is served in one round more."""
    rounds = math.ceil(math.log2(nodes + 1)) + (1 if site.dead * nodes >= 1 else 0)
    return Predicted(site.around(nodes, logins=2) + rounds * site.copy, rounds)


def relay(site: Site, nodes: int, chains: int = 1) -> Predicted:
    """Every death on the way stops what is behind it until it is bridged, one after the other at worst."""
    length = math.ceil(nodes / chains)
    hops = (length - 1) * (site.hop + piece_size(site.size) / site.rate)
    bridged = site.dead * length * site.bridge
    return Predicted(site.around(nodes, logins=1) + chains * site.copy + hops + bridged, chains)


def relay_at_best(site: Site, nodes: int) -> Predicted:
    """As many chains as are fastest."""
    return min((relay(site, nodes, chains) for chains in range(1, 65)), key=lambda predicted: predicted.seconds)


def swarm(site: Site, nodes: int) -> Predicted:
    """A dead peer is one of many: its share of the others' time is lost."""
    spread = math.log2(nodes + 1) * (site.hop + site.swarm_piece / site.rate)
    transfer = site.copy / site.swarm_use / (1 - site.dead)
    return Predicted(site.around(nodes, logins=2) + transfer + spread, 1 / site.swarm_use)


WAYS: dict[str, Formula] = {
    "star": star,
    "sbcast -F2": tree_of_two,
    "doubling": doubling,
    "relay": relay,
    "relay, best number of chains": relay_at_best,
    "swarm": swarm,
}
# A cluster of today: 10 GB to nodes at 10 Gbit/s; the controller has eight cores, and the nodes their own.
CLUSTER = Site(size=10**10, link_mbit=10_000, login=0.03, cores=8, hop=0.0002, swarm_piece=4 << 20)


def check(report: Mapping[str, Any]) -> list[list[str]]:
    """Measured and computed ratios side by side, for every row that has a formula. Rows as cells, with a heading."""
    table = [["WAY", "NODES", "MEASURED", "COMPUTED", "ERROR"]]
    for row in report["rows"]:
        if row["engine"] in WAYS and row["ratio"] is not None:
            site = Site(size=report["bytes"], link_mbit=row["link_mbit"])
            computed = WAYS[row["engine"]](site, row["nodes"]).seconds / floor(site.size, site.link_mbit)
            error = computed / row["ratio"] - 1
            table.append([row["engine"], str(row["nodes"]), f"{row['ratio']:.2f}", f"{computed:.2f}", f"{error:+.0%}"])
    return table


def predict(site: Site, nodes: tuple[int, ...]) -> list[list[str]]:
    """Seconds and ratio of every way at each number of nodes. Rows as cells, with a heading."""
    table = [["WAY", *(f"{count:,} NODES" for count in nodes), "CONTROLLER SENDS"]]
    for name, formula in WAYS.items():
        found = [formula(site, count) for count in nodes]
        cells = [f"{each.seconds:,.0f} s ({each.seconds / floor(site.size, site.link_mbit):,.1f} x)" for each in found]
        table.append([name, *cells, f"{found[-1].copies:,.1f} x size"])
    return table


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.simulate", description="Distribution to thousands of nodes.")
    parser.add_argument("--report", type=Path, default=REPORT)
    parser.add_argument("--size", type=float, default=CLUSTER.size, metavar="BYTES", help="of the image [1e10]")
    parser.add_argument("--link-mbit", type=int, default=CLUSTER.link_mbit, metavar="N", help="[10000]")
    parser.add_argument("--login", type=float, default=CLUSTER.login, metavar="SECONDS", help="CPU of one login [0.03]")
    parser.add_argument("--cores", type=int, default=CLUSTER.cores, metavar="N", help="of the controller [8]")
    parser.add_argument("--hop", type=float, default=CLUSTER.hop, metavar="SECONDS", help="latency [0.0002]")
    parser.add_argument("--hash-rate", type=float, default=CLUSTER.hash_rate, metavar="BYTES/S", help="[2e9]")
    parser.add_argument("--dead", type=float, default=0.001, metavar="SHARE", help="nodes that die on the way [0.001]")
    words = parser.parse_args()
    checked = False
    if words.report.exists():
        say(f"computed against {words.report}, x floor:")
        show(check(json.loads(words.report.read_text())))
        checked = True
    given = {name: getattr(words, name) for name in ("link_mbit", "login", "cores", "hop", "hash_rate")}
    site = replace(CLUSTER, size=int(words.size), **given)
    for dead in sorted({0.0, words.dead}):
        say(f"\ncomputed: {site.size / 1e9:g} GB, links of {site.link_mbit:,} Mbit/s, {dead:.1%} of the nodes die:")
        show(predict(replace(site, dead=dead), (32, 1_000, 10_000)))
    if not checked:
        say(f"\nunchecked: there is no {words.report}; `make bench` writes it")
    return 0


def show(rows: list[list[str]]) -> None:
    for line in lines.table(rows):
        say(f"  {line}")


if __name__ == "__main__":
    sys.exit(main())
