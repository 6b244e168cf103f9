"""The findings of all failed tests, each once, at the end of a run: before what pytest says of each test."""

from __future__ import annotations

import textwrap
from collections.abc import Generator, Iterable, Sequence
from dataclasses import replace
from typing import Any

import pytest

from ..checks.finding import Finding, fold_findings
from ..checks.images import without_implied
from ..core.messages import count
from ..core.names import printable
from . import asking

MOST_SHOWN = 25
WIDEST = 24  # columns of the node sets; a longer one stands above what is said of it


def explain(findings: Sequence[Finding]) -> list[str]:
    """A line each, and what to do: first the one that pytest's summary shows."""
    hints = dict.fromkeys(f"hint: {one.hint}" for one in findings if one.hint)
    first, *others = map(str, findings)
    return [first, *hints, *others]


def fold(findings: Iterable[Finding]) -> dict[str, list[Finding]]:
    """What to do -> what that mends; the same on many machines, or seen by several checks, is one."""
    groups: dict[str, list[Finding]] = {}
    for one in fold_findings(replace(one, id="") for one in without_implied(findings)):
        groups.setdefault(one.hint, []).append(one)
    return groups


def describe(groups: dict[str, list[Finding]], width: int) -> list[str]:
    """Lines for a terminal of *width* columns: node sets in a column, and below each group what to do."""
    every = [one for group in groups.values() for one in group]
    column = max((len(one.where) for one in every if len(one.where) <= WIDEST), default=2)
    lines: list[str] = []
    left = MOST_SHOWN
    for hint, group in groups.items():
        for one in group[:left]:
            lines += beside(one.where, str(replace(one, where="")).removeprefix(": "), column, width)
        if hint and left > 0:
            lines += beside("", f"→ {hint}", column, width)
        left -= len(group)
    return lines if left >= 0 else [*lines, f"  and {-left} more: below, with their tests"]


def beside(where: str, said: str, column: int, width: int) -> list[str]:
    """A node set, and in the column beside it what is said; below it, where the node set is wider."""
    texts = textwrap.wrap(printable(said), max(width - column - 5, 40), break_long_words=False, break_on_hyphens=False)
    lines = [f"  {'':{column}}  {text}" for text in texts]
    return [f"  {where}", *lines] if len(where) > column else [f"  {where:{column}}  {texts[0]}", *lines[1:]]


class Findings:
    """In the main process: collects what the tests found, of xdist's workers too."""

    def __init__(self) -> None:
        self.findings: dict[Finding, None] = {}
        self.waived: dict[Finding, None] = {}

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if not report.failed and not hasattr(report, "wasxfail"):  # another plugin runs the test again
            return
        self.findings |= {Finding(**one): None for one in getattr(report, "hpc_findings", ())}
        self.waived |= {Finding(**one): None for one in getattr(report, "hpc_waived", ())}

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_terminal_summary(self, terminalreporter: Any, config: pytest.Config) -> Generator[None]:
        groups, waived = fold(self.findings), fold(replace(one, hint="") for one in self.waived)
        unused = asking.unused_waivers(config)
        if groups or waived or unused:
            width = terminalreporter._tw.fullwidth
            found, known = (sum(map(len, some.values())) for some in (groups, waived))
            heading = f"hpc: {count(found, 'finding')}" + (f", {known} waived" if known else "")
            terminalreporter.write_sep("=", heading, bold=True)
            for line in (*describe(groups, width), *describe(waived, width)):
                terminalreporter.write_line(line)
            for said in unused:
                terminalreporter.write_line(printable(f"  {said}"))
        yield
