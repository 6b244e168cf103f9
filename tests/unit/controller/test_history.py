"""The history on the controller: real files, written by several processes, some of them killed, and read again."""

from __future__ import annotations

import fcntl
import getpass
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from pytest_hpcregistry.controller import history
from pytest_hpcregistry.controller.command import Command
from pytest_hpcregistry.controller.ending import Interrupted
from pytest_hpcregistry.controller.recall import odd_files, recall
from pytest_hpcregistry.core.errors import CommandFailed, UsageError
from pytest_hpcregistry.core.events import (
    BytesMissing,
    DamageFound,
    Event,
    Freed,
    GcFinished,
    NodeFinished,
    Noticed,
    Published,
    RolledBack,
    SyncStarted,
    TransferStarted,
)
from pytest_hpcregistry.core.history import LONGEST_LINE, Record, from_line, new_id, now, to_line
from pytest_hpcregistry.core.layout import HISTORY, HISTORY_LOCK
from pytest_hpcregistry.core.model import Registry
from tests.fakes.nodes import FakeNodes
from tests.unit.controller.test_rollout import start

NAME = "ml-frameworks/x.sif"
OLD, NEW = "a" * 64, "b" * 64


@pytest.fixture
def registry(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Registry:
    (tmp_path / ".registry").mkdir()
    for name in ("SSH_CONNECTION", "SUDO_USER"):
        monkeypatch.delenv(name, raising=False)
    return Registry(path=str(tmp_path), group="root")


def file_of(registry: Registry) -> Path:
    return Path(registry.path, HISTORY)


def nothing(event: Event) -> None:
    raise AssertionError(event)


def run(registry: Registry, *events: Event, command: str = "sync", **how: Any) -> Record:
    """A command that reports these events and ends; what the history then says of it."""
    with history.noted(registry, lambda _: None, command, claimed="me@x", **how) as listener:
        for event in events:
            listener(event)
    return recall(registry.path)[0][-1]


def write(registry: Registry, count: int) -> None:
    with history.Journal(registry, nothing) as journal:
        for _ in range(count):
            journal.write(Record(new_id(), now(), "sync", "ok"))


# --- what a command leaves


def test_a_sync_says_what_became_of_each_node(registry: Registry) -> None:
    passed: list[Event] = []
    events = [
        TransferStarted("relay", "many", {"c1": 5, "c2": 5}),
        TransferStarted("star", "one", {"c3": 5}),
        NodeFinished("c1", "x", "synced", bytes=5),
        NodeFinished("c2", "x", "unchanged"),
        NodeFinished("c3", "x", "failed", message="no room"),
        NodeFinished("c4", "x", "failed", message="no room"),
        NodeFinished("c5", "x", "unreachable", message="no answer in time"),
    ]
    with history.noted(registry, passed.append, "sync", claimed="me@x", images=[NAME], detail="ml") as listener:
        for event in events:
            listener(event)
    assert passed == events
    (found,), unreadable = recall(registry.path)
    assert unreadable == 0
    expected = replace(
        Record(found.id, found.time, "sync", "failed", getpass.getuser(), "", "me@x", [NAME]),
        done="c[1-2]",
        failed="c[3-5]",
        bytes=5,
        engine="relay, star",
        detail="ml",
        reason="c[3-4]: no room; c5: no answer in time",
        seconds=found.seconds,
    )
    assert found == expected


def test_a_node_that_is_not_counted_is_neither_done_nor_failed(registry: Registry) -> None:
    away = NodeFinished("c2", "x", "not counted", message='drained "disk swap"')
    for others, expected in (
        ([NodeFinished("c1", "x", "synced")], ("ok", "c1", "", "")),
        ([NodeFinished("c1", "x", "failed", message="full")], ("failed", "", "c1", "c1: full")),
        ([], ("failed", "", "c2", 'c2: drained "disk swap"')),
    ):
        with history.noted(registry, lambda _: None, "sync", claimed="me@x") as listener:
            for event in (*others, away):
                listener(event)
        found = recall(registry.path)[0][-1]
        assert (found.state, found.done, found.failed, found.reason) == expected


@pytest.mark.parametrize(
    ("event", "expected"),
    [
        (Published(NAME, NEW, True, before=OLD), (OLD, NEW, "")),
        (Published(NAME, NEW, True), ("", NEW, "")),
        (Published(NAME, NEW, False, before=NEW), (NEW, NEW, "was there already")),
        (RolledBack(NAME, OLD, NEW, "me@x", now()), (NEW, OLD, "")),
    ],
)
def test_digests_before_and_after(registry: Registry, event: Event, expected: tuple[str, str, str]) -> None:
    found = run(registry, event)
    assert (found.state, (found.before, found.after, found.detail)) == ("ok", expected)


@pytest.mark.parametrize(("given", "detail"), [("", "damaged on controller,c2"), ("a", "a; damaged on controller,c2")])
def test_a_repair_says_where_it_found_damage(registry: Registry, given: str, detail: str) -> None:
    damage = [DamageFound(machine, [NAME], NEW, OLD, "q") for machine in ("c2", "controller", "c2")]
    ended = [NodeFinished(node, "x", "synced" if node == "c2" else "unchanged", read=True) for node in ("c1", "c2")]
    found = run(registry, *damage, *ended, command="repair", detail=given)
    assert (found.state, found.detail, found.done) == ("ok", detail, "c[1-2]")


def test_a_gc_says_how_much_it_freed(registry: Registry) -> None:
    machines = {
        "controller": Freed("freed", objects=[OLD, NEW], bytes=20),
        "c1": Freed("freed", objects=[OLD], bytes=10),
        "c2": Freed("shared"),
        "c3": Freed("unreachable", "no route"),
    }
    found = run(registry, GcFinished(machines, False), command="gc", detail="keep 0, grace 0 s")
    assert (found.done, found.failed, found.bytes) == ("controller,c[1-2]", "c3", 30)
    assert (found.detail, found.reason) == ("keep 0, grace 0 s: 2 objects freed", "c3: no route")


def test_ten_thousand_nodes_with_gaps_are_counted(registry: Registry) -> None:
    found = run(registry, *(NodeFinished(f"c{number}", "x", "synced") for number in range(0, 20_000, 2)))
    assert found.done == "10000 machines"


@pytest.mark.parametrize(
    ("error", "state", "reason"),
    [
        (CommandFailed("no room", where="c1"), "failed", "c1: no room"),
        (OSError(28, "No space left on device"), "failed", "[Errno 28] No space left on device"),
        (KeyError("x"), "failed", "KeyError"),
        (KeyboardInterrupt(), "interrupted", ""),
        (SystemExit(), "failed", "SystemExit"),
    ],
)
def test_how_it_ended(registry: Registry, error: BaseException, state: str, reason: str) -> None:
    with pytest.raises(type(error)), history.noted(registry, lambda _: None, "sync", claimed=""):
        raise error
    (found,), _ = recall(registry.path)
    assert (found.state, found.reason) == (state, reason)


@pytest.mark.parametrize(
    ("why", "hint"),
    [("", "c2 not done: to go on: hpc-container-manager sync"), ("withdrawn while it waited: nothing was changed", "")],
)
def test_who_is_interrupted_is_told_how_to_go_on(
    registry: Registry, monkeypatch: pytest.MonkeyPatch, why: str, hint: str
) -> None:
    monkeypatch.setattr(Command, "interrupted", lambda command: why)
    with pytest.raises(Interrupted) as caught, history.noted(registry, lambda _: None, "sync", claimed="") as command:
        command(SyncStarted("all images", ["c1", "c2"]))
        command(NodeFinished("c1", "all images", "synced"))
        raise KeyboardInterrupt
    assert (caught.value.why, caught.value.hint) == (why, hint)


def test_bytes_that_are_gone_are_no_deploy(registry: Registry) -> None:
    found = run(registry, BytesMissing(NEW), command="deploy")
    assert (found.state, found.after) == ("failed", NEW)


def test_what_a_user_waited_for_before_counts(registry: Registry) -> None:
    """Of a deploy, the workstation's part: the upload."""
    found = run(registry, command="deploy", before=3600.5)
    assert 3600.5 <= found.seconds < 4000
    assert found.time < now()[:-7]
    for nonsense in ("1", -1, 1e30, float("nan")):
        with pytest.raises(UsageError, match="at no time"):
            run(registry, before=nonsense)


# --- who, and from where


def test_what_the_controller_knows_and_what_was_claimed(registry: Registry, monkeypatch: pytest.MonkeyPatch) -> None:
    found = run(registry)
    assert (found.user, found.address, found.claimed) == (getpass.getuser(), "", "me@x")
    monkeypatch.setenv("SSH_CONNECTION", "192.0.2.7 40000 192.0.2.1 22")
    monkeypatch.setenv("USER", "someone")
    monkeypatch.setenv("LOGNAME", "someone")
    found = run(registry)
    assert (found.user, found.address) == (getpass.getuser() if os.getuid() else "root", "192.0.2.7")


@pytest.mark.skipif(os.getuid() != 0, reason="only root's SUDO_USER counts, and only root sees what sudo was given")
def test_sudo_hides_neither_the_login_nor_the_address(registry: Registry) -> None:
    """sudo itself is in the lab: here a parent has what a child has not."""
    code = "from pytest_hpcregistry.controller.history import *; print(login(), address())"
    inner = ["env", "-u", "SSH_CONNECTION", "SUDO_USER=alice", sys.executable, "-c", code]
    outer = [sys.executable, "-c", f"import subprocess; subprocess.run({inner!r})"]
    environment = {**os.environ, "SSH_CONNECTION": "192.0.2.7 1 192.0.2.1 22"}
    said = subprocess.run(outer, capture_output=True, text=True, check=True, env=environment).stdout
    assert said == "alice 192.0.2.7\n"
    # A cron that was started by hand over ssh has given nothing to its jobs that they are to be blamed for.
    outer = [sys.executable, "-c", f"import subprocess; subprocess.run({[*inner[:3], *inner[4:]]!r})"]
    said = subprocess.run(outer, capture_output=True, text=True, check=True, env=environment).stdout
    assert said == "root \n"


# --- what was done elsewhere


def test_a_note_of_what_was_done_elsewhere(registry: Registry) -> None:
    given = {"command": "test", "images": [NAME], "seconds": 3600, "checks": {"passed": 2}, "done": "c1,c3,c2"}
    lies = {"user": "root", "address": "192.0.2.1", "claimed": "root@x", "id": "0" * 15, "time": "2020-01-01T00:00:00Z"}
    history.note(registry, json.dumps({**given, **lies}), "me@x", nothing)
    (found,), _ = recall(registry.path)
    assert (found.command, found.state, found.checks, found.claimed) == ("test", "ok", {"passed": 2}, "me@x")
    assert found.done == "c[1-3]"
    assert (found.user, found.address) == (getpass.getuser(), "")
    assert found.id != "0" * 15
    assert "2026-01-01" < found.time < now(), "when it began: an hour ago"


def test_names_that_are_no_node_set_are_noted_as_they_are(registry: Registry) -> None:
    assert history.note(registry, '{"command": "test", "failed": "c[1"}', "", nothing).failed == "c[1"


@pytest.mark.parametrize(
    "given",
    [{"command": "; rm"}, {"command": 7}, {"command": "test", "state": "begun"},
     {"command": "test", "state": "killed"}, {"command": "test", "images": "x"},
     {"command": "test", "checks": {"passed": "1"}}, {"command": "x", "seconds": -1}],
)  # fmt: skip
def test_a_note_without_form_is_refused(registry: Registry, given: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match="cannot be noted"):
        history.note(registry, json.dumps(given), "", nothing)
    assert not file_of(registry).exists()


# --- the file


def test_the_file_is_roots_and_the_groups(registry: Registry) -> None:
    write(registry, 1)
    assert file_of(registry).stat().st_mode & 0o7777 == 0o640
    assert Path(registry.path, HISTORY_LOCK).stat().st_mode & 0o7777 == 0o600


def test_without_such_a_group_it_is_nobody_elses(registry: Registry) -> None:
    write(replace(registry, group="no-such-group"), 1)
    assert file_of(registry).stat().st_mode & 0o7777 == 0o600


WRITER = """
import sys
from pytest_hpcregistry.controller.history import Journal
from pytest_hpcregistry.core.history import Record, new_id, now
from pytest_hpcregistry.core.model import Registry
def fail(event): sys.exit(str(event))
for number in range(int(sys.argv[2])):
    with Journal(Registry(path=sys.argv[1]), fail) as journal:
        journal.write(Record(new_id(), now(), "sync", "ok", detail=f"{sys.argv[3]} {number} " + "x" * 500))
"""


def writers(registry: Registry, count: int, lines: int, code: str = WRITER) -> list[subprocess.Popen[str]]:
    return [
        subprocess.Popen(
            [sys.executable, "-c", code, registry.path, str(lines), str(number)], stderr=subprocess.PIPE, text=True
        )
        for number in range(count)
    ]


def test_eight_at_once_lose_no_line(registry: Registry) -> None:
    for one in writers(registry, 8, 200):
        assert one.communicate(timeout=120)[1] == ""
    lines = file_of(registry).read_text().splitlines()
    found = {tuple(from_line(line).detail.split()[:2]) for line in lines}
    assert found == {(str(one), str(number)) for one in range(8) for number in range(200)}
    assert len(lines) == 1600


def test_no_line_is_lost_when_files_are_rotated_while_several_write_and_one_reads(registry: Registry) -> None:
    limit = "from pytest_hpcregistry.controller import history\nhistory.LARGEST = 200_000\n"
    small = WRITER.replace("for number", f"{limit}for number", 1)
    several = writers(registry, 3, 400, small)
    seen, unreadable = 0, 0
    while any(one.poll() is None for one in several):
        found, odd = recall(registry.path)
        assert len({one.id for one in found}) == len(found)
        assert len(found) >= seen, "what has been read once is read again"
        seen, unreadable = len(found), unreadable + odd
    for one in several:
        assert one.communicate()[1] == ""
    found, odd = recall(registry.path)
    assert (len(found), odd, unreadable) == (1200, 0, 0)
    sizes = [path.stat().st_size for path in file_of(registry).parent.glob("history.jsonl*")]
    assert 3 < len(sizes) <= 1 + history.OLDER
    assert max(sizes) <= 200_000


def test_so_many_files_are_kept(registry: Registry, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(history, "LARGEST", 1)
    write(registry, 50)
    names = {path.name for path in file_of(registry).parent.glob("history.jsonl*")}
    assert names == {"history.jsonl", *(f"history.jsonl.{number}" for number in range(1, history.OLDER + 1))}
    file_of(registry).with_name("history.jsonl.3").unlink()
    before = file_of(registry).with_name("history.jsonl.9").read_text()
    write(registry, 1)
    assert file_of(registry).with_name("history.jsonl.9").read_text() == before, "there was room for one more"


# --- it cannot be written


def directory(path: Path) -> None:
    path.mkdir()


def link(path: Path) -> None:
    path.symlink_to("/etc/passwd")


def fifo(path: Path) -> None:
    os.mkfifo(path)


@pytest.mark.parametrize("make", [directory, link, fifo])
@pytest.mark.parametrize("name", [HISTORY, HISTORY_LOCK])
def test_what_is_in_its_place_is_a_warning_and_left_alone(
    registry: Registry, make: Callable[[Path], None], name: str
) -> None:
    path = Path(registry.path, name)
    make(path)
    before = path.lstat()
    events: list[Event] = []
    with history.noted(registry, events.append, "sync", claimed="") as listener:
        listener(NodeFinished("c1", "x", "synced"))
    warnings = [event for event in events if isinstance(event, Noticed)]
    if make is fifo and name == HISTORY_LOCK:
        assert warnings == []  # a lock is one of any file
        return
    assert warnings
    assert all(one.message.startswith(f"not in the history: {registry.path}") for one in warnings)
    assert (path.lstat().st_ino, path.lstat().st_mtime) == (before.st_ino, before.st_mtime)
    assert any(isinstance(event, NodeFinished) for event in events)


@pytest.mark.parametrize("room", [0, 100])
def test_a_full_disk_leaves_no_half_line(registry: Registry, monkeypatch: pytest.MonkeyPatch, room: int) -> None:
    write(registry, 3)
    before = file_of(registry).read_bytes()
    write_really = os.write

    def fill(descriptor: int, data: bytes) -> int:
        if not room:
            raise OSError(28, "No space left on device")
        return write_really(descriptor, data[:room])

    monkeypatch.setattr(os, "write", fill)
    events: list[Event] = []
    with history.noted(registry, events.append, "sync", claimed=""):
        pass
    path = file_of(registry)
    assert events == [Noticed(f"not in the history: {path}: No space left on device")] * 2
    assert path.read_bytes() == before
    monkeypatch.setattr(os, "write", write_really)
    write(registry, 1)
    assert len(recall(registry.path)[0]) == 4


def test_a_lock_that_is_never_given_up_holds_nobody_up(registry: Registry, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(history, "PATIENCE", 0.2)
    write(registry, 1)
    code = "import fcntl,sys,time; f=open(sys.argv[1],'r+'); fcntl.lockf(f,fcntl.LOCK_EX,1,0); print(); time.sleep(60)"
    argv = [sys.executable, "-uc", code, str(Path(registry.path, HISTORY_LOCK))]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout
        holder.stdout.readline()
        events: list[Event] = []
        with history.noted(registry, events.append, "sync", claimed=""):
            pass
        holder.kill()
    assert [type(event) for event in events] == [Noticed, Noticed]
    assert "its lock is held by another process" in str(events[0])


# --- reading


def test_where_there_is_none_nothing_is_noted(registry: Registry) -> None:
    assert recall(registry.path) == ([], 0)
    assert list(Path(registry.path, ".registry").iterdir()) == []


def test_damaged_lines_are_counted_and_the_others_read(registry: Registry) -> None:
    write(registry, 2)
    lines = [b"\x00\xff\xfe garbage\n", b'{"id": 1}\n', b"\n", b"[" * 50_000 + b"\n", b"y" * (3 * LONGEST_LINE) + b"\n"]
    with file_of(registry).open("ab") as file:
        file.writelines(lines)
        file.write(b'{"id": "half a li')
    write(registry, 2)
    found, unreadable = recall(registry.path)
    assert (len(found), unreadable) == (4, 5)
    with file_of(registry).open("ab") as file:
        file.write(b"z" * (2 * LONGEST_LINE + 5))
    assert recall(registry.path)[1] == 6


def test_a_line_that_is_being_written_is_no_damage(registry: Registry) -> None:
    """A reader may see the beginning of a write."""
    write(registry, 1)
    line = to_line(Record(new_id(), now(), "sync", "ok")).encode() + b"\n"
    with file_of(registry).open("ab", buffering=0) as file:
        file.write(line[:20])
        rest = threading.Timer(0.05, file.write, [line[20:]])
        rest.start()
        found, unreadable = recall(registry.path)
        rest.join()
    assert (len(found), unreadable) == (2, 0)


def test_a_line_of_100_mb_takes_no_such_memory(registry: Registry) -> None:
    write(registry, 1)
    with file_of(registry).open("ab") as file:
        for _ in range(100):
            file.write(b"x" * 1_000_000)
    code = (
        "import resource, sys; from pytest_hpcregistry.controller.recall import recall\n"
        "before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss; found = recall(sys.argv[1])\n"
        "print(len(found[0]), found[1], resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)"
    )
    argv = [sys.executable, "-c", code, registry.path]
    said = subprocess.run(argv, capture_output=True, text=True, check=True).stdout
    one, two, kilobytes = map(int, said.split())
    assert (one, two) == (1, 1)
    assert kilobytes < 20_000


def test_a_file_that_is_none_is_not_waited_for(registry: Registry) -> None:
    write(registry, 1)
    assert odd_files(registry.path) == []
    first, second = (file_of(registry).with_name(f"history.jsonl.{number}") for number in (1, 2))
    os.mkfifo(first)
    second.symlink_to("/etc/passwd")
    found, unreadable = recall(registry.path)
    assert (len(found), unreadable) == (1, 0)
    assert odd_files(registry.path) == [f"{one} is not a regular file" for one in (first, second)]


def lay(registry: Registry, *records: Record) -> None:
    file_of(registry).write_text("".join(to_line(one) + "\n" for one in records))


def test_what_was_asked_for_the_newest_last(registry: Registry) -> None:
    first = Record("1" * 15, "2026-11-01T00:00:00Z", "deploy", "ok", images=[NAME])
    second = Record("2" * 15, "2026-11-02T00:00:00Z", "sync", "ok")
    third = Record("3" * 15, "2026-11-03T00:00:00Z", "sync", "ok", images=["a/y.sif", NAME])
    lay(registry, second, third, first)  # the one that took longest is the last to have been written
    assert recall(registry.path)[0] == [first, second, third]
    assert recall(registry.path, since="2026-11-02T00:00:00Z")[0] == [second, third]
    assert recall(registry.path, image=NAME)[0] == [first, third]
    assert recall(registry.path, last=1)[0] == [third]
    assert recall(registry.path, last=9, image=NAME, since="2026-11-01T00:00:01Z")[0] == [third]


RUNNER = """
import sys, time
from pytest_hpcregistry.controller.history import noted
from pytest_hpcregistry.core.model import Registry
with noted(Registry(path=sys.argv[1]), print, "sync", claimed="me@x"):
    print("begun", flush=True)
    time.sleep(60)
"""


@contextmanager
def runner(registry: Registry) -> Iterator[subprocess.Popen[str]]:
    argv = [sys.executable, "-c", RUNNER, registry.path]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as program:
        try:
            assert program.stdout
            assert program.stdout.readline() == "begun\n"
            yield program
        finally:
            program.kill()


def states(registry: Registry) -> list[str]:
    return sorted(one.state for one in recall(registry.path)[0])


@pytest.mark.parametrize(
    ("number", "state"), [(signal.SIGKILL, "killed"), (signal.SIGINT, "interrupted"), (signal.SIGQUIT, "killed")]
)
def test_a_command_that_runs_and_one_that_was_killed(registry: Registry, number: int, state: str) -> None:
    with runner(registry) as other, runner(registry) as program:
        assert [one.state for one in recall(registry.path)[0]] == ["running", "running"]
        program.send_signal(number)
        program.wait()
        assert states(registry) == sorted(["running", state])
        other.kill()
    assert states(registry) == sorted(["killed", state])
    write(registry, 1)
    assert sorted(one.state for one in recall(registry.path)[0]) == sorted(["killed", state, "ok"]), (
        "the lock of a killed one holds nobody up"
    )


def test_what_ends_while_it_is_looked_for_was_not_killed(registry: Registry, monkeypatch: pytest.MonkeyPatch) -> None:
    """Between the first look at the file and the look at its lock."""
    from pytest_hpcregistry.controller.recall import Book

    begun = Record(new_id(), now(), "sync")
    lay(registry, begun)
    look = Book.running

    def end_and_look(book: Book) -> set[str]:
        with history.Journal(registry, nothing) as journal:
            monkeypatch.setattr(history, "LARGEST", 10)  # and into a new file
            journal.write(replace(begun, state="ok"))
        return look(book)

    monkeypatch.setattr(Book, "running", end_and_look)
    assert [one.state for one in recall(registry.path)[0]] == ["ok"]


def test_a_hundred_thousand_lines(registry: Registry) -> None:
    """Read as a whole; how long that takes is no test."""
    one = Record("0" * 15, "2026-00-01T00:00:00Z", "sync", "ok", user="root", done="c[001-064]", images=[NAME])
    end = to_line(one) + "\n"
    both = end.replace('"ok"', '"begun"') + end
    with file_of(registry).open("w") as file:
        for number in range(50_000):
            file.write(both.replace("0" * 15, f"{number:015x}").replace("-00-", f"-{1 + number // 5000:02}-"))
    found, unreadable = recall(registry.path, since="2026-10-01")
    assert (len(found), unreadable) == (5000, 0)


def test_two_threads_that_report_at_once_lose_no_node(registry: Registry) -> None:
    def report(listener: Callable[[Event], None], number: int) -> None:
        for node in range(100):
            listener(NodeFinished(f"c{number * 100 + node:03}", "x", "synced", bytes=1))

    with history.noted(registry, lambda _: None, "sync", claimed="") as listener:
        threads = [threading.Thread(target=report, args=(listener, number)) for number in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    (found,), _ = recall(registry.path)
    assert (found.done, found.bytes) == ("c[000-799]", 800)


# --- the whole program


@pytest.fixture
def nodes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeNodes:
    found = FakeNodes(tmp_path, "c1", "c2")
    found.use(monkeypatch)
    return found


def past(nodes: FakeNodes, *words: str) -> list[dict[str, Any]]:
    done = start(nodes, "history", *words)
    assert done.returncode == 0, done.stderr
    *records, end = map(json.loads, done.stdout.splitlines())
    assert end == {"event": "history_ended", "unreadable": 0, "odd": []}
    return [one["record"] for one in records]


def test_every_command_that_changes_something_is_noted(nodes: FakeNodes) -> None:
    first, second = nodes.publish(NAME), nodes.publish(NAME, b"2")
    assert start(nodes, "sync", "--by", "me@x").returncode == 0
    assert start(nodes, "rollback", NAME).returncode == 0
    assert start(nodes, "gc", "--dry-run").returncode == 0
    assert start(nodes, "gc", "--keep", "0", "--grace", "0").returncode == 0
    for wrong in (("gone",), ("-w", "c[4"), ("-w", "c9"), ("--engine", "none")):
        assert start(nodes, "sync", *wrong).returncode == 2
    assert start(nodes, "rollback", NAME, "-x", "c[4").returncode == 2
    assert start(nodes, "sync", "--name", "ml-frameworks/gone.sif").returncode == 2
    note = json.dumps({"command": "setup", "done": "c1,c2"})
    assert start(nodes, "note", "--by", "you@y", input=note).returncode == 0
    for nonsense in ("", "[]", "{", "[" * 100_000):
        refused = start(nodes, "note", input=nonsense)
        assert (refused.returncode, "cannot be noted in the history" in refused.stderr) == (2, True)
    found = [(one["command"], one["state"], one["claimed"]) for one in past(nodes)]
    assert found == [
        ("sync", "ok", "me@x"),
        ("rollback", "ok", ""),
        ("gc", "ok", ""),
        ("setup", "ok", "you@y"),
    ]
    (back,) = past(nodes, "--image", NAME)
    assert (back["before"], back["after"], back["done"]) == (second, first, "c[1-2]")
    assert [one["command"] for one in past(nodes, "--last", "2")] == ["gc", "setup"]
    assert past(nodes, "--since", "2099-01-01") == []
    assert start(nodes, "history", "--since", "soon").returncode == 2


@pytest.mark.parametrize(("again", "command"), [(False, "deploy"), (True, "sign")])
def test_a_publish_is_a_deploy_or_a_signature(nodes: FakeNodes, again: bool, command: str) -> None:
    first = nodes.publish(NAME)
    size = Path(nodes.registry, NAME).stat().st_size
    words = {"by": "x@y", "architecture": "amd64", "source": "", "labels": {}}
    request = {"name": NAME, "digest": first, "size": size, **words, **({"sign_again": True} if again else {})}
    done = start(nodes, "--json", "publish", "--by", "me@x", input=json.dumps(request))
    assert done.returncode == 0, done.stdout
    (found,) = past(nodes)
    assert (found["command"], found["images"], found["before"], found["after"]) == (command, [NAME], first, first)
    assert found["claimed"] == "me@x"


def test_a_history_that_cannot_be_written_fails_no_sync(nodes: FakeNodes) -> None:
    nodes.publish(NAME)
    Path(nodes.registry, HISTORY).mkdir()
    done = start(nodes, "--json", "sync")
    assert done.returncode == 0
    events = [json.loads(line) for line in done.stdout.splitlines()]
    assert [one["event"] for one in events].count("noticed") == 2
    assert (
        f"NOTE: not in the history: {nodes.registry}/{HISTORY}: Is a directory"
        in Path(nodes.settings.sync.log).read_text()
    )


def test_locks_are_those_of_a_process(registry: Registry) -> None:
    """As the module counts on: a child that outlives it does not hold it."""
    code = (
        "import fcntl, subprocess, sys\nfile = open(sys.argv[1], 'r+'); fcntl.lockf(file, fcntl.LOCK_EX, 1, 9)\n"
        "child = subprocess.Popen(['sleep', '60'], stdout=subprocess.DEVNULL, pass_fds=[file.fileno()])\n"
        "print(child.pid)"
    )
    path = Path(registry.path, HISTORY_LOCK)
    path.touch()
    said = subprocess.run([sys.executable, "-c", code, str(path)], stdout=subprocess.PIPE, text=True, check=True).stdout
    with path.open("r+") as file:
        fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, 9)
    os.kill(int(said), signal.SIGKILL)
