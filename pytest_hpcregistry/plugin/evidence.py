"""What a run has proven: written into JUnit, escaped, and never green when every test was skipped."""

from __future__ import annotations

from collections.abc import Generator
from typing import Any

import pytest

from ..checks.finding import Finding
from ..cluster.phases import PHASES
from ..core.names import printable
from .session import FACTS, belongs_to_a_phase, selected_phases


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Write into JUnit what a case speaks about."""
    marks = {mark.name for mark in item.iter_markers()}
    phase = next((name for name in selected_phases(item.config) or PHASES if name in marks), None)
    if phase is None:
        return
    # Not the environment's PYTEST_XDIST_WORKER: that may be of a session which has started this one.
    worker = item.config.workerinput["workerid"] if hasattr(item.config, "workerinput") else "main"
    properties: dict[str, object] = {"phase": phase, "worker": worker}
    parameters: dict[str, Any] = item.callspec.params if hasattr(item, "callspec") else {}
    properties["node"] = next((parameters[key] for key in ("node", "node_name", "machine") if key in parameters), None)
    known, image = item.config.stash.get(FACTS, None), parameters.get("sif")
    if known and image:
        properties.update(image=image, digest="sha256:" + known.catalog.images[image].digest)
    item.user_properties += [(key, value) for key, value in properties.items() if value]


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """What a machine says may be in every message of a suite: none of it reaches a terminal or JUnit unescaped."""
    report = yield
    if belongs_to_a_phase(item):
        make_printable(report)
    return report


def make_printable(report: pytest.TestReport) -> None:
    report.user_properties = [(key, printable(str(value))) for key, value in report.user_properties]
    report.sections = [(name, printable(text)) for name, text in report.sections]
    said: Any = report.longrepr
    if isinstance(said, tuple):  # a skipped test: file, line, reason
        report.longrepr = (*said[:2], printable(said[2]))
    elif printable(report.longreprtext) != report.longreprtext:
        # Text in place of pytest's own pieces. What comes first is what its summary shows.
        crash = getattr(said, "reprcrash", None)
        texts = [*([crash.message] if crash else []), report.longreprtext]
        report.longrepr = "\n\n".join(map(printable, texts))


def pytest_assertrepr_compare(op: str, left: object, right: object) -> list[str] | None:
    """`assert list(check(…)) == []`: what was found, a line each, and what to do. A plain pytest cuts the end."""
    if op != "==" or right != [] or not isinstance(left, list) or not left or not isinstance(left[0], Finding):
        return None
    hints = dict.fromkeys(f"hint: {one.hint}" for one in left if one.hint)
    first, *others = map(str, left)
    return [printable(line) for line in (first, *hints, *others)]


class Evidence:
    """Suites of which every test was skipped have proven nothing: that is not success."""

    def __init__(self) -> None:
        self.passed = 0

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        self.passed += report.when == "call" and report.passed

    @pytest.hookimpl(trylast=True)
    def pytest_sessionfinish(self, session: pytest.Session, exitstatus: int) -> None:
        if exitstatus == pytest.ExitCode.OK and self.passed == 0:
            session.exitstatus = pytest.ExitCode.TESTS_FAILED
