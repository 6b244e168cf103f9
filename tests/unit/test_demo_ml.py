"""The report of `make demo-ml` says what was done and what failed, and is written in any case."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest

import demo
import demo_ml
from demo import Step

SUITE = """
def test_trains(record_property):
    record_property("loss resumed", 0.1 + 0.2)
    record_property("digests sif", "abcd")
"""
FAILS = "\ndef test_fails():\n    assert False\n"


@pytest.fixture
def report(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(demo_ml, "REPORTS", tmp_path / "reports")
    monkeypatch.setattr(demo_ml, "CASES", tmp_path / "reports" / "cases.xml")
    monkeypatch.setattr(demo_ml, "say_what_is_still_up", lambda lab: None)
    return tmp_path / "reports" / "demo-ml.json"


def run(monkeypatch: pytest.MonkeyPatch, report: Path, *steps: Step) -> tuple[int, dict[str, Any]]:
    monkeypatch.setattr(demo_ml, "STEPS", steps)
    return demo_ml.main(), json.loads(report.read_text())


def suite(tmp_path: Path, text: str) -> Step:
    (tmp_path / "test_it.py").write_text(text)
    words = (
        "-p",
        "no:hpcregistry",
        f"--junitxml={demo_ml.CASES}",
        "-o",
        "junit_family=xunit1",
        "--rootdir",
        str(tmp_path),
    )
    return Step("tests", (sys.executable, "-m", "pytest", "-q", *words, str(tmp_path / "test_it.py")))


def test_every_test_is_a_step_and_what_it_recorded_is_there(
    report: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    code, found = run(monkeypatch, report, Step("converts", ("true",), lambda: 5), suite(tmp_path, SUITE))
    assert code == 0
    assert [(step["name"], step["ok"], step["bytes"]) for step in found["steps"]] == [
        ("converts", True, 5),
        ("test_trains", True, 0),
    ]
    assert all(step["seconds"] >= 0 for step in found["steps"])
    assert found["digests"] == {"sif": "abcd"}
    assert found["loss"] == {"resumed": 0.1 + 0.2}


def test_a_test_that_fails(report: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    code, found = run(monkeypatch, report, suite(tmp_path, SUITE + FAILS))
    assert code == 1
    assert [(step["name"], step["ok"]) for step in found["steps"]] == [("test_trains", True), ("test_fails", False)]


def test_a_step_that_fails_is_the_last(report: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    steps = (Step("works", ("true",)), Step("fails", ("false",), lambda: 5), Step("never", ("true",)))
    code, found = run(monkeypatch, report, *steps)
    assert code == 1
    assert [(step["name"], step["ok"], step["bytes"]) for step in found["steps"]] == [
        ("works", True, 0),
        ("fails", False, 0),
    ]
    assert (found["digests"], found["loss"]) == ({}, {})


def test_no_tests_are_no_success(report: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """And the cases of the last time are not taken for those of this one."""
    report.parent.mkdir()
    demo_ml.CASES.write_text('<testsuites><testsuite><testcase name="old" time="1"/></testsuite></testsuites>')
    code, found = run(monkeypatch, report, Step("works", ("true",)))
    assert code == 1
    assert [step["name"] for step in found["steps"]] == ["works"]


@pytest.mark.parametrize("steps", [demo.STEPS, demo_ml.STEPS])
def test_steps_have_names_of_their_own(steps: tuple[Step, ...]) -> None:
    assert len({step.name for step in steps}) == len(steps) > 5
