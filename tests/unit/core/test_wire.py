"""Events on a wire: one line of JSON each, whatever the version of who reads it."""

from __future__ import annotations

import json
from typing import Any

import pytest

from pytest_hpcregistry.core.errors import Unreachable
from pytest_hpcregistry.core.events import Event, Failed, Freed, GcFinished, NodeFinished, Progress
from pytest_hpcregistry.core.wire import KINDS, from_line, to_line

SOME: list[Event] = [
    NodeFinished("c1", "all images", "failed", 1, 2, 0.5, "no\nroom", "make room"),
    Progress({"c1": 5}),
    GcFinished({"c1": Freed("freed", objects=["a"], bytes=7), "c2": Freed("unreachable", "no route")}, True),
    Failed("disk full", exit_code=4, where="controller"),
]


@pytest.mark.parametrize("event", SOME)
def test_an_event_is_read_as_it_was_written(event: Event) -> None:
    line = to_line(event)
    assert line.isascii()
    assert "\n" not in line
    assert from_line(line) == event


def test_the_words_of_the_wire() -> None:
    assert json.loads(to_line(SOME[0])) == {
        "event": "node_finished", "node": "c1", "what": "all images", "state": "failed", "objects": 1, "bytes": 2,
        "seconds": 0.5, "message": "no\nroom", "hint": "make room", "read": False,
    }  # fmt: skip
    assert json.loads(to_line(Failed("no"))) == {"event": "failed", "message": "no"}


@pytest.mark.parametrize("where", ["", "c1"])
def test_an_error_keeps_kind_and_fields_on_its_way(where: str) -> None:
    event = from_line(to_line(Failed.of(Unreachable("no\nroute", where=where, hint="ssh -v\nagain"))))
    assert isinstance(event, Failed)
    error = event.error()
    assert type(error) is Unreachable
    assert (error.what, error.where, error.hint) == ("no\nroute", where, "ssh -v\nagain")


def test_every_kind_has_a_name_of_its_own() -> None:
    assert len(KINDS) == len(Event.__subclasses__()) > 20
    assert KINDS["gc_finished"] is GcFinished


def test_unknown_kinds_and_keys_are_passed_over() -> None:
    assert from_line('{"event": "of a later version"}') is None
    assert from_line('{"event": "progress", "bytes": {"c1": 5}, "of a later": "version"}') == Progress({"c1": 5})


@pytest.mark.parametrize("line", ["", "x", "{", "{}", "[]", '{"event": 5}', '{"event": ["x"]}', "{1}", "{" * 100_000])
def test_what_else_a_login_prints_is_no_event(line: str) -> None:
    assert from_line(line) is None


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({}, "lacks node"),
        ({"node": 5}, "node_finished.node is no str"),
        ({"bytes": "x"}, "node_finished.bytes is no int"),
        ({"bytes": True}, "node_finished.bytes is no int"),
        ({"seconds": "x"}, "node_finished.seconds is no float"),
        ({"hint": None}, "node_finished.hint is no str"),
    ],
)
def test_a_known_kind_has_its_fields(fields: dict[str, Any], says: str) -> None:
    good = {"node": "c1", "what": "x", "state": "synced"} if fields else {"what": "x", "state": "synced"}
    with pytest.raises(ValueError, match=says):
        from_line(json.dumps({"event": "node_finished", **good, **fields}))


@pytest.mark.parametrize(
    "machines", [[], {"c1": 5}, {"c1": {}}, {"c1": {"state": "freed", "objects": {}}}, {"c1": {"state": 1}}]
)
def test_what_is_inside_has_its_form_too(machines: Any) -> None:
    with pytest.raises(ValueError, match=r"^gc_finished\.machines"):
        from_line(json.dumps({"event": "gc_finished", "dry_run": False, "machines": machines}))


@pytest.mark.parametrize("whole", [1, 1.5])
def test_seconds_may_be_whole(whole: float) -> None:
    line = {"event": "node_finished", "node": "c1", "what": "x", "state": "synced", "seconds": whole}
    event = from_line(json.dumps(line))
    assert isinstance(event, NodeFinished)
    assert event.seconds == whole
