"""JUnit: counts and the merged file say what happened, and silence is never success."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from pathlib import Path

import pytest

from pytest_hpcregistry.core.errors import HpcRegistryError, UsageError
from pytest_hpcregistry.core.events import CheckEnded
from pytest_hpcregistry.report.junit import Counts, gated_suite, merge, read_counts, write_checks

CASES = """\
<testcase name="good"/>
<testcase name="red"><failure message="m"/></testcase>
<testcase name="broken"><error message="m"/></testcase>
<testcase name="left out"><skipped message="m"/></testcase>
<testcase name="gone"><properties><property name="unreachable" value="no route"/></properties><failure/></testcase>
<testcase name="told"><properties><property name="node" value="c1"/></properties></testcase>
"""
COUNTS = 'tests="6" failures="2" errors="1" skipped="1"'
SUITE = f'<testsuites><testsuite name="pytest" {COUNTS}>{CASES}</testsuite></testsuites>'


def test_counts(tmp_path: Path) -> None:
    path = tmp_path / "x.xml"
    path.write_text(SUITE)
    assert read_counts(path) == Counts(passed=2, failed=3, skipped=1, unreachable=1)


@pytest.mark.parametrize("text", [None, "", "<testsuites><testsuite>"])
def test_no_report_is_an_error_and_not_zero_failures(tmp_path: Path, text: str | None) -> None:
    path = tmp_path / "x.xml"
    if text is not None:
        path.write_text(text)
    with pytest.raises(HpcRegistryError, match="no JUnit report"):
        read_counts(path)


def test_a_phase_that_was_not_run_is_an_error() -> None:
    suite = ET.fromstring(gated_suite("e2e", "deployment <did> not pass & more")).find("testsuite")  # noqa: S314
    assert suite is not None
    assert (suite.get("name"), suite.get("tests"), suite.get("errors")) == ("e2e", "1", "1")
    error = suite.find("testcase/error")
    assert error is not None
    assert error.get("message") == "not run: deployment <did> not pass & more"


def test_merge_adds_up_and_names_the_suites_after_their_phases(tmp_path: Path) -> None:
    target = tmp_path / "junit.xml"
    merge({"infrastructure": SUITE, "deployment": SUITE, "e2e": gated_suite("e2e", "é")}, target)
    root = ET.parse(target).getroot()  # noqa: S314
    assert [suite.get("name") for suite in root] == ["infrastructure", "deployment", "e2e"]
    assert {key: root.get(key) for key in ("tests", "failures", "errors", "skipped")} == {
        "tests": "13",
        "failures": "4",
        "errors": "3",
        "skipped": "2",
    }
    assert len(list(root.iter("testcase"))) == 13
    assert read_counts(target) == Counts(passed=4, failed=7, skipped=2, unreachable=2)


def test_an_images_checks(tmp_path: Path) -> None:
    target = tmp_path / "reports" / "x.xml"
    ended = [
        CheckEnded("x.sif", "import torch", "passed", seconds=3.25),
        CheckEnded("x.sif", "a\x1b[31m", "failed", "exit code 1 <\x1b>"),
        CheckEnded("x.sif", "nvidia-smi", "skipped", "no GPU on c1"),
        CheckEnded("x.sif", "b", "unknown", "NODE_FAIL"),
    ]
    write_checks(target, "ml-frameworks/x.sif", ended, {"digest": "sha256:aa", "where": "c1\x1b"})
    suite = ET.parse(target).getroot()[0]  # noqa: S314
    properties = {one.get("name"): one.get("value") for one in suite.iter("property")}
    assert properties == {"digest": "sha256:aa", "where": "c1\\x1b"}
    cases = {case.get("name"): [(one.tag, one.get("message")) for one in case] for case in suite.iter("testcase")}
    assert cases == {
        "import torch": [],
        "a\\x1b[31m": [("failure", "exit code 1 <\\x1b>")],
        "nvidia-smi": [("skipped", "no GPU on c1")],
        "b": [("error", "NODE_FAIL")],
    }
    assert (suite.get("name"), suite[1].get("classname"), suite[1].get("time")) == (
        *["ml-frameworks/x.sif"] * 2,
        "3.250000",
    )
    assert read_counts(target) == Counts(passed=1, failed=2, skipped=1)


def test_a_report_that_cannot_be_written(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="cannot be written"):
        write_checks(tmp_path, "x.sif", [], {})
