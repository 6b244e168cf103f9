"""What the measurements come to: ratios to the floor, medians, a table for people and JSON for programs."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

from pytest_hpcregistry.report import lines

from .measure import Measured


def floor(size: int, link_mbit: int) -> float:
    """Seconds that *size* bytes take on one link: no way can be faster."""
    return size * 8 / 1e6 / link_mbit


@dataclass(frozen=True)
class Row:
    """One way at one number of nodes; medians of `repeats` runs.

    `seconds` until all nodes were verified and the command had ended, `ratio` the same ÷ floor; both None when not all
    were (`verified` says how many). `controller_ratio`: bytes that the controller sent ÷ size. `cpu`: busy share of all
    cores, 0 to 1. `memory_mb`: peak of the controller program; None for what is none of ours.
    """

    engine: str
    nodes: int
    link_mbit: int
    seconds: float | None
    ratio: float | None
    controller_ratio: float
    verified: int
    cpu: float
    memory_mb: float | None
    repeats: int


def make_row(engine: str, nodes: Sequence[str], size: int, link_mbit: int, runs: Sequence[Measured]) -> Row:
    """The row of several runs of the same. A run that left a node out makes the whole row one that did."""
    ends = [run.all_verified(nodes) for run in runs]
    whole = [end for end in ends if end is not None]
    seconds = median(whole) if len(whole) == len(runs) else None
    peak = max(run.memory for run in runs)
    return Row(
        engine=engine,
        nodes=len(nodes),
        link_mbit=link_mbit,
        seconds=None if seconds is None else round(seconds, 2),
        ratio=None if seconds is None else round(seconds / floor(size, link_mbit), 2),
        controller_ratio=round(median(run.sent for run in runs) / size, 2),
        verified=min(len(run.verified) for run in runs),
        cpu=round(median(run.cpu for run in runs), 2),
        memory_mb=round(peak / 1e6, 1) if peak else None,
        repeats=len(runs),
    )


def describe(row: Row) -> str:
    """A row in words, for the one who waits for the table."""
    if row.seconds is None:
        return f"{row.engine}, {row.nodes} nodes: only {row.verified} verified"
    return f"{row.engine}, {row.nodes} nodes: {row.seconds:.1f} s, {row.ratio:.2f} x floor"


@dataclass
class Report:
    """All that one run of the benchmark has found. `not_run`: what was left out, and why."""

    link_mbit: int
    bytes: int
    rows: list[Row] = field(default_factory=list)
    fault: dict[str, Any] = field(default_factory=dict)
    delta: dict[str, Any] = field(default_factory=dict)
    noop: dict[str, Any] = field(default_factory=dict)
    rollback: dict[str, Any] = field(default_factory=dict)
    verify: dict[str, Any] = field(default_factory=dict)
    not_run: list[dict[str, Any]] = field(default_factory=list)

    def leave_out(self, engine: str, nodes: int, why: str) -> None:
        """Record that this was not measured."""
        self.not_run.append({"engine": engine, "nodes": nodes, "why": why})

    def write(self, path: Path) -> None:
        """Write it as JSON."""
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(asdict(self), indent=2) + "\n")


def find_busy(rows: Sequence[Row]) -> list[Row]:
    """Rows that say more of this machine than of the way: its cores were nearly the limit, or had other work."""
    return [row for row in rows if row.cpu > BUSY]


BUSY = 0.85  # share of all cores
HEADING = ["WAY", "NODES", "MBIT/S", "SECONDS", "x FLOOR", "CONTROLLER SENT", "VERIFIED", "CPU", "CONTROLLER MEMORY"]


def table(rows: Sequence[Row]) -> list[str]:
    """The rows as lines, grouped by number of nodes, the fastest first."""
    ordered = sorted(rows, key=lambda row: (row.nodes, row.ratio or float("inf")))
    return lines.table([HEADING, *map(cells, ordered)])


def cells(row: Row) -> list[str]:
    return [
        row.engine,
        str(row.nodes),
        str(row.link_mbit),
        "-" if row.seconds is None else f"{row.seconds:.1f}",
        "-" if row.ratio is None else f"{row.ratio:.2f}",
        f"{row.controller_ratio:.2f} x size",
        f"{row.verified} of {row.nodes}",
        f"{row.cpu:.0%}",
        "-" if row.memory_mb is None else f"{row.memory_mb:.0f} MB",
    ]
