"""The three phases of the suites, in order: a failed phase gates the next."""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from ..core.errors import CheckFailed, HpcRegistryError, Unreachable, UsageError
from ..core.events import Failed
from ..core.messages import count, listed
from ..core.names import excerpt, visible
from ..core.nodeset import fold_by, fold_machines
from ..core.wire import from_line
from ..report.junit import Counts, Failures, gated_suite, merge, read_counts, read_failures
from ..transports.process import run_process

PHASES = ("infrastructure", "deployment", "e2e")
DEADLINE = 3600  # seconds for one phase
# A list of findings in full, in the report too: pytest (8.4 and later) would show the first 8 lines.
WHOLE = ["-o", "truncation_limit_lines=0", "-o", "truncation_limit_chars=0"]
# What would choose among the tests, or take the plugin or xdist away: how a phase is run is not for them to say.
NOT_INHERITED = ("PYTEST_ADDOPTS", "PYTEST_DISABLE_PLUGIN_AUTOLOAD", "PYTEST_PLUGINS")
# pytest's own exit codes, https://docs.pytest.org/en/stable/reference/exit-codes.html
PASSED, FAILED, USAGE, NOTHING = 0, 1, 4, 5


def suites_directory() -> Path:
    """The suites: inside the package when it was installed from a wheel, beside it in a checkout."""
    package = Path(__file__).resolve().parent.parent
    installed = package / "suites"
    return installed if installed.is_dir() else package.parent / "suites"


def run_phases(
    phases: Sequence[str],
    options: Sequence[str],
    reports: Path,
    *,
    workers: int,
    on_line: Callable[[str], None],
    on_phase: Callable[[str, Counts], None] = lambda name, ended: None,
) -> dict[str, Counts]:
    """Run pytest for each phase; write `reports`/PHASE.xml and the merged `reports`/junit.xml.

    *on_line* gets each line of pytest, *on_phase* how each phase has ended that wrote a report.

    Raises UsageError when that directory cannot be written to; and, after the merged file has been written: CheckFailed
    when a test failed or none passed, Unreachable when nothing failed but a node could not be asked, UsageError when
    pytest could not be started as asked, and HpcRegistryError when it broke off or wrote no report.
    """
    try:
        reports.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        why = (error.strerror or str(error)).lower()
        raise UsageError(f"{visible(reports)}: this directory cannot be made ({why})", hint="--reports DIR") from None
    if not os.access(reports, os.W_OK | os.X_OK):
        raise UsageError(f"{visible(reports)}: nothing can be written there", hint="--reports DIR")
    counts: dict[str, Counts] = {}
    parts: dict[str, str] = {}
    problem: HpcRegistryError | None = None
    for phase in phases:
        if problem:
            parts[phase] = gated_suite(phase, f"an earlier phase did not pass: {problem}")
            continue
        report = reports / f"{phase}.xml"
        report.unlink(missing_ok=True)
        try:
            problem = run_phase(phase, options, report, workers, on_line)
            counts[phase] = read_counts(report)
            on_phase(phase, counts[phase])
            parts[phase] = report.read_text(encoding="utf-8")
        except HpcRegistryError as error:
            problem = problem or error
            parts[phase] = gated_suite(phase, str(problem))
    merge(parts, reports / "junit.xml")
    if problem:
        raise problem
    return counts


def describe(failures: Failures, counts: Counts) -> Iterator[str]:
    """`c003 could not be asked: no answer in time`, and `2 tests failed on c[001-003]: image mode and ownership`."""
    for reason, nodes in fold_by(failures.unreachable, failures.unreachable.__getitem__).items():
        yield visible(f"{nodes} could not be asked: {excerpt(reason)}")
    failed = counts.failed - counts.unreachable
    if failed:
        on = f" on {fold_machines(list(failures.machines))}" if failures.machines else ""
        yield visible(f"{count(failed, 'test')} failed{on}: {listed(failures.tests)}")


def run_phase(
    phase: str, options: Sequence[str], report: Path, workers: int, on_line: Callable[[str], None]
) -> HpcRegistryError | None:
    """Run one phase; return what is wrong with it, or None when pytest says that it passed.

    Raises HpcRegistryError when pytest hangs, or ends with failed tests and no report of them.
    """
    # Not --dist loadgroup: pytest 9.2.0 with xdist 3.8.0 ignores the groups without a word (pytest-xdist issue 1386).
    spread = ["-n", str(workers), "--dist", "loadfile"] if workers else ["-p", "no:xdist"]
    argv = ["env", *(word for name in NOT_INHERITED for word in ("-u", name))]
    argv += [sys.executable, "-m", "pytest", str(suites_directory()), "-m", phase, "-o", "addopts=", "-rfEs"]
    argv += [*spread, *WHOLE, f"--junitxml={report}", "-o", "junit_family=xunit1", *options]
    with tempfile.TemporaryDirectory(prefix="hpcreg-") as scratch:
        error = Path(scratch, "error")
        result = run_process(phase, [*argv, f"--hpc-error-file={error}"], timeout=DEADLINE, on_line=on_line)
        event = from_line(error.read_text(encoding="utf-8")) if error.exists() else None
    if isinstance(event, Failed):  # plugin.gather could not ask the cluster
        if event.exit_code == UsageError.exit_code:
            return event.error()  # the phase has nothing to do with it
        return replace(event, where=": ".join(filter(None, [f"phase {phase}", event.where]))).error()
    if result.exit_code == PASSED:
        return None
    if result.exit_code == FAILED:
        counts = read_counts(report)
        if counts.failed == 0:  # plugin.Evidence: nothing failed, and nothing was proven
            waived = f" or waived ({counts.waived})" if counts.waived else ""
            total = counts.skipped + counts.waived
            return CheckFailed(f"phase {phase}: all {total} tests were skipped{waived}", hint=f"see {report}")
        failures = read_failures(report)
        texts = [f"phase {phase}: {text}" for text in describe(failures, counts)]
        failed = Unreachable if counts.failed == counts.unreachable else CheckFailed
        return failed("\n".join(texts), hint=f"see {report}")
    if result.exit_code == NOTHING:
        return CheckFailed(f"phase {phase}: no test ran")
    said = result.last_words("see above")
    kind = UsageError if result.exit_code == USAGE else HpcRegistryError
    return kind(f"phase {phase}: pytest did not get to its end (exit {result.exit_code}): {said}")
