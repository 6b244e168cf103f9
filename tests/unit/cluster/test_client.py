"""The workstation's side: what the controller program is asked, and that none of its ends is taken for success."""

from __future__ import annotations

import json
import subprocess
import sys
import zipfile
from collections.abc import Callable
from dataclasses import replace
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest

from pytest_hpcregistry import __version__, agent
from pytest_hpcregistry.cluster import client
from pytest_hpcregistry.cluster.arguments import SyncOptions
from pytest_hpcregistry.cluster.client import ControllerClient, Wait
from pytest_hpcregistry.cluster.programs import build_controller
from pytest_hpcregistry.cluster.remote import ignore
from pytest_hpcregistry.core import layout
from pytest_hpcregistry.core.errors import (
    CheckFailed,
    CommandFailed,
    ConfigError,
    HpcRegistryError,
    Unreachable,
    UsageError,
)
from pytest_hpcregistry.core.events import (
    Asked,
    Cancelled,
    Chosen,
    Event,
    Failed,
    Freed,
    GcFinished,
    GcStarted,
    ImageSignatures,
    Looked,
    NodeAnswered,
    NodeFinished,
    Noticed,
    Runs,
    SyncFinished,
    SyncStarted,
    Tried,
    Waiting,
)
from pytest_hpcregistry.core.history import WITHDRAWN, Record
from pytest_hpcregistry.core.layout import PROGRAM
from pytest_hpcregistry.core.model import Cluster, Controller, Registry, Slurm
from pytest_hpcregistry.core.nodeset import Choice
from pytest_hpcregistry.core.records import plain
from pytest_hpcregistry.core.running import Running
from pytest_hpcregistry.core.wire import from_line, to_line
from pytest_hpcregistry.testing.facts import DIGEST, NAME, events, machine
from pytest_hpcregistry.testing.transport import FakeTransport
from pytest_hpcregistry.transports import Command, CommandResult, apptainer

EMPTY = "version: 1\nimages: {}\n"


def talk(*lines: Any, user: str = "root", nodes: tuple[str, ...] | None = None, **how: Any) -> ControllerClient:
    cluster = Cluster(controller=Controller(name="hpc", host="h", user=user), nodes=nodes, slurm=Slurm(run_as="alice"))
    return ControllerClient(cluster, FakeTransport(*lines, **how))


def asked(one: ControllerClient) -> FakeTransport:
    assert isinstance(one.transport, FakeTransport)
    return one.transport


# --- events


def test_the_controller_is_asked_for_signatures_by_the_keys_of_the_cluster_file() -> None:
    one = talk(ImageSignatures({NAME: "is refused"}, {}))
    assert one.image_signatures({NAME: 10**10}, ["a key"]).refused == {NAME: "is refused"}
    assert list(asked(one).asked[0])[-1] == "signatures"
    assert json.loads(asked(one).sent[0]) == {"names": [NAME], "keys": ["a key"]}
    assert asked(one).timeouts[0] >= 10**10 / client.SLOWEST_SIGNATURE
    assert client.SLOWEST_SIGNATURE < apptainer.SLOWEST, "the controller gives up first, and says so"


def test_events_are_found_among_whatever_a_login_prints() -> None:
    one = talk("Welcome to hpc!", "", "{not json", "{}", "[1]", {"event": "looked", "present": True})
    assert one.look(DIGEST, 10).present


@pytest.mark.parametrize("line", ["", "x", "{", "{}", '{"event"', "[]", '"event"', "{1}"])
def test_what_is_no_event(line: str) -> None:
    assert from_line(line) is None


@pytest.mark.parametrize(
    ("code", "kind"), [(1, CheckFailed), (2, UsageError), (3, Unreachable), (4, CommandFailed), (99, CommandFailed)]
)
def test_a_failure_there_is_the_same_failure_here(code: int, kind: type[HpcRegistryError]) -> None:
    event = {"event": "failed", "message": "disk full", "hint": "make room", "exit_code": code}
    with pytest.raises(HpcRegistryError, match="disk full") as caught:
        talk({"event": "looked", "present": True}, event, exit_code=code).look(DIGEST, 10)
    assert type(caught.value) is kind
    assert caught.value.hint == "make room"


@pytest.mark.parametrize(
    ("stderr", "user", "kind", "says"),
    [
        (
            "python3: can't open file '/usr/…': No such file",
            "root",
            UsageError,
            f"phase 1 of version {__version__}",
        ),
        (
            "Traceback:\nModuleNotFoundError: No module named 'x'",
            "root",
            UsageError,
            "is damaged: ModuleNotFoundError: No",
        ),
        ("python3: can't find '__main__' module in '/usr/…'", "root", UsageError, "is damaged: python3: can't find"),
        ("sudo: a password is required", "me", UsageError, "a password is required"),
        ("bash: oops", "root", CommandFailed, "bash: oops"),
        ("", "root", CommandFailed, "ended (exit 1) without an answer"),
    ],
)
def test_a_program_that_did_not_start(stderr: str, user: str, kind: type[HpcRegistryError], says: str) -> None:
    with pytest.raises(HpcRegistryError) as caught:
        talk(exit_code=1, stderr=stderr, user=user).try_sync_key()
    assert type(caught.value) is kind
    assert says in str(caught.value)


# --- sync


@pytest.fixture(autouse=True)
def _me(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pytest_hpcregistry.cluster.client.operator", lambda: "me@x")


STARTED, FINISHED = SyncStarted("x", ["c1", "c2"]), SyncFinished("x", {})
ONE, TWO = (NodeFinished(name, "x", "synced") for name in ("c1", "c2"))


@pytest.mark.parametrize("code", [0, 3, 4])
def test_sync_tells_as_it_goes_and_returns_each_nodes_end(code: int) -> None:
    told: list[Any] = []
    one = talk(STARTED, ONE, TWO, FINISHED, exit_code=code)
    assert one.sync(told.append, SyncOptions("star", 5), subdirectory="ml-frameworks", names=[NAME]) == {
        "c1": ONE,
        "c2": TWO,
    }
    assert told == [STARTED, ONE, TWO, FINISHED]
    words = ["sync", "--settings", "{}", "--by", "me@x"]
    words += ["--engine", "star", "--limit-rate", "5", "--name", NAME, "ml-frameworks"]
    assert list(asked(one).asked[0])[-len(words) :] == words


@pytest.mark.parametrize(
    ("events", "code"), [((STARTED, ONE), 137), ((STARTED, ONE), 0), ((STARTED, ONE, TWO), 143), ((), 0)]
)
def test_a_sync_that_was_ended_is_no_success(events: tuple[Any, ...], code: int) -> None:
    """The nodes that it did not come to have told of no failure."""
    with pytest.raises(CommandFailed):
        talk(*events, exit_code=code).sync(lambda _: None)


def test_rollback_and_gc_are_brought_to_their_end_as_a_sync() -> None:
    one = talk(STARTED, ONE, TWO, FINISHED)
    assert one.rollback(NAME, "abcdef", lambda _: None) == {"c1": ONE, "c2": TWO}
    assert list(asked(one).asked[0])[-8:] == ["rollback", "--settings", "{}", "--by", "me@x", NAME, "--to", "abcdef"]
    machines = {"controller": Freed("freed"), "c1": Freed("failed", "disk", "make room")}
    one = talk(GcStarted([], 2, 1, "me", False), GcFinished(machines, False), exit_code=4)
    assert one.gc(lambda _: None, keep=0, grace=0, dry_run=True) == machines
    words = ["gc", "--settings", "{}", "--by", "me@x", "--dry-run", "--keep", "0", "--grace", "0"]
    assert list(asked(one).asked[0])[-len(words) :] == words
    with pytest.raises(CommandFailed, match="the gc ended before it was done"):
        talk(GcStarted([], 2, 1, "me", False), exit_code=0).gc(lambda _: None)


def test_who_interrupts_is_told_what_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(command: Command) -> CommandResult:
        raise KeyboardInterrupt

    one = talk()
    monkeypatch.setattr(one.transport, "execute", interrupt)
    with pytest.raises(KeyboardInterrupt) as caught:
        one.gc(ignore)
    assert caught.value.__notes__ == [
        "interrupted here. If the gc has begun on hpc, it goes on there: hpc-container-manager running"
    ]


RECORD = Record("0" * 15, "2026-01-01T00:00:00Z", "gc")
GONE = replace(RECORD, state="interrupted", reason=WITHDRAWN)


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (Cancelled(GONE), "withdrawn: nothing was freed"),
        (Cancelled(replace(GONE, state="ok", reason="")), "interrupted here. The gc on hpc ended as ok"),
        (Runs([Running(RECORD)]), "interrupted here. The gc goes on on hpc. Stop it: hpc-container-manager cancel"),
        (Failed("no", exit_code=4), "What became of the gc, which waited on hpc, is not known: no"),
    ],
)
def test_what_waits_is_withdrawn_by_an_interrupt(answer: Event, said: str) -> None:
    """What is said is what the controller answers, not what is hoped for."""
    one = talk(answer)
    asked_for, answer_to = asked(one), asked(one).execute

    def interrupt_first(command: Command) -> CommandResult:
        if "cancel" in command.argv:
            return answer_to(command)
        assert command.on_line
        command.on_line(to_line(Waiting(RECORD.id)))
        raise KeyboardInterrupt

    asked_for.execute = interrupt_first  # type: ignore[method-assign]
    with pytest.raises(KeyboardInterrupt) as caught:
        one.gc(ignore)
    assert said in caught.value.__notes__[0]
    assert list(asked_for.asked[0])[-3:] == ["cancel", "--id", RECORD.id]


def test_what_has_begun_goes_on_after_an_interrupt() -> None:
    one = talk()

    def interrupt(command: Command) -> CommandResult:
        assert command.on_line
        for event in (Waiting(RECORD.id), GcStarted([], 2, 1, "me", False)):
            command.on_line(to_line(event))
        raise KeyboardInterrupt

    asked(one).execute = interrupt  # type: ignore[method-assign]
    with pytest.raises(KeyboardInterrupt) as caught:
        one.gc(ignore)
    assert "goes on on hpc. Stop it: hpc-container-manager cancel" in caught.value.__notes__[0]


@pytest.mark.parametrize(
    ("events", "said"),
    [
        ([SyncStarted("all", ["c1", "c2"]), NodeFinished("c1", "all", "synced")], "The sync goes on on hpc. Stop it: "),
        (
            [SyncStarted("all", ["c1"]), NodeFinished("c1", "all", "synced")],
            "may have ended: hpc-container-manager running",
        ),
        ([SyncStarted("all", ["c1"]), SyncFinished("all", {"c1": "synced"})], "The sync on hpc had come to its end: "),
    ],
)
def test_what_may_have_ended_is_not_said_to_go_on(events: list[Event], said: str) -> None:
    one = talk()

    def interrupt(command: Command) -> CommandResult:
        assert command.on_line
        for event in events:
            command.on_line(to_line(event))
        raise KeyboardInterrupt

    asked(one).execute = interrupt  # type: ignore[method-assign]
    with pytest.raises(KeyboardInterrupt) as caught:
        one.sync(ignore)
    assert said in caught.value.__notes__[0]


def test_only_the_chosen_nodes_are_asked_and_changed() -> None:
    choice = Choice("c[1-9],@gpu", "c3")
    words = ["--nodes", "c[1-9],@gpu", "--exclude", "c3"]
    for command in ("sync", "rollback"):
        one = talk(STARTED, FINISHED)
        one.choice = choice
        _ = one.sync(ignore) if command == "sync" else one.rollback(NAME, None, ignore)
        assert " ".join(words) in " ".join(asked(one).asked[0])
    one = talk(*events({"c1": machine()}))
    one.choice = choice
    one.facts()
    assert json.loads(asked(one).asked[0][-1])["choice"] == {"only": "c[1-9],@gpu", "exclude": "c3"}


# --- questions and orders


def test_commands_are_argv_lists_and_others_than_root_use_sudo() -> None:
    for user, before in (("root", []), ("me", ["sudo", "-n"])):
        one = talk({"event": "looked", "present": False}, user=user)
        assert not one.look(DIGEST, 10).present
        program = [
            "python3",
            PROGRAM,
            "--expect",
            __version__,
            "--config",
            "/opt/containers/.registry/config.yaml",
            "--json",
        ]
        assert list(asked(one).asked[0]) == [*before, *program, "has", DIGEST, "10"]


def test_who_cannot_become_root_is_told_before_anything_is_changed() -> None:
    one = talk(user="ops", exit_code=1, stderr="sudo: sorry, you must have a tty to run sudo")
    with pytest.raises(UsageError, match="hpc: sudo: sorry, you must have a tty") as caught:
        one.require_root()
    assert "(Defaults:ops !requiretty)" in caught.value.hint
    assert list(asked(one).asked[0]) == ["sudo", "-n", "true"]
    for user in ("ops", "root"):
        talk(user=user).require_root()
    root = talk(exit_code=1)
    root.require_root()
    assert asked(root).asked == []


ORDERS: list[Callable[[ControllerClient], object]] = [
    lambda one: one.look(DIGEST, 10).present,
    lambda one: one.publish({"size": 1}),
    lambda one: one.sync(lambda _: None),
    lambda one: one.rollback(NAME, None, lambda _: None),
    lambda one: one.gc(lambda _: None),
    lambda one: one.try_sync_key(),
]


@pytest.mark.parametrize("order", ORDERS)
def test_every_order_says_which_version_it_counts_on(order: Callable[[ControllerClient], object]) -> None:
    one = talk({"event": "failed", "message": "another version", "hint": "h", "exit_code": 2})
    with pytest.raises(UsageError, match="another version"):
        order(one)
    assert list(asked(one).asked[0][2:4]) == ["--expect", __version__]


@pytest.mark.parametrize(
    ("mine", "hint"), [("0.0.1", f"install version {__version__} on this workstation"), ("9.0", "registry setup")]
)
def test_a_program_of_another_version_does_nothing(tmp_path: Path, mine: str, hint: str) -> None:
    """Nor is it replaced by an older one on a hint of ours."""
    program = tmp_path / "controller.pyz"
    program.write_bytes(build_controller())
    for command in (["sync"], ["gc"], ["has", DIGEST, "1"], ["rollback", NAME], ["publish"], ["try-key"]):
        argv = [sys.executable, str(program), "--expect", mine, "--config", "/nowhere", "--json", *command]
        done = subprocess.run(argv, capture_output=True, text=True, check=False)
        assert done.returncode == 2
        event = json.loads(done.stdout)
        assert event["message"] == f"the controller has version {__version__}, this is {mine}"
        assert hint in event["hint"]


def test_send_streams_the_file_and_allows_a_slow_link(tmp_path: Path) -> None:
    path = tmp_path / "x.sif"
    path.write_bytes(b"bytes")
    one = talk({"event": "received", "digest": DIGEST})
    one.send(path, DIGEST, 10**10, lambda _: None)
    assert asked(one).sent == [b"bytes"]
    assert asked(one).timeouts[0] >= 10**10 / client.SLOWEST_LINK


def test_a_file_tells_how_far_it_was_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "x.sif"
    path.write_bytes(b"0123456789")
    told: list[int] = []
    monkeypatch.setattr(client, "PROGRESS_INTERVAL", 3600.0)
    with client.ProgressFile(path, told.append) as stream:
        assert [stream.read(4), told] == [b"0123", []]
        monkeypatch.setattr(client, "PROGRESS_INTERVAL", 0.0)
        assert [stream.read(4), stream.read(4), stream.read(4)] == [b"4567", b"89", b""]
    assert told == [4, 8, 10]


def test_the_nodes_are_the_files_or_slurms() -> None:
    assert talk(nodes=("c2", "c1")).list_nodes() == ["c2", "c1"]
    assert talk("c2", "c1", "c1").list_nodes() == ["c1", "c2"]


def test_chosen_nodes_are_the_controllers_answer() -> None:
    """Only there the groups are known."""
    one = talk(Chosen(["c1"]), nodes=("c1", "c2"))
    one.choice = Choice("@gpu", "c2")
    assert one.list_nodes() == ["c1"]
    words = list(asked(one).asked[-1])
    assert words[words.index("nodes") :] == ["nodes", "--configured", "c[1-2]", "--nodes", "@gpu", "--exclude", "c2"]


def test_the_key_is_tried_on_chosen_nodes_only() -> None:
    for choice, nodes in ((Choice(), []), (Choice(exclude="c2"), ["c1"])):
        one = talk(Tried({"c1": "works"}))
        one.choice = choice
        assert one.try_sync_key(["c1"]) == {"c1": "works"}
        words = list(asked(one).asked[-1])
        assert words[words.index("try-key") + 1 :] == nodes


@pytest.mark.parametrize(("how", "says"), [({"exit_code": 1, "stderr": "slurm_load: down"}, "down"), ({}, "no node")])
def test_slurm_that_does_not_answer(how: dict[str, Any], says: str) -> None:
    with pytest.raises(Unreachable, match=says):
        talk(**how).list_nodes()


def test_the_catalog() -> None:
    assert talk(*EMPTY.splitlines()).catalog().images == {}
    with pytest.raises(ConfigError):
        talk("version: 2").catalog()
    with pytest.raises(UsageError, match="phase 1"):
        talk(exit_code=1, stderr="cat: /opt/…: No such file or directory").catalog()


# --- facts


class Uninstalled(FakeTransport):
    """A controller whose installed program answers as given, if at all; the one sent along gives the facts."""

    def __init__(self, *lines: Any, **instead: Any) -> None:
        super().__init__(*lines)
        self.installed = FakeTransport(*([instead.pop("event")] if "event" in instead else []), **instead)

    def execute(self, command: Command) -> CommandResult:
        sent_along = "-c" in command.argv
        return super().execute(command) if sent_along else self.installed.execute(command)


NOT_THERE = {"exit_code": 2, "stderr": "python3: can't open file '/usr/…/controller': [Errno 2] No such file"}
BROKEN = {"exit_code": 1, "stderr": "ImportError: cannot import name 'gather'"}
OTHER = {"exit_code": 2, "event": Failed("the controller has version 0.0.1", exit_code=2)}


def test_facts_are_the_installed_programs() -> None:
    one = talk(*events({"c1": machine()}))
    assert list(one.facts().nodes) == ["c1"]
    assert [list(argv[:4]) for argv in asked(one).asked] == [["python3", PROGRAM, "--expect", __version__]]
    assert asked(one).sent == [b""]


def test_a_failure_of_the_installed_program_is_a_failure() -> None:
    """It is not asked again what it could not find out."""
    one = talk(Failed("no node", exit_code=3), exit_code=3)
    with pytest.raises(Unreachable, match="no node"):
        one.facts()
    assert len(asked(one).asked) == 1


@pytest.mark.parametrize("installed", [NOT_THERE, OTHER, BROKEN])
def test_facts_send_the_program_along_where_there_is_none_of_this_version(installed: dict[str, Any]) -> None:
    waits = Noticed("a sync is under way")
    one = talk(nodes=("c1",))
    one.transport = one.program.transport = Uninstalled(waits, *events({"c1": machine()}), **installed)
    said: list[Event] = []
    found = one.facts(one.question(content=True, names=[NAME], host=True), said.append, Wait(2, 3))
    assert list(found.nodes) == ["c1"]
    assert said == [waits, NodeAnswered("c1", 0), Asked()]
    (argv,), (program,) = asked(one).asked, asked(one).sent
    assert "agent/facts.py" in "".join(zipfile.ZipFile(BytesIO(program)).namelist())
    assert list(argv[:2]) == ["python3", "-c"]
    request = json.loads(argv[-1])
    question = request["question"]
    assert (request["nodes"], question["content"], question["names"]) == (["c1"], True, [NAME])
    assert (request["wait_for_sync"], request["wait_for_end"]) == (2, 3)
    assert question["readers"] == ["alice", "slurm"]
    assert request["texts"] == [f"{one.cluster.sync.key}.pub"]


def test_a_plain_question_asks_for_the_registry_only() -> None:
    one = talk(*events({"c1": machine()}))
    one.facts()
    request = json.loads(asked(one).asked[0][-1])
    assert {key for key, value in request["question"].items() if value} == {"registry", "directories", "login"}
    assert request["texts"] == []


def test_every_path_that_is_looked_up_is_asked_for(tmp_path: Path) -> None:
    """The request, answered by the real agent: what the catalog and the checks read is in the answer."""
    cluster = Cluster(controller=Controller(name="hpc", host="h"), registry=Registry(path=str(tmp_path)))
    question = ControllerClient(cluster, FakeTransport()).question(host=True)
    answer = agent.gather(json.loads(json.dumps(plain(question))))
    for path in (*client.INSTALLED, cluster.sync.key, cluster.sync.log):
        assert path in answer["host"]["paths"]
    assert question.runtime == layout.CONTAINER_RUN
    without = replace(cluster, slurm=Slurm(container=False))
    assert ControllerClient(without, FakeTransport()).question(host=True).runtime is None, "nothing runs it there"


@pytest.mark.parametrize("told", [[Looked(True)], events({"c1": machine()})[1:], events({"c1": machine()})[:1]])
def test_no_facts_is_an_error(told: list[Event]) -> None:
    with pytest.raises(HpcRegistryError, match="before it had given all facts"):
        talk(*told).facts()
