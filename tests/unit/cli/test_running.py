"""`running` and `cancel`: what is said of what runs, and the exit codes."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from click.testing import CliRunner, Result

from pytest_hpcregistry import cli
from pytest_hpcregistry.cluster.client import ControllerClient
from pytest_hpcregistry.core.errors import HpcRegistryError
from pytest_hpcregistry.core.events import Cancelled, Runs
from pytest_hpcregistry.core.history import Record
from pytest_hpcregistry.core.running import WAITING, WORKING, Running

RECORD = Record("1" * 15, "2026-11-25T19:23:20Z", "sync", claimed="alice@ws2", address="192.0.2.7")
SYNC = Running(RECORD, WORKING, size=46_000_000, arrived=18_400_000, left=41, nodes="c001", age=72)
GC = Running(Record("2" * 15, RECORD.time, "gc", user="root", detail="keep 2, grace 0 s"), WAITING, age=38)
Answer = Callable[..., None]


@pytest.fixture
def answer(monkeypatch: pytest.MonkeyPatch) -> Answer:
    def answer(event: Any) -> None:
        for name in ("running", "cancel"):
            monkeypatch.setattr(ControllerClient, name, lambda client: event)

    return answer


def run(*words: str) -> Result:
    return CliRunner().invoke(cli.commands, [*words, "--controller", "hpc"])


def test_what_runs_and_what_waits(answer: Answer) -> None:
    answer(Runs([SYNC, GC], locked=True))
    result = run("running")
    far = "sync  all images  by alice@ws2 (from 192.0.2.7)  40 % of 46 MB  about 0:41 left  c001  begun 1:12 ago"
    assert result.stdout.splitlines() == [
        f"{far}   (stop it: hpc-container-manager cancel)",
        "gc  waiting  keep 2, grace 0 s  by root  begun 38 s ago",
    ]
    assert result.exit_code == 0
    document = json.loads(run("running", "--json").stdout)
    assert [one["record"]["id"] for one in document["running"]] == ["1" * 15, "2" * 15]
    assert document["locked"]


@pytest.mark.parametrize(
    ("event", "said"),
    [
        (Runs([]), "nothing runs on hpc\n"),
        (Runs([], locked=True), "a command of which nothing is known holds the lock on hpc\n"),
    ],
)
def test_nothing_runs_only_where_nothing_does(answer: Answer, event: Runs, said: str) -> None:
    answer(event)
    assert (run("running").stdout, run("running").exit_code) == (said, 0)


def test_what_a_file_says_reaches_no_terminal_as_it_is(answer: Answer) -> None:
    odd = Record("1" * 15, RECORD.time, "sync", claimed="a\x1b[31m\nb", images=["\u202e.sif"])
    answer(Runs([Running(odd, WORKING, nodes="c1\x07")]))
    said = run("running").stdout
    assert said.count("\n") == 1
    assert said.strip().isprintable()


@pytest.mark.parametrize(
    ("how", "code", "says", "hint"),
    [
        (
            {"state": "interrupted", "done": "c[1-2]", "failed": "c3", "reason": "cancelled by root@vm"},
            0,
            "on c[1-2]; not on c3",
            "hint: c3 not done: to go on: hpc-container-manager sync\n",
        ),
        ({"state": "ok", "done": "c[1-3]"}, 0, "all images: ok", ""),
        ({"state": "killed"}, 4, "all images: killed", ""),
        (
            {"command": "gc", "state": "interrupted"},
            0,
            "gc",
            "hint: what was not freed is freed by the next: hpc-container-manager gc\n",
        ),
    ],
)
def test_what_was_ended_and_what_is_left(answer: Answer, how: dict[str, str], code: int, says: str, hint: str) -> None:
    answer(Cancelled(Record(**{**vars(RECORD), **how}), [GC]))
    result = run("cancel")
    assert says in result.stdout
    assert "  next: gc  waiting  keep 2, grace 0 s  by root" in result.stdout
    assert result.stderr == hint
    assert (result.exit_code == 0) == (code == 0)
    if code:
        assert isinstance(result.exception, HpcRegistryError)
        assert result.exception.exit_code == code


def test_what_becomes_of_it_is_said_instead_of_interrupted(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(**words: Any) -> None:
        interrupt = KeyboardInterrupt()
        interrupt.add_note("withdrawn: nothing was freed")
        raise interrupt

    monkeypatch.setattr(cli.commands, "main", fail)
    with pytest.raises(SystemExit) as left:
        cli.main()
    assert (left.value.code, capsys.readouterr().err) == (130, "withdrawn: nothing was freed\n")
