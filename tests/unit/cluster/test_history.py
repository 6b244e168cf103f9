"""The controller's history, asked from the workstation."""

from __future__ import annotations

import json
from typing import Any

import pytest

from pytest_hpcregistry.cluster import history
from pytest_hpcregistry.cluster.client import ControllerClient
from pytest_hpcregistry.core.catalog import Catalog
from pytest_hpcregistry.core.errors import RUN_SETUP, CommandFailed, UsageError
from pytest_hpcregistry.core.events import Event, Failed, Happened, HistoryEnded, Noticed
from pytest_hpcregistry.core.history import Record
from pytest_hpcregistry.core.wire import to_line
from pytest_hpcregistry.testing.facts import NAME, entry
from pytest_hpcregistry.transports import Command, CommandResult

from .test_client import asked, talk

ONE, TWO = (Record(digit * 15, "2026-11-25T19:23:20Z", "sync", "killed") for digit in "12")


def read(one: ControllerClient, **how: Any) -> history.History:
    return history.read(one, **{"since": None, "image": None, "last": None, **how})


def test_it_is_asked_for_and_brought() -> None:
    one = talk("Welcome!", Happened(ONE), Happened(TWO), HistoryEnded(3))
    assert read(one, since="7d", image=NAME.partition("/")[2], last=9) == history.History([ONE, TWO], 3)
    assert list(asked(one).asked[0])[-7:] == ["history", "--since", "7d", "--image", NAME, "--last", "9"]
    assert read(talk(HistoryEnded(0))) == history.History([], 0)


def test_a_name_that_is_none_is_not_asked_for() -> None:
    one = talk(HistoryEnded(0))
    with pytest.raises(UsageError):
        read(one, image="../x.sif")
    assert asked(one).asked == []


@pytest.mark.parametrize(
    ("catalog", "earlier", "is_known"),
    [
        (Catalog({NAME: entry("a" * 64)}).to_text(), [], True),
        (Catalog().to_text(), [Happened(ONE)], True),
        (Catalog().to_text(), [], False),
        ("{", [], True),
    ],
)
def test_a_name_that_nobody_knows_is_no_empty_history(catalog: str, earlier: list[Event], is_known: bool) -> None:
    """Where the catalog is broken, nobody can say."""
    one = talk(*earlier, HistoryEnded(0))
    fake, answer = asked(one), asked(one).execute

    def execute(command: Command) -> CommandResult:
        if command.argv[0] == "head":
            for line in catalog.splitlines():
                assert command.on_line
                command.on_line(line)
            return CommandResult("hpc", tuple(command.argv), 0, "", "", 0.0)
        if "--since" in command.argv:
            assert command.on_line
            command.on_line(to_line(HistoryEnded(0)))
            return CommandResult("hpc", tuple(command.argv), 0, "", "", 0.0)
        return answer(command)

    fake.execute = execute  # type: ignore[method-assign]
    if is_known:
        assert read(one, since="7d", image=NAME).records == []
        return
    with pytest.raises(UsageError, match=f"no image {NAME} in the catalog or the history of hpc"):
        read(one, since="7d", image=NAME)


@pytest.mark.parametrize("events", [(Happened(ONE),), (Happened(ONE), Noticed("x"))])
def test_half_a_history_is_none(events: tuple[Event, ...]) -> None:
    with pytest.raises(CommandFailed, match="no answer to history"):
        read(talk(*events))


def test_a_record_without_form_is_not_shown() -> None:
    line = {"event": "happened", "record": {"id": 7}}
    with pytest.raises(CommandFailed, match="malformed"):
        read(talk(line, HistoryEnded(0)))


@pytest.mark.parametrize(
    "stderr",
    ["controller.pyz: error: argument command: invalid choice: 'history' (choose from 'sync', 'gc')",
     "registry-sync-to-nodes.sh: error: unrecognized arguments: --by"],
)  # fmt: skip
def test_an_older_program_that_calls_itself_of_this_version(stderr: str) -> None:
    with pytest.raises(UsageError, match="is another one than this") as caught:
        read(talk(stderr=stderr, exit_code=2))
    assert caught.value.hint == RUN_SETUP


def test_a_program_of_another_version_says_what_to_do() -> None:
    failed = Failed("the controller has version 1, this is 2", hint=RUN_SETUP, exit_code=2)
    with pytest.raises(UsageError, match="the controller has version 1") as caught:
        read(talk(failed, exit_code=2))
    assert caught.value.hint == RUN_SETUP


def test_what_was_done_here_is_noted_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(history, "operator", lambda: "me@x")
    one, told = talk(Happened(ONE), Noticed("not in the history: disk")), list[Event]()
    history.note(one, told.append, "test", images=[NAME])
    assert list(asked(one).asked[0])[-3:] == ["note", "--by", "me@x"]
    assert json.loads(asked(one).sent[0]) == {"command": "test", "images": [NAME]}
    assert told == [Noticed("not in the history: disk")]


def test_what_cannot_be_noted_is_a_warning() -> None:
    told: list[Event] = []
    history.note(talk(stderr="no space", exit_code=1), told.append, "test")
    (warning,) = told
    assert isinstance(warning, Noticed)
    assert warning.message.startswith("not in the history: hpc: ")
