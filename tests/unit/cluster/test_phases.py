"""Phases: whatever pytest does, the merged report is written, and the error is the right one of four kinds."""

from __future__ import annotations

import os
import sys
import xml.etree.ElementTree as ET
from collections.abc import Callable
from pathlib import Path

import pytest

from pytest_hpcregistry.cluster import phases
from pytest_hpcregistry.core.errors import CheckFailed, HpcRegistryError, Unreachable, UsageError
from pytest_hpcregistry.core.events import Failed
from pytest_hpcregistry.core.wire import to_line
from pytest_hpcregistry.report.junit import Counts

GOOD = '<testcase name="good"/>'
RED = '<testcase name="test_it_is_red[c1]"><failure/></testcase>'


def gone(node: str, reason: str = "no route") -> str:
    own = f'<property name="node" value="{node}"/><property name="unreachable" value="{reason}"/>'
    return f'<testcase name="test_node_is_reachable"><properties>{own}</properties><failure/></testcase>'


def red(name: str, node: str) -> str:
    return f'<testcase name="{name}"><properties><property name="node" value="{node}"/></properties><error/></testcase>'


GONE = gone("c3")
MANY = red("test_mode[c1]", "c1") + red("test_mode[c2]", "c2") + red("test_users_can_read_it[c2]", "c2")
SKIPPED = "<testcase><skipped/></testcase>"
# Stands for `python -m pytest`: notes how it was called, and does for each phase what the test's directory says.
STAND_IN = """\
#!/bin/sh
for word; do
    case $word in
        --junitxml=*) report=${word#--junitxml=} ;;
        --hpc-error-file=*) error=${word#--hpc-error-file=} ;;
    esac
done
phase=$(basename "$report" .xml)
echo "$@" >> calls
[ -e "$phase.report" ] && cp "$phase.report" "$report"
[ -e "$phase.error" ] && cp "$phase.error" "$error"
[ -e "$phase.stderr" ] && cat "$phase.stderr" >&2
echo "output of $phase"
exit $(cat "$phase.exit" 2>/dev/null || echo 0)
"""
Prepare = Callable[..., None]


@pytest.fixture
def prepare(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Prepare:
    """Say how pytest ends for a phase; all others pass."""
    stand_in = tmp_path / "python"
    stand_in.write_text(STAND_IN)
    stand_in.chmod(0o755)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "executable", str(stand_in))

    def say(
        phase: str, *, cases: str | None = GOOD, code: int = 0, stderr: str = "", error: Failed | str | None = None
    ) -> None:
        (tmp_path / f"{phase}.exit").write_text(str(code))
        (tmp_path / f"{phase}.stderr").write_text(stderr)
        (tmp_path / f"{phase}.report").unlink(missing_ok=True)
        (tmp_path / f"{phase}.error").unlink(missing_ok=True)
        if error is not None:
            (tmp_path / f"{phase}.error").write_text(to_line(error) if isinstance(error, Failed) else error)
        if cases is not None:
            text = (
                f'<testsuites><testsuite tests="1" failures="0" errors="0" skipped="0">{cases}</testsuite></testsuites>'
            )
            (tmp_path / f"{phase}.report").write_text(text)

    for phase in phases.PHASES:
        say(phase)
    return say


def run(*, workers: int = 0) -> dict[str, Counts]:
    return phases.run_phases(
        phases.PHASES, ["--hpc-image=x.sif"], Path("reports"), workers=workers, on_line=lambda _: None
    )


def merged() -> list[str | None]:
    return [suite.get("name") for suite in ET.parse("reports/junit.xml").getroot()]  # noqa: S314


def calls() -> list[str]:
    return Path("calls").read_text().splitlines()


def test_all_pass_in_order(prepare: Prepare) -> None:
    assert run() == dict.fromkeys(phases.PHASES, Counts(passed=1))
    assert merged() == list(phases.PHASES)
    assert [f" -m {phase} " in call for phase, call in zip(phases.PHASES, calls(), strict=True)] == [True] * 3
    assert all("--hpc-image=x.sif" in call and "no:xdist" in call for call in calls())


def test_workers_are_xdists(prepare: Prepare) -> None:
    run(workers=4)
    assert all("-n 4 " in call and "loadgroup" not in call for call in calls())


@pytest.mark.parametrize(
    ("how", "kind", "says"),
    [
        ({"cases": GOOD + RED, "code": 1}, CheckFailed, ": 1 test failed: it is red"),
        ({"cases": GOOD + MANY, "code": 1}, CheckFailed, ": 3 tests failed on c[1-2]: mode, users can read it"),
        ({"cases": GOOD + GONE + gone("c4"), "code": 1}, Unreachable, ": c[3-4] could not be asked: no route"),
        (
            {"cases": GONE + gone("c4", "x"), "code": 1},
            Unreachable,
            "no route\nphase deployment: c4 could not be asked: x",
        ),
        ({"cases": GONE + RED, "code": 1}, CheckFailed, "asked: no route\nphase deployment: 1 test failed: it is red"),
        ({"cases": SKIPPED, "code": 1}, CheckFailed, "skipped"),
        ({"cases": None, "code": 5}, CheckFailed, "no test ran"),
        ({"cases": None, "code": 4, "stderr": "ERROR: usage\n\nunknown option\n"}, UsageError, "unknown option"),
        ({"cases": GOOD, "code": 3, "stderr": "INTERNALERROR"}, HpcRegistryError, "INTERNALERROR"),
        ({"cases": None, "code": 137}, HpcRegistryError, "137"),
        ({"cases": None, "code": 1}, HpcRegistryError, "no JUnit report"),
        ({"cases": None, "code": 0}, HpcRegistryError, "no JUnit report"),
        ({"cases": "<broken", "code": 0}, HpcRegistryError, "no JUnit report"),
        ({"cases": None, "code": 3, "stderr": "Exit: of another plugin\n"}, HpcRegistryError, "another plugin"),
        ({"cases": None, "code": 3, "error": ""}, HpcRegistryError, "did not get to its end"),
        ({"cases": None, "code": 0, "error": "{"}, HpcRegistryError, "no JUnit report"),
        (
            {"cases": None, "code": 3, "error": Failed("no route", exit_code=3, where="hpc")},
            Unreachable,
            "hpc: no route",
        ),
        ({"cases": None, "code": 1, "error": Failed("drift", exit_code=1)}, CheckFailed, "drift"),
        ({"cases": None, "code": 4, "error": Failed("no compute nodes", exit_code=4)}, HpcRegistryError, "no compute"),
    ],
)
def test_how_a_phase_can_end(prepare: Prepare, how: dict[str, object], kind: type[HpcRegistryError], says: str) -> None:
    prepare("deployment", **how)
    with pytest.raises(HpcRegistryError) as caught:
        run()
    assert caught.value.exit_code == kind.exit_code
    assert says in str(caught.value)
    assert "deployment" in str(caught.value)
    assert len(calls()) == 2, "the phase after it must not run"
    assert merged() == list(phases.PHASES)
    gated = ET.parse("reports/junit.xml").getroot()[2]  # noqa: S314
    assert gated.get("errors") == "1"


def test_wrong_use_has_nothing_to_do_with_a_phase(prepare: Prepare) -> None:
    prepare("infrastructure", cases=None, code=4, error=Failed("no image", exit_code=2, hint="catalog list"))
    with pytest.raises(UsageError, match=r"^no image$") as caught:
        run()
    assert caught.value.hint == "catalog list"
    assert len(calls()) == 1


def test_reports_that_cannot_be_written_ask_nobody(prepare: Prepare) -> None:
    Path("reports").write_text("a file")
    with pytest.raises(UsageError, match=r"^reports: this directory cannot be made \(file exists\)$") as caught:
        run()
    assert caught.value.hint == "--reports DIR"
    assert not Path("calls").exists()


def test_what_stopped_a_phase_keeps_its_fields(prepare: Prepare) -> None:
    """Also where its words look as pytest's own: no text is taken apart."""
    what = "2 mistakes\n  Exit: a\nhint: b"
    error = Failed(what, exit_code=3, where="hpc", hint="ssh -v\nssh -vv")
    prepare("infrastructure", cases=None, code=3, stderr="Exit: x\nhint: y\n", error=error)
    with pytest.raises(Unreachable) as caught:
        run()
    assert (caught.value.what, caught.value.where) == (what, "phase infrastructure: hpc")
    assert caught.value.hint == "ssh -v\nssh -vv"


def test_a_real_session_hands_over_its_error(tmp_path: Path) -> None:
    """With the plugin, which has not been told of a cluster file that is there."""
    printed: list[str] = []
    cluster = tmp_path / "none.yaml"
    with pytest.raises(UsageError) as caught:
        phases.run_phases(["e2e"], [f"--hpc-cluster={cluster}"], tmp_path, workers=0, on_line=printed.append)
    assert str(caught.value) == f"{cluster}: there is no such file"
    assert not [line for line in printed if "passed" in line]


def test_an_environment_for_other_runs_of_pytest_chooses_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else a part of a phase would be a green phase."""
    (tmp_path / "test_it.py").write_text(
        "import pytest\n@pytest.mark.infrastructure\ndef test_one(): pass\n"
        "@pytest.mark.infrastructure\ndef test_two(): pass\n"
    )
    monkeypatch.setattr(phases, "suites_directory", lambda: tmp_path)
    monkeypatch.setenv("HPC_CLUSTER", str(tmp_path / "cluster.yaml"))
    (tmp_path / "cluster.yaml").write_text("controller: {name: ctl, host: ctl}\n")
    monkeypatch.setenv("PYTEST_ADDOPTS", "-k one --maxfail=1")
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")
    monkeypatch.setenv("PYTEST_PLUGINS", "no_such_plugin")
    ended = phases.run_phases(
        ("infrastructure",), ["--hpc-gather=never"], tmp_path / "reports", workers=0, on_line=lambda _: None
    )
    assert ended["infrastructure"].passed == 2


def test_a_long_explanation_is_shown_in_full(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By pytest alone: our plugin would ask a cluster first."""
    suite, lines = tmp_path / "test_suite.py", [f"image {number} is missing" for number in range(40)]
    (tmp_path / "conftest.py").write_text("def pytest_addoption(parser): parser.addoption('--hpc-error-file')\n")
    text = "\\n".join(lines)
    suite.write_text(f"import pytest\n@pytest.mark.infrastructure\ndef test_it():\n    assert '{text}' == ''\n")
    monkeypatch.setattr(phases, "suites_directory", lambda: suite)
    printed: list[str] = []
    problem = phases.run_phase("infrastructure", ["-p", "no:hpcregistry"], tmp_path / "x.xml", 0, printed.append)
    assert str(problem) == "phase infrastructure: 1 test failed: it"
    report = (tmp_path / "x.xml").read_text()
    assert [line for line in lines if f"E         + {line}" not in printed or line not in report] == []


def test_a_phase_that_hangs_is_reported(prepare: Prepare, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(phases, "DEADLINE", 0.2)
    Path("python").write_text("#!/bin/sh\nexec sleep 60\n")
    with pytest.raises(HpcRegistryError, match="still running"):
        run()
    assert merged() == list(phases.PHASES)


def test_the_report_of_an_earlier_run_is_not_taken_for_this_ones(prepare: Prepare) -> None:
    run()
    prepare("infrastructure", cases=None, code=0)
    with pytest.raises(HpcRegistryError, match="no JUnit report"):
        run()


def test_the_suites_are_found() -> None:
    assert (phases.suites_directory() / "test_reachable.py").is_file()
    assert os.access(phases.suites_directory() / "infrastructure", os.R_OK)
