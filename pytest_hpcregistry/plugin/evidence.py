"""What a run has proven: written into each test's report, escaped, and never green when no test has passed."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import asdict
from typing import Any

import pytest

from ..checks import programs
from ..checks.finding import Finding
from ..checks.waivers import judge
from ..cluster.phases import PHASES
from ..core.errors import HpcRegistryError
from ..core.facts import Facts
from ..core.names import excerpt, printable
from ..core.waivers import FindingWaiver, today
from . import asking
from .asking import PROBLEM
from .findings import explain
from .junit import place_of
from .session import FACTS_FIXTURES, asks_for, belongs_to_a_phase, load, marks_of, selected_phases, worker_input

COMPARED = pytest.StashKey[list[Finding]]()
"""The findings that the running test asserted on."""
LONGEST = 1000  # characters of what a finding says, in a report
MACHINE_FIXTURES = ("node", "node_name", "machine", "find_on_nodes", "find_on_machines")


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Write into JUnit what a case speaks about."""
    item.config.stash.setdefault(COMPARED, []).clear()
    marks = marks_of(item)
    phase = next((name for name in selected_phases(item.config) or PHASES if f"hpc_{name}" in marks), None)
    if phase is None:
        return
    # Not the environment's PYTEST_XDIST_WORKER: that may be of a session which has started this one.
    worker = worker_input(item.config).get("workerid", "main")
    properties: dict[str, object] = {"phase": phase, "worker": worker}
    parameters: dict[str, Any] = item.callspec.params if hasattr(item, "callspec") else {}
    parameters = {key.removeprefix("hpc_"): value for key, value in parameters.items()}
    image, node = parameters.get("find_in_images") or (parameters.get("sif"), None)
    properties["node"] = node or next((parameters[key] for key in MACHINE_FIXTURES if key in parameters), None)
    known = asking.known_facts(item.config)
    if known and image and image in known.catalog.images:
        properties.update(image=image, digest="sha256:" + known.catalog.images[image].digest)
    item.user_properties += [(key, value) for key, value in properties.items() if value]
    if known and follows_from_set_up(item) and not is_set_up(known, item.config):
        pytest.skip("phase 1 has not been run: see test_phase_1_has_been_run")


def is_set_up(known: Facts, config: pytest.Config) -> bool:
    """Whether phase 1 has been run, as far as anybody has asked."""
    return known.controller.facts.host is None or not list(programs.set_up(known.controller, known, load(config)))


def follows_from_set_up(item: pytest.Item) -> bool:
    """Whether a test is ours, and of a phase: where phase 1 has not been run, all it finds follows from that."""
    place = place_of(item.path)
    return place is not None and len(place.parts) > 1


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """What a machine says may be in every message of a suite: none of it reaches a terminal or JUnit unescaped."""
    report: Any = yield
    asks = asks_for(item, *FACTS_FIXTURES, "hpc_client")
    if asks or belongs_to_a_phase(item):
        report.hpc_asks = asks  # an attribute of a report travels from xdist's workers to the main process
        if findings := find_reasons(item, call, report):
            explain_by(findings, item, report)
        make_printable(report)
    return report  # type: ignore[no-any-return]


def explain_by(findings: list[Finding], item: pytest.Item, report: Any) -> None:
    """Let a failed test's report show its findings. It is an expected failure when a waiver holds for each of them."""
    judged = judge(findings, waivers_of(item.config), today())
    report.hpc_findings = [shorten(one) for one in judged.open]
    report.hpc_waived = [shorten(one) for one in judged.waived]
    said = "; ".join(dict.fromkeys(one.waiver for one in judged.waived))
    if said:
        item.user_properties.append(("waiver", said))
    if not judged.open:
        report.outcome, report.wasxfail = "skipped", printable(said)
    if item.config.getoption("tbstyle") == "auto":
        report.longrepr = "\n".join(explain([*judged.open, *judged.waived]))


def waivers_of(config: pytest.Config) -> Sequence[FindingWaiver]:
    try:
        return load(config).waivers
    except HpcRegistryError:
        return ()  # the finding is just that


def find_reasons(item: pytest.Item, call: pytest.CallInfo[None], report: pytest.TestReport) -> list[Finding]:
    """The findings for which a test failed."""
    if not report.failed or call.excinfo is None:
        return []
    problem, compared = item.config.stash.get(PROBLEM, None), item.config.stash.get(COMPARED, [])
    if problem and call.when == "setup":
        return [Finding("cluster.asked", "cluster", "", f"could not be asked: {problem}", hint=problem.hint)]
    # It may be another assertion, when the one with findings was caught. pytest has cut the end of what was said.
    return list(compared) if compared and printable(str(compared[0]))[:200] in str(call.excinfo.value) else []


def shorten(finding: Finding) -> dict[str, str]:
    """As plain data, visible and bounded; but the node set is whole."""
    texts = {key: excerpt(value, LONGEST) for key, value in asdict(finding).items()}
    return {**texts, "where": printable(finding.where)}


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


def pytest_assertrepr_compare(config: pytest.Config, op: str, left: object, right: object) -> list[str] | None:
    """`assert find_on_nodes(check) == []`: what was found, a line each, and what to do. A plain pytest cuts the end."""
    if op != "==" or right != [] or not isinstance(left, list) or not left or not isinstance(left[0], Finding):
        return None
    config.stash[COMPARED] = list(left)
    return [printable(line) for line in explain(left)]


class Evidence:
    """Suites of which every test was skipped, or waived, have proven nothing: that is not success."""

    def __init__(self, config: pytest.Config) -> None:
        self.phases = selected_phases(config)
        self.asked = self.passed = 0

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        asks = getattr(report, "hpc_asks", False)
        self.asked += asks
        self.passed += report.when == "call" and report.passed and bool(asks or self.phases)

    @pytest.hookimpl(trylast=True)
    def pytest_sessionfinish(self, session: pytest.Session, exitstatus: int) -> None:
        proven = self.passed or session.config.option.collectonly or not (self.phases or self.asked)
        if exitstatus == pytest.ExitCode.OK and not proven:
            session.exitstatus = pytest.ExitCode.TESTS_FAILED
