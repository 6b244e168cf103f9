"""`make bench`: bring one image to 4, 8, 16 and 32 nodes in every way, side by side, on a lab with limited links.

Prints a table and writes reports/bench-distribution.json and .png. Everything printed was measured in this run; what
there was no time for is named as not run.
"""

from __future__ import annotations

import argparse
import os
import shutil
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from pytest_hpcregistry import lab
from pytest_hpcregistry.core.errors import HpcRegistryError
from pytest_hpcregistry.lab.site import CONTROLLER

from . import ways
from .delta import delta
from .engine import bring
from .fault import fault
from .images import MIB, write_incompressible
from .measure import Measured, Target, measure
from .noop import noop
from .plan import Step, parse, plan
from .report import Report, describe, find_busy, make_row, table
from .rollback import rollback
from .testbed import BUILD, Testbed, say
from .verify import verify

COPY = "/srv/bench/copy.sif"  # where the others put it: not into the registry


def run_step(bed: Testbed, step: Step, target: Target, link_mbit: int) -> Measured:
    """Measure one way once."""
    nodes = bed.state.nodes[: step.nodes]
    timeout = 60 + 2 * step.expected
    bed.use(nodes, link_mbit)
    if step.way.argv is None:
        return bring(bed, step.way.name, target, timeout=timeout)
    for node in nodes:
        path = bed.path(node, COPY)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.unlink(missing_ok=True)
    argv = step.way.argv(ways.Copy(COPY, COPY, nodes))
    return measure(
        bed, bed.controller_argv(argv, timeout), Target(COPY, target.digest, target.size), timeout=timeout + 10
    )


def run_steps(
    bed: Testbed, steps: Sequence[Step], target: Target, arguments: argparse.Namespace, report: Report
) -> None:
    for step in steps:
        name = step.way.name
        left = arguments.deadline - time.monotonic()
        if step.expected > left:
            report.leave_out(name, step.nodes, f"no time left for about {step.expected:.0f} s")
            continue
        runs = [run_step(bed, step, target, arguments.link_mbit) for _ in range(arguments.repeat)]
        row = make_row(name, bed.nodes, target.size, arguments.link_mbit, runs)
        report.rows.append(row)
        report.write(arguments.report)  # each time: what was measured is kept, whatever comes
        say("  " + describe(row))
        if row.seconds is None:
            say("    " + "\n    ".join(runs[-1].output.strip().splitlines()[-3:]))


def attempt(name: str, function: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """What *function* finds; when it fails, why, and the rest of the benchmark goes on."""
    say(f"{name} …")
    try:
        found = function()
    except HpcRegistryError as error:
        found = {"failed": str(error)}
    say(f"  {found}")
    return found


def run_extras(bed: Testbed, sif: Path, target: Target, arguments: argparse.Namespace, report: Report) -> None:
    """What is no row of the table, and quickly done."""
    mbit = arguments.link_mbit
    bed.use(bed.state.nodes, mbit)
    report.noop = attempt("deploy again what is there", lambda: noop(bed, sif, target))
    report.verify = attempt("verify", lambda: verify(bed, target))
    report.rollback = attempt("rollback", lambda: rollback(bed, mbit))
    bed.use(bed.state.nodes[:4], 0)
    report.delta = attempt("delta", lambda: delta(bed, arguments.delta_size * MIB, mbit))
    settle(bed)


def settle(bed: Testbed) -> None:
    """Bring every node all other images, by unlimited links: a sync moves those, too, where they lack."""
    bed.use(bed.state.nodes, 0)
    bed.tool("sync").check()


def run_fault(bed: Testbed, target: Target, arguments: argparse.Namespace, report: Report) -> None:
    """The last of all: Slurm needs minutes to believe that the dead node is back."""
    some, mbit = bed.state.nodes[:16], arguments.link_mbit
    report.fault = attempt("one dead and one slow node, relay", lambda: fault(bed, "relay", some, target, mbit))


def prepare(arguments: argparse.Namespace) -> tuple[Testbed, Path, Target]:
    """The lab with phase 1 done, and one image deployed on every machine of it."""
    sif = BUILD / "bench.sif"
    bed = Testbed.start(arguments.lab, max(arguments.nodes))
    target = write_incompressible(sif, arguments.size * MIB)
    bed.use(bed.state.nodes, 0)
    bed.tool("deploy", "single", "-s", sif).check()
    settle(bed)
    copy = bed.path(CONTROLLER, COPY)
    copy.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(sif, copy)
    return bed, sif, target


def main() -> int:
    from .plot import draw  # only this needs matplotlib, and a missing one is told before anything is measured

    arguments = parse()
    steps = plan(arguments)
    say(f"one image of {arguments.size} MiB, links of {arguments.link_mbit} Mbit/s, {os.cpu_count()} cores")
    report = Report(link_mbit=arguments.link_mbit, bytes=arguments.size * MIB)
    try:
        bed, sif, target = prepare(arguments)
        if not arguments.only:
            run_extras(bed, sif, target, arguments, report)
        run_steps(bed, steps, target, arguments, report)
        if not arguments.only:
            run_fault(bed, target, arguments, report)
    finally:
        if not arguments.keep_lab:
            lab.down(arguments.lab)
    show(report)
    report.write(arguments.report)
    picture = arguments.report.with_suffix(".png")
    draw(report.rows, picture)
    say(f"written: {arguments.report} and {picture}")
    return 0 if report.rows else 1


def show(report: Report) -> None:
    """The table, and what is not in it, or should not be."""
    for line in table(report.rows):
        say(line)
    for row in find_busy(report.rows):
        say(f"not the links alone were the limit, cores {row.cpu:.0%} busy: {row.engine}, {row.nodes} nodes")
    for left in report.not_run:
        say(f"not run: {left['engine']}, {left['nodes']} nodes: {left['why']}")


if __name__ == "__main__":
    sys.exit(main())
