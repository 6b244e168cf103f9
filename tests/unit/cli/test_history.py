"""`history`: what was asked for, and how it is shown."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import Any

import pytest
from click.testing import CliRunner, Result

from pytest_hpcregistry.cli import commands
from pytest_hpcregistry.cli import history as history_command
from pytest_hpcregistry.cluster.history import History
from pytest_hpcregistry.core.errors import Undetermined
from pytest_hpcregistry.core.history import Record

ONE = Record("1" * 15, "2026-11-25T19:23:20Z", "sync", "killed", user="root", address="192.0.2.7")
Give = Callable[..., list[dict[str, Any]]]


@pytest.fixture
def give(monkeypatch: pytest.MonkeyPatch) -> Give:
    """`give(records, unreadable)`: what the controller answers; returns what it is asked."""

    def answer(*records: Record, unreadable: int = 0, odd: Sequence[str] = ()) -> list[dict[str, Any]]:
        asked: list[dict[str, Any]] = []

        def read(client: object, **how: Any) -> History:
            asked.append(how)
            return History(list(records), unreadable, list(odd))

        monkeypatch.setattr(history_command, "read", read)
        return asked

    return answer


def run(*words: str) -> Result:
    return CliRunner().invoke(commands, ["history", "--controller", "hpc", *words])


def test_a_week_unless_told_otherwise(give: Give) -> None:
    asked = give()
    for words in ([], ["--last", "5"], ["--since", "2h", "-n", "5", "--image", "x.sif"]):
        assert run(*words).exit_code == 0
    assert asked == [
        {"since": "7d", "image": None, "last": None},
        {"since": None, "image": None, "last": 5},
        {"since": "2h", "image": "x.sif", "last": 5},
    ]


@pytest.mark.parametrize("words", [["--since", "soon"], ["--since", ""], ["--last", "0"], ["--last", "x"], ["sync"]])
def test_what_is_wrong_use_is_not_asked(give: Give, words: list[str]) -> None:
    asked = give(ONE)
    assert run(*words).exit_code == 2
    assert asked == []


def test_lines_for_people(give: Give) -> None:
    give(ONE, unreadable=2)
    said = run()
    assert said.stdout == "2026-11-25T19:23:20Z  sync      all images: killed\n    by root from 192.0.2.7\n"
    assert said.stderr == "! 2 lines of the history cannot be read\n"
    assert said.exit_code == 0


@pytest.mark.parametrize(
    ("words", "says"),
    [([], "nothing is noted since 7d\n"), (["--last", "3"], "nothing is noted\n"),
     (["--since", "2026-11-01"], "nothing is noted since 2026-11-01\n")],
)  # fmt: skip
def test_none_is_said(give: Give, words: list[str], says: str) -> None:
    give()
    assert run(*words).output == says


@pytest.mark.parametrize("words", [[], ["--json"]])
def test_a_file_that_is_none_is_no_empty_history(give: Give, words: list[str]) -> None:
    give(odd=["/r/history.jsonl is not a regular file"])
    result = run(*words)
    assert isinstance(result.exception, Undetermined)
    assert "hpc: not all of the history can be read: /r/history.jsonl is not" in str(result.exception)
    assert "nothing is noted" not in result.output


def test_one_document_for_programs(give: Give) -> None:
    give(ONE, unreadable=1)
    document = json.loads(run("--json").stdout)
    assert document["unreadable_lines"] == 1
    (found,) = document["records"]
    assert found == {
        "id": "1" * 15,
        "time": "2026-11-25T19:23:20Z",
        "command": "sync",
        "state": "killed",
        "user": "root",
        "address": "192.0.2.7",
        "claimed": "",
        "images": [],
        "before": "",
        "after": "",
        "done": "",
        "failed": "",
        "bytes": 0,
        "engine": "",
        "checks": {},
        "seconds": 0.0,
        "detail": "",
        "reason": "",
    }
