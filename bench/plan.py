"""What is measured, on how fast a network, and in which order."""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from . import ways
from .fault import SLOWER
from .images import MIB
from .report import floor
from .testbed import ROOT

FASTEST_LINK = 100  # Mbit/s
# All nodes together may receive so much for each core of this machine, or the cores would be the limit, not the links.
# The table's column CPU shows whether that held.
MBIT_PER_CORE = 800
REPORT = ROOT / "reports" / "bench-distribution.json"
OVERHEAD = 5  # seconds of each run beside the transfer


@dataclass(frozen=True)
class Step:
    """One way at one number of nodes: about how long it will take, all repeats together, in seconds."""

    way: ways.Way
    nodes: int
    expected: float


def link_for(nodes: int, cores: int) -> int:
    """The rate of every link (Mbit/s) at which this machine's cores are not the limit for so many nodes.

    All of a run is measured at the rate for its most nodes, so that numbers of nodes can be compared.
    """
    return max(1, min(FASTEST_LINK, MBIT_PER_CORE * cores // nodes))


def plan(arguments: argparse.Namespace) -> list[Step]:
    """What to measure, the quickest first, so that a limit of time costs as few rows as possible."""
    steps = []
    for nodes in arguments.nodes:
        for way in ways.choose(arguments.only):
            one = way.floors(nodes) * floor(arguments.size * MIB, arguments.link_mbit) + OVERHEAD
            steps.append(Step(way, nodes, one * arguments.repeat))
    return sorted(steps, key=lambda step: step.expected)


def parse(words: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench.distribution", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="4 and 8 nodes and 16 MiB: some minutes")
    parser.add_argument("--nodes", type=numbers_of, metavar="N,N…", help="numbers of nodes [4,8,16,32]")
    parser.add_argument("--size", type=int, metavar="N", help="MiB of the image [64]")
    parser.add_argument(
        "--delta-size", type=int, metavar="N", help="MiB of the tree that delta updates are measured with [200]"
    )
    parser.add_argument(
        "--link-mbit", type=int, metavar="N", help="every link's rate [100, less where the cores would be the limit]"
    )
    parser.add_argument("--repeat", type=int, default=1, metavar="N", help="medians of so many runs [1]")
    parser.add_argument("--minutes", type=int, metavar="N", help="what would take longer than so many is left out [40]")
    parser.add_argument(
        "--only", default="", metavar="WORD", help="only ways with this in their name, and nothing else"
    )
    parser.add_argument("--report", type=Path, default=REPORT, metavar="FILE", help="[reports/bench-distribution.json]")
    parser.add_argument("--lab", default="bench", metavar="NAME", help="the lab's name [bench]")
    parser.add_argument("--keep-lab", action="store_true", help="let it run; the next run finds it")
    arguments = parser.parse_args(words)
    quick = arguments.quick
    arguments.nodes = arguments.nodes or ([4, 8] if quick else [4, 8, 16, 32])
    arguments.link_mbit = arguments.link_mbit or link_for(max(arguments.nodes), os.cpu_count() or 1)
    arguments.size = arguments.size or (16 if quick else 64)
    arguments.delta_size = arguments.delta_size or (32 if quick else 200)
    if not ways.choose(arguments.only):
        parser.error(f"no way has {arguments.only!r} in its name")
    # The row of the faults comes last, and takes what it takes: twice, a slow node gets the whole image.
    faults = 60 + 2 * SLOWER * floor(arguments.size * MIB, arguments.link_mbit)
    arguments.deadline = time.monotonic() + 60 * (arguments.minutes or (10 if quick else 40)) - faults
    return arguments


def numbers_of(text: str) -> list[int]:
    return [int(word) for word in text.split(",")]
