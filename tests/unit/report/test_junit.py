"""JUnit: counts and the merged file say what happened, and silence is never success."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from pathlib import Path

import pytest

from pytest_hpcregistry.core.errors import HpcRegistryError
from pytest_hpcregistry.report.junit import Counts, gated_suite, merge, read_counts

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
