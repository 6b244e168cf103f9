"""Every lab test has its turn."""

from __future__ import annotations

import sys

import pytest

from tests import ROOT
from tests.lab.turns import PARTS, VARIABLE, left_out

pytest_plugins = ["pytester"]
FILES = sorted(path.stem for path in (ROOT / "tests" / "lab").glob("test_*.py"))


def test_each_slow_file_is_run_on_one_day_of_those_that_make_a_round() -> None:
    slow = sorted(file for part in PARTS for file in part)
    assert set(slow) <= set(FILES)
    days = [[file for file in slow if file not in left_out(day)] for day in range(300, 300 + len(PARTS))]
    assert sorted(file for day in days for file in day) == slow, "each once, and no day has none"
    assert all(days)


def collected(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch, turn: str) -> str:
    monkeypatch.setenv(VARIABLE, turn)
    monkeypatch.chdir(ROOT)
    words = ["-m", "lab", "--co", "-q", "-p", "no:cacheprovider", "tests/lab"]
    return pytester.run(sys.executable, "-m", "pytest", *words).stdout.str()


def test_what_has_not_its_turn_is_not_collected(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> None:
    said = collected(pytester, monkeypatch, str(len(PARTS)))
    assert f"{PARTS[0][0]}.py::" in said
    assert f"{PARTS[1][0]}.py::" not in said
    assert f"{PARTS[1][0]}.py::" in collected(pytester, monkeypatch, "")
