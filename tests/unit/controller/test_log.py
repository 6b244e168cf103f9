"""What the controller program says: the lines that an operator greps for, and who listens."""

from __future__ import annotations

import io
import json
import os
import re
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from pytest_hpcregistry.controller import log as events
from pytest_hpcregistry.core.events import (
    BytesMissing,
    DamageFound,
    Event,
    Failed,
    Freed,
    GcFinished,
    GcStarted,
    NodeFinished,
    NodeStarted,
    Noticed,
    Progress,
    Published,
    RolledBack,
    SyncFinished,
    SyncStarted,
    TransferStarted,
    UnderWay,
)
from pytest_hpcregistry.core.listeners import to_all
from pytest_hpcregistry.core.messages import describe
from pytest_hpcregistry.core.wire import to_data

NAME, D, E = "ml-frameworks/x.sif", "a" * 64, "b" * 64
FINISHED = NodeFinished(what=NAME, node="c1", state="x")
MACHINE = Freed("freed")


@pytest.mark.parametrize(
    ("event", "line"),
    [
        (
            Published(changed=True, name=NAME, digest=D),
            f"SUCCESS: {NAME} published on the controller, sha256 {D}",
        ),
        (
            Published(changed=True, name=NAME, digest=D, before="b" * 64, by="root@vm from 10.89.0.1"),
            f"SUCCESS: {NAME} published on the controller by root@vm from 10.89.0.1, sha256 {D}, was bbbbbbbbbbbb",
        ),
        (
            Published(changed=False, name=NAME, digest=D),
            f"SUCCESS: {NAME} already published on the controller, sha256 {D}",
        ),
        (SyncStarted(what=NAME, nodes=["c1", "c2"]), f"Syncing {NAME} to 2 nodes: c[1-2]"),
        (
            TransferStarted(engine="star", bytes={"c1": 1, "c2": 2}, why="as asked for"),
            "Engine star for c[1-2]: as asked for",
        ),
        (Noticed(message="odd"), "NOTE: odd"),
        (
            DamageFound("c1", [NAME], "a" * 64, "b" * 64, "q"),
            f"NOTE: c1: {NAME} damaged (bbbbbbbbbbbb, should be aaaaaaaaaaaa): what was there is in q now",
        ),
        (NodeStarted(what=NAME, node="c1"), f"Syncing {NAME} to c1..."),
        (
            replace(FINISHED, state="synced", objects=2, bytes=1_250_000_000_000, seconds=1.25),
            f"SUCCESS: {NAME} synced to c1 (2 moved, 1.2 TB, 1.2 s)",
        ),
        (replace(FINISHED, state="unchanged"), f"SUCCESS: c1 has {NAME} (names and sizes compared)"),
        (replace(FINISHED, state="unchanged", read=True), f"SUCCESS: c1 has {NAME} (every byte read)"),
        (replace(FINISHED, state="synced"), f"SUCCESS: {NAME} synced to c1 (the bytes were there)"),
        (replace(FINISHED, state="failed", message="disk"), f"ERROR: {NAME} not synced to c1: disk"),
        (
            replace(FINISHED, state="unreachable", message="x" * 1001),
            f"ERROR: {NAME} not synced to c1: {'x' * 999}…",
        ),
        (UnderWay(what=NAME, text="half"), f"Syncing {NAME}: half"),
        (
            SyncFinished(states={"c1": "synced", "c2": "unchanged", "c3": "synced"}, what="x"),
            "SUCCESS: sync finished: 2 synced (c[1,3]), 1 unchanged (c2)",
        ),
        (
            SyncFinished(states={"c1": "synced", "c2": "failed"}, what="x"),
            "ERROR: sync finished: 1 failed (c2), 1 synced (c1)",
        ),
        (SyncFinished(states={"c1": "x"}, what="x"), "ERROR: sync finished: 1 x (c1)"),
        (Failed(message="no"), "ERROR: no"),
        (
            RolledBack(name=NAME, by="me@x", digest=D, before=E, published="x"),
            f"SUCCESS: {NAME} rolled back by me@x, sha256 {D}, was {E[:12]}",
        ),
        (
            RolledBack(name=NAME, by="me@x", digest=D, before=D, published="x"),
            f"SUCCESS: {NAME} rolled back by me@x, sha256 {D}, as before",
        ),
        (
            GcStarted(keep=2, grace=7, by="me@x", nodes=["c1", "c2"], dry_run=False),
            "Garbage collection by me@x (keep 2, grace 7 s) on the controller and c[1-2]",
        ),
    ],
)
def test_what_is_said_of_an_event(event: Event, line: str) -> None:
    assert describe(event) == [line]


@pytest.mark.parametrize("event", [Progress({"c1": 1}), BytesMissing(D)])
def test_what_the_log_does_not_want(event: Event) -> None:
    assert describe(event) == []


@pytest.mark.parametrize(
    ("one", "lines"),
    [
        (Freed("failed", "disk"), ["ERROR: c1: disk"]),
        (Freed("unreachable", "no route"), ["ERROR: c1: no route"]),
        (Freed("shared"), ["SUCCESS: c1: shares the controller's registry"]),
        (MACHINE, ["SUCCESS: c1: 0 objects freed, 0 B"]),
        (
            replace(MACHINE, objects=[D], debris=["x", "y"], bytes=2 * 10**12),
            ["SUCCESS: c1: 1 object and 2 leftovers freed, 2.0 TB"],
        ),
        (
            replace(MACHINE, objects=[D, E], attachments=["x"], debris=["y"]),
            ["SUCCESS: c1: 2 objects, 1 attachment and 1 leftover freed, 0 B"],
        ),
        (
            replace(MACHINE, in_use=[D, E], in_use_bytes=2 * 10**12, young=[D], young_bytes=10**6),
            [
                "SUCCESS: c1: 0 objects freed, 0 B",
                "NOTE: c1: 2 objects kept, 2.0 TB: in use",
                "NOTE: c1: 1 object kept, 1.0 MB: unreferenced for less than the grace period",
            ],
        ),
        (
            replace(MACHINE, unmanaged=["a\nb", "c"]),
            ["SUCCESS: c1: 0 objects freed, 0 B", "NOTE: c1: not in the catalog, left alone: a\\nb, c"],
        ),
    ],
)
def test_what_is_said_of_a_garbage_collection(one: Freed, lines: list[str]) -> None:
    assert describe(GcFinished(dry_run=False, machines={"c1": one})) == lines


# --- who listens

EVENT = Failed(message="a\n\x1b[31mb")
STAMPED = re.compile(r"\[\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\] ERROR: a\\n\\x1b\[31mb\n")


def test_a_line_has_the_time() -> None:
    assert STAMPED.fullmatch(events.stamp(describe(EVENT)[0]))
    at = time.strptime(events.stamp("x")[1:20], "%Y-%m-%d %H:%M:%S")
    assert abs(time.mktime(at) - time.time()) < 60


def test_all_hear_the_same(tmp_path: Path) -> None:
    lines, log, stream = io.StringIO(), tmp_path / "log", io.StringIO()
    listen = to_all(events.json_lines(lines), events.log_lines(str(log)), events.plain_lines(stream))
    listen(EVENT)
    listen(Progress(bytes={}))
    said = [json.loads(line) for line in lines.getvalue().splitlines()]
    assert said == [to_data(EVENT), to_data(Progress(bytes={}))]
    assert STAMPED.fullmatch(log.read_text())
    assert STAMPED.fullmatch(stream.getvalue())
    listen(EVENT)
    assert len(log.read_text().splitlines()) == 2


class Buffered(io.StringIO):
    """What was written is read when it is flushed."""

    seen = ""

    def flush(self) -> None:
        self.seen = self.getvalue()


def test_every_line_is_passed_on_at_once() -> None:
    for make in (events.json_lines, events.plain_lines):
        stream = Buffered()
        make(stream)(EVENT)
        assert stream.seen.endswith("\n")


def test_a_log_for_nothing_is_not_made(tmp_path: Path) -> None:
    events.log_lines(str(tmp_path / "log"))(Progress(bytes={}))
    assert list(tmp_path.iterdir()) == []


def test_a_log_that_cannot_be_written_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    events.log_lines(str(tmp_path / "no\nwhere/log"))(EVENT)
    assert capsys.readouterr().err == f"{tmp_path}/no\\nwhere/log: No such file or directory\n"


def test_a_log_that_cannot_be_written_is_told_once_to_who_watches(tmp_path: Path) -> None:
    told: list[Event] = []
    log = events.log_lines(str(tmp_path / "no/log"), told.append)
    log(EVENT)
    log(EVENT)
    assert told == [Noticed(f"the log {tmp_path}/no/log cannot be written: No such file or directory")]


def test_a_log_takes_any_letter(tmp_path: Path) -> None:
    events.log_lines(str(tmp_path / "log"))(Failed(message="é漢"))
    assert "ERROR: é漢\n".encode() in (tmp_path / "log").read_bytes()


def test_a_name_cannot_forge_a_line_of_the_log(tmp_path: Path) -> None:
    log = tmp_path / "log"
    events.log_lines(str(log))(Failed(message="x\n[2025-01-01 00:00:00] SUCCESS: all\r\x1b[2K\udcff"))
    (line,) = log.read_text().splitlines()
    assert line.endswith("ERROR: x\\n[2025-01-01 00:00:00] SUCCESS: all\\r\\x1b[2K\\udcff")


@pytest.mark.parametrize("make", [events.json_lines, events.plain_lines])
def test_a_reader_that_has_gone_does_not_stop_the_work(make: Any) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    stream = os.fdopen(writer, "w")
    listen = make(stream)
    for _ in range(3):
        listen(Failed(message="x"))
    with pytest.raises(BrokenPipeError):
        stream.close()
    listen(Failed(message="closed"))


def test_events_are_one_line_each() -> None:
    stream = io.StringIO()
    listen = to_all(events.json_lines(stream), events.json_lines(stream))
    listen(Noticed("a\nb\udcff"))
    assert [json.loads(line) for line in stream.getvalue().splitlines()] == [
        {"event": "noticed", "message": "a\nb\udcff"}
    ] * 2


class Gone(io.StringIO):
    """A pipe that nobody reads, or a terminal that was closed."""

    def flush(self) -> None:
        raise OSError(5, "Input/output error")


def test_a_listener_that_went_away_does_not_stop_the_work() -> None:
    event = Failed(message="x")
    for listener in (events.plain_lines(Gone()), events.json_lines(Gone())):
        listener(event)
