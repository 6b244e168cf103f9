"""What runs, waits, is withdrawn, cancelled or killed: the program itself, in processes of its own."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from pytest_hpcregistry.controller import running
from pytest_hpcregistry.controller.history import Journal
from pytest_hpcregistry.controller.lock import is_held
from pytest_hpcregistry.core.history import WITHDRAWN, Record, new_id, now
from pytest_hpcregistry.core.layout import HISTORY_LOCK, RUNNING, SYNC_LOCK
from pytest_hpcregistry.core.running import from_text
from tests.fakes.nodes import FakeNodes
from tests.fakes.settings import change, config_text

NAME = "ml-frameworks/x.sif"
SLOW = """\
#!/bin/sh
echo $$ >> {root}/rsyncs
exec {python} -c 'import itertools, time
for sent in itertools.count(1):
    print(f"  {{sent}}  40%", end=chr(13), flush=True)
    time.sleep(0.2)'
"""
"""An rsync that never ends by itself."""
Program = subprocess.Popen[str]


@pytest.fixture
def nodes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeNodes:
    fake = FakeNodes(tmp_path, "c1", "c2")
    fake.use(monkeypatch)
    monkeypatch.delenv("SUDO_USER", raising=False)
    monkeypatch.setenv("SSH_CONNECTION", "192.0.2.7 40000 192.0.2.1 22")
    (tmp_path / "config.yaml").write_text(config_text(change(fake.settings, timeout=600)))
    fake.publish(NAME)
    fake.publish(NAME, b"22")  # which a rollback would leave
    return fake


@pytest.fixture
def begin(nodes: FakeNodes) -> Iterator[Callable[..., Program]]:
    """Begin a command of the program; what is left of those at the end is killed."""
    begun: list[Program] = []

    def start(*words: str) -> Program:
        argv = [sys.executable, "-m", "pytest_hpcregistry.controller", "--config", f"{nodes.root}/config.yaml", *words]
        begun.append(
            subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        )
        return begun[-1]

    yield start
    for one in begun:
        one.kill()
        one.wait()
        for stream in (one.stdout, one.stderr):
            if stream:
                stream.close()


@pytest.fixture
def ask(begin: Callable[..., Program]) -> Callable[..., Any]:
    """What a command answers, as its last event."""

    def ask(*words: str) -> Any:
        said, errors = begin("--json", *words).communicate(timeout=60)
        return json.loads(said.splitlines()[-1]) if said else errors

    return ask


@pytest.fixture
def at_work(nodes: FakeNodes, begin: Callable[..., Program], ask: Callable[..., Any]) -> Program:
    """A sync whose transfers do not end."""
    (nodes.root / "bin" / "rsync").write_text(SLOW.format(root=nodes.root, python=sys.executable))
    one = begin("--json", "sync", "--by", "alice@ws2")
    until(lambda: len(rsyncs(nodes)) == 2)
    until(lambda: states(ask) == [("sync", "working")])
    return one


def states(ask: Callable[..., Any]) -> list[tuple[str, str]]:
    return [(one["record"]["command"], one["state"]) for one in ask("running")["commands"]]


def rsyncs(nodes: FakeNodes) -> list[int]:
    file = nodes.root / "rsyncs"
    return [int(line) for line in file.read_text().split()] if file.exists() else []


def until(is_so: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not is_so():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def has_ended(process: int) -> bool:
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except OSError:
        return True


def past(ask: Callable[..., Any], nodes: FakeNodes) -> list[dict[str, Any]]:
    lines = (nodes.registry / ".registry" / "history.jsonl").read_text().splitlines()
    return [record for record in map(json.loads, lines) if record["state"] != "begun"]


def test_who_waits_says_for_whom_and_is_withdrawn_when_nobody_reads(
    nodes: FakeNodes, begin: Callable[..., Program], ask: Callable[..., Any], at_work: Program
) -> None:
    until(lambda: ask("running")["commands"][0]["arrived"] > 0)
    before = nodes.catalog()
    waiting = begin("--json", "gc", "--keep", "0", "--grace", "0")
    assert waiting.stdout
    event = json.loads(waiting.stdout.readline())
    assert event["event"] == "waiting"
    behind = event["behind"]
    assert (behind["record"]["command"], behind["record"]["claimed"]) == ("sync", "alice@ws2")
    assert behind["record"]["address"] == "192.0.2.7"
    assert (behind["nodes"], 0 < behind["arrived"] < behind["size"]) == ("c[1-2]", True)
    until(lambda: states(ask) == [("sync", "working"), ("gc", "waiting")])

    again = json.loads(waiting.stdout.readline())
    assert (again["event"], again["behind"]["age"] > behind["age"]) == ("waiting", True), "renewed now and then"
    waiting.stdout.close()
    waiting.wait(30)
    (record,) = past(ask, nodes)
    assert (record["command"], record["state"], record["reason"]) == ("gc", "interrupted", WITHDRAWN)
    assert nodes.catalog() == before
    assert states(ask) == [("sync", "working")]


def test_a_hang_up_withdraws_what_waits_and_not_what_works(
    nodes: FakeNodes, begin: Callable[..., Program], ask: Callable[..., Any], at_work: Program
) -> None:
    waiting = begin("rollback", NAME)
    until(lambda: ("rollback", "waiting") in states(ask))
    for one in (waiting, at_work):
        one.send_signal(signal.SIGHUP)
    waiting.communicate(timeout=30)
    assert waiting.returncode == 130
    time.sleep(0.5)
    assert at_work.poll() is None
    assert past(ask, nodes)[-1]["reason"] == WITHDRAWN


@pytest.mark.parametrize("words", [("sync",), ("gc",), ("rollback", NAME), ("sync", "--repair")])
def test_who_does_not_want_to_wait_fails_at_once(
    nodes: FakeNodes, ask: Callable[..., Any], at_work: Program, words: tuple[str, ...]
) -> None:
    before = (nodes.registry / ".registry" / "catalog.yaml").read_bytes()
    failed = ask(*words, "--no-wait")
    assert (failed["event"], failed["exit_code"]) == ("failed", 4)
    assert failed["message"].startswith("not begun, by --no-wait: a sync by alice@ws2 (from 192.0.2.7), begun ")
    assert (nodes.registry / ".registry" / "catalog.yaml").read_bytes() == before
    assert past(ask, nodes) == [], "what was never begun is not in the history"
    assert at_work.poll() is None


def test_a_sync_of_an_empty_catalog_is_not_in_the_history(nodes: FakeNodes, ask: Callable[..., Any]) -> None:
    (nodes.registry / ".registry" / "catalog.yaml").write_text("version: 1\nimages: {}\n")
    failed = ask("sync")
    assert (failed["exit_code"], failed["message"]) == (2, f"the catalog has no image in {nodes.registry}")
    assert failed["hint"] == "deploy one first: hpc-container-manager deploy FILE.sif"
    assert not (nodes.registry / ".registry" / "history.jsonl").exists()


def test_cancel_ends_what_works_and_its_programs(
    nodes: FakeNodes, begin: Callable[..., Program], ask: Callable[..., Any], at_work: Program
) -> None:
    waiting = begin("--json", "gc")
    until(lambda: ("gc", "waiting") in states(ask))
    cancelled = ask("cancel", "--by", "root@vm")
    said, _ = at_work.communicate(timeout=60)
    assert at_work.returncode == 130
    assert json.loads(said.splitlines()[-1])["message"] == "cancelled by root@vm (from 192.0.2.7)"
    how = cancelled["how"]
    assert (how["command"], how["state"], how["failed"]) == ("sync", "interrupted", "c[1-2]")
    assert how["reason"] == "cancelled by root@vm (from 192.0.2.7)"
    assert how in [{**how, **record} for record in past(ask, nodes)]
    assert [one["record"]["command"] for one in cancelled["waiting"]] == ["gc"]
    assert all(has_ended(process) for process in rsyncs(nodes))
    assert waiting.wait(60) == 0, "what waited has had its turn"
    assert list((nodes.registry / RUNNING).iterdir()) == []
    assert list(nodes.registry.rglob(".probe-*")) == []
    assert not is_held(nodes.registry / SYNC_LOCK)


def test_a_relay_can_be_cancelled_too(nodes: FakeNodes, begin: Callable[..., Program], ask: Callable[..., Any]) -> None:
    nodes.publish(NAME, os.urandom(20_000_000))
    relay = begin("--json", "sync", "--engine", "relay", "--limit-rate", "100000")
    until(lambda: any(one["arrived"] for one in ask("running")["commands"]))
    how = ask("cancel")["how"]
    assert (how["engine"], how["failed"]) == ("relay", "c[1-2]")
    relay.communicate(timeout=60)
    assert relay.returncode == 130


def test_where_nothing_runs_nothing_is_cancelled(nodes: FakeNodes, ask: Callable[..., Any]) -> None:
    assert ask("running") == {"event": "runs", "commands": [], "locked": False}
    failed = ask("cancel")
    assert (failed["exit_code"], failed["message"]) == (
        2,
        "nothing is at work there that could be ended; nothing was changed",
    )


def test_one_that_waits_is_cancelled_by_its_id_and_one_that_works_is_not(
    nodes: FakeNodes, begin: Callable[..., Program], ask: Callable[..., Any], at_work: Program
) -> None:
    begin("--json", "gc")
    until(lambda: ("gc", "waiting") in states(ask))
    found = {one["state"]: one["record"]["id"] for one in ask("running")["commands"]}
    works, waits = found["working"], found["waiting"]
    assert ask("cancel", "--id", works)["event"] == "runs"
    cancelled = ask("cancel", "--id", waits)
    assert cancelled["how"]["reason"] == f"{WITHDRAWN}, cancelled by {cancelled['how']['user']} (from 192.0.2.7)"
    assert ask("cancel", "--id", waits)["how"] == cancelled["how"], "it has ended before"
    assert ask("cancel", "--id", "../x")["exit_code"] == 2
    assert at_work.poll() is None


def test_what_a_killed_program_has_started_ends_too(
    nodes: FakeNodes, begin: Callable[..., Program], ask: Callable[..., Any], at_work: Program
) -> None:
    at_work.kill()
    at_work.wait()
    until(lambda: all(has_ended(process) for process in rsyncs(nodes)))
    assert states(ask) == []
    assert list((nodes.registry / RUNNING).iterdir()) != [], "a killed one leaves its file"
    assert ask("cancel")["exit_code"] == 2, "and nobody is ended by it"
    assert begin("gc").wait(60) == 0
    assert list((nodes.registry / RUNNING).iterdir()) == []


@pytest.mark.skipif(not shutil.which("rsync"), reason="there is no rsync here")
def test_rsync_ends_with_the_program_that_was_killed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fake = FakeNodes(tmp_path, "c1", "c2", real_rsync=True)
    fake.use(monkeypatch)
    fake.publish(NAME, os.urandom(20_000_000))
    (tmp_path / "config.yaml").write_text(
        config_text(change(fake.settings, timeout=600, method="star", limit_rate=200_000))
    )
    argv = [sys.executable, "-m", "pytest_hpcregistry.controller", "--config", f"{tmp_path}/config.yaml", "sync"]

    def children() -> list[str]:
        found = [line for line in map(command_line, Path("/proc").glob("[0-9]*")) if str(tmp_path) in line]
        return [line for line in found if "pytest_hpcregistry.controller" not in line]

    with subprocess.Popen(argv, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as program:
        until(lambda: sum(line.startswith("rsync") for line in children()) >= 2)
        program.kill()
    until(lambda: children() == [])
    left = list(fake.registry.rglob(".probe-*"))
    assert len(left) == 2
    assert subprocess.run([*argv[:-1], "gc"], stdout=subprocess.DEVNULL, check=False).returncode == 0
    assert not any(probe.exists() for probe in left), "what a killed one leaves is removed by the next"


def command_line(process: Path) -> str:
    try:
        return (process / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
    except OSError:
        return ""


# --- files that are none of ours


@pytest.fixture
def running_one(nodes: FakeNodes) -> Iterator[str]:
    """The id of a command that another process runs, without a file."""
    identifier = new_id()
    code = (
        "import sys; from pytest_hpcregistry.controller.history import *\n"
        "with Journal(Registry(path=sys.argv[1]), print) as one:\n"
        "    one.begin(Record(sys.argv[2], now(), 'sync')); print(flush=True); sys.stdin.read()"
    )
    argv = [sys.executable, "-c", code, str(nodes.registry), identifier]
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout
        process.stdout.readline()
        (nodes.registry / RUNNING).mkdir(exist_ok=True)
        yield identifier
        process.communicate()


def write(path: Path, text: str) -> None:
    path.write_text(text)


@pytest.mark.parametrize(
    "make",
    [
        os.mkfifo,
        Path.mkdir,
        lambda path: path.symlink_to("/dev/zero"),
        lambda path: path.write_bytes(b"\xff\x00" * 1000),
        lambda path: path.write_text("[" * 100_000),
        lambda path: path.write_text('{"record": {"id": 7}}'),
        lambda path: path.write_text(json.dumps({"record": {"id": "0" * 15, "time": now(), "command": "sync"}})),
    ],
)
def test_a_file_that_says_nothing_is_a_command_of_which_nothing_is_known(
    nodes: FakeNodes, running_one: str, make: Callable[[Path], None], ask: Callable[..., Any]
) -> None:
    make(nodes.registry / RUNNING / f"{running_one}.json")
    (found,) = ask("running")["commands"]
    assert (found["record"]["id"], found["record"]["command"]) == (running_one, "unknown")
    assert "its file is damaged" in found["record"]["detail"]


def test_a_link_in_the_place_of_the_directory_is_not_followed(nodes: FakeNodes, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (nodes.registry / RUNNING).symlink_to(tmp_path / "elsewhere")
    sign = running.Sign(str(nodes.registry), Record(new_id(), now(), "sync"))
    sign.change("working")
    sign.remove()
    assert list((tmp_path / "elsewhere").iterdir()) == []
    assert running.identifiers(str(nodes.registry)) == []


@pytest.mark.parametrize(
    "other",
    [{"state": "asleep"}, {"size": -1}, {"arrived": float("nan")}, {"left": 1e300}, {"size": "1"}, {"record": {}}],
)
def test_what_has_not_the_form_is_refused(other: dict[str, Any]) -> None:
    sound = {"record": {"id": "0" * 15, "time": now(), "command": "sync"}, "state": "working", "size": 5}
    assert from_text(json.dumps(sound)).size == 5
    with pytest.raises(ValueError):
        from_text(json.dumps({**sound, **other}))


def test_the_kernel_says_whose_command_it_is(nodes: FakeNodes, running_one: str) -> None:
    with running.lock_file(str(nodes.registry)) as lock:
        assert lock is not None
        process = running.holder(lock, running_one)
        assert process
        assert running_one in Path(f"/proc/{process}/cmdline").read_text()
        assert running.holder(lock, new_id()) is None
    with Journal(nodes.settings.registry, print) as journal:
        record = Record(new_id(), now(), "sync")
        journal.begin(record)
        assert journal.lock is not None
        assert running.holder(journal.lock, record.id) is None, "a process does not wait for itself"
    assert (nodes.registry / HISTORY_LOCK).exists()


def test_commands_of_one_second_are_in_the_order_in_which_they_began(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever their ids are, which are random."""
    (tmp_path / RUNNING).mkdir(parents=True)
    when, moments = "2026-11-25T19:23:20Z", iter([20.1, 20.2, 20.3, 20.3])
    monkeypatch.setattr(time, "time", lambda: next(moments))
    ids = ["f" * 15, "1" * 15, "7" * 15, "3" * 15]
    for identifier in ids:
        running.Sign(str(tmp_path), Record(identifier, when, "gc")).change("waiting")
    monkeypatch.setattr(running, "holder", lambda lock, identifier: 1)
    found = [one.running.record.id for one in running.commands(str(tmp_path), 0)]
    assert found == ["f" * 15, "1" * 15, "3" * 15, "7" * 15]
