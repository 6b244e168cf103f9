"""Engines: star brings bytes by rsync through the restricted key, and its word is never taken for success."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, cast

import pytest

from pytest_hpcregistry import agent
from pytest_hpcregistry.agent.facts import RUN_SETUP
from pytest_hpcregistry.controller import engines
from pytest_hpcregistry.controller.engines import Job, star
from pytest_hpcregistry.controller.engines.bucket import PUMP, Bucket
from pytest_hpcregistry.controller.nodes import sync_ssh
from pytest_hpcregistry.controller.sync import sync
from pytest_hpcregistry.core.errors import CommandFailed, CommandTimeout, HpcRegistryError, Unreachable, UsageError
from pytest_hpcregistry.core.model import SYNC_METHODS
from pytest_hpcregistry.core.routes import Jump, NodeRoute
from pytest_hpcregistry.transports import CommandResult
from tests.fakes.nodes import FakeNodes
from tests.fakes.settings import change

if TYPE_CHECKING:
    from pytest_hpcregistry.controller.session import NodeSession

NAME = "ml-frameworks/x.sif"
DIGEST = "a" * 64


@pytest.fixture
def nodes(tmp_path: Path) -> FakeNodes:
    return FakeNodes(tmp_path, "c1", "c2", real_rsync=True)


class Ran:
    """In the place of run_process: what it was asked, and the answer for each node."""

    def __init__(self, **answers: tuple[int, str]) -> None:
        self.answers, self.asked = answers, dict[str, Sequence[str]]()
        self.timeouts: list[float] = []
        self.together = threading.Barrier(1)

    def __call__(self, node: str, argv: Sequence[str], *, timeout: float, **more: Any) -> CommandResult:
        self.asked[node] = argv
        self.timeouts.append(timeout)
        self.together.wait(30)
        code, stderr = self.answers.get(node, (0, ""))
        if code == -1:
            raise CommandTimeout(f"{node}: {stderr}")
        return CommandResult(node, tuple(argv), code, "", stderr, 0.0)


class Session:
    """In the place of a node's session: what it was asked."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, Any]] = []

    def ask(self, verb: str, request: Any) -> Any:
        self.asked.append((verb, request))
        return {"address": "10.20.0.7"}


def job(
    nodes: FakeNodes,
    wanted: dict[str, list[str]],
    arrived: Callable[[str], str] = lambda node: f"{node} arrived",
    bases: dict[str, str] | None = None,
    left: list[str] | None = None,
) -> Job[str]:
    return Job(
        wanted=wanted,
        sizes={DIGEST: 67_141_728},
        bases={node: bases or {} for node in wanted},
        sessions={node: cast("NodeSession", Session()) for node in wanted},
        settings=nodes.settings,
        arrived=arrived,
        moved=lambda node, size: None,
        sent=lambda node, size: None,
        say=lambda text: None,
        leave=left.append if left is not None else lambda node: None,
        turns=nullcontext(),
        failed=lambda node, error: None,
        open_object=lambda digest: -1,
    )


def distribute(
    nodes: FakeNodes, monkeypatch: pytest.MonkeyPatch, ran: Ran, **wanted: list[str]
) -> dict[str, str | HpcRegistryError]:
    monkeypatch.setattr(star, "run_process", ran)
    return star.distribute(job(nodes, wanted))


def test_the_engine_is_the_one_that_was_asked_for() -> None:
    assert engines.check_method("star") == "star"
    assert engines.check_method("auto") == "auto"
    with pytest.raises(UsageError, match="no engine 'pigeon'") as caught:
        engines.check_method("pigeon")
    assert "star" in caught.value.hint


def test_every_engine_can_be_configured() -> None:
    assert set(engines.ENGINES) | {"auto"} == set(SYNC_METHODS)


def test_every_engine_offers_the_interface() -> None:
    assert all(callable(engine.distribute) for engine in engines.ENGINES.values())


def argv_of(nodes: FakeNodes, node: str, *options: str, to: str | None = None) -> list[str]:
    """What rsync is called with for one object: no word that can leave half a file, or exit with 0 without delivery."""
    ssh = shlex.join(sync_ssh(node, nodes.settings, to)[:-1])
    path = f"{nodes.registry}/{agent.OBJECTS}/{DIGEST}"
    always = ["--ignore-times", "--timeout=60", "--info=progress2,stats1", "--outbuf=N"]
    return ["rsync", *always, *options, "-e", ssh, path, f"root@{node}:."]


def test_the_command_line_of_rsync(nodes: FakeNodes, monkeypatch: pytest.MonkeyPatch) -> None:
    ran = Ran()
    assert distribute(nodes, monkeypatch, ran, c1=[DIGEST]) == {"c1": "c1 arrived"}
    assert ran.asked["c1"] == argv_of(nodes, "c1", "--whole-file")
    assert ran.timeouts == [nodes.settings.sync.timeout]


def test_what_has_arrived_is_told_while_rsync_sends(nodes: FakeNodes, monkeypatch: pytest.MonkeyPatch) -> None:
    """As rsync 3.2 wrote it into a pipe, cut where it must not matter: what is overwritten ends with no newline."""
    moved: list[int] = []
    sent: list[int] = []
    heard: list[list[int]] = []
    chunks = [
        b"\r         32,768   0%    0.00kB/s    0:00:00  ",
        b"\r     21,692,416  32%   20.02MB/s    0:00:02  \r     43,3",
        b"19,296  64%   20.01MB/s    0:00:01  ",
        b"\r     67,141,728 100%   20.63MB/s    0:00:03 (xfr#1, to-chk=0/1)\n\nsent 67,158,206 bytes  received 35 ",
        b"bytes  19,188,068.86 bytes/sec\ntotal size is 67,141,728  speedup is 1.00\n",
    ]

    def rsync(node: str, argv: Sequence[str], *, stdout: BinaryIO, **more: Any) -> CommandResult:
        for chunk in chunks:
            assert stdout.write(chunk) == len(chunk)
            heard.append(list(moved))
        return CommandResult(node, tuple(argv), 0, "", "", 0.0)

    monkeypatch.setattr(star, "run_process", rsync)
    work = replace(
        job(nodes, {"c1": [DIGEST]}),
        moved=lambda node, size: moved.append(size),
        sent=lambda node, size: sent.append(size),
    )
    star.distribute(work)
    assert moved == [32_768, 21_692_416, 43_319_296, 67_141_728]
    assert heard[1] == [32_768, 21_692_416]
    assert sent == [67_158_206]


def test_what_a_node_mixes_into_rsyncs_words_is_bounded_by_what_there_is_to_send(
    nodes: FakeNodes, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[int] = []

    def rsync(node: str, argv: Sequence[str], *, stdout: BinaryIO, **more: Any) -> CommandResult:
        stdout.write(b"  99,999,999,999,999  50%\nsent 99,999,999,999,999 bytes \nsent " + b"9" * 400 + b" bytes \n")
        return CommandResult(node, tuple(argv), 0, "", "", 0.0)

    monkeypatch.setattr(star, "run_process", rsync)
    work = replace(
        job(nodes, {"c1": [DIGEST]}),
        moved=lambda node, size: told.append(size),
        sent=lambda node, size: told.append(size),
    )
    star.distribute(work)
    size = work.sizes[DIGEST]
    assert told == [size, 2 * size + star.OVERHEAD]


@pytest.mark.parametrize(("limit", "of_each"), [(0, 0), (1, 1), (10, 5)])
def test_a_part_of_a_limit_is_never_no_limit(limit: int, of_each: int) -> None:
    assert star.share(limit, 2) == of_each


def test_a_failure_is_told_before_the_others_have_ended(nodes: FakeNodes, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who waits for a round to end, such as the nodes of the next one, need not wait for a node that has failed."""
    failed = threading.Event()

    def rsync(node: str, argv: Sequence[str], **more: Any) -> CommandResult:
        if node == "c2":
            assert failed.wait(20)
        return CommandResult(node, tuple(argv), 11 if node == "c1" else 0, "", "", 0.0)

    monkeypatch.setattr(star, "run_process", rsync)
    told: list[str] = []

    def tell(node: str, error: HpcRegistryError) -> None:
        told.append(node)
        failed.set()

    work = replace(job(nodes, {"c1": [DIGEST], "c2": [DIGEST]}), failed=tell)
    assert star.distribute(work)["c2"] == "c2 arrived"
    assert told == ["c1"]


def test_only_the_difference_to_the_version_before_is_sent(nodes: FakeNodes, monkeypatch: pytest.MonkeyPatch) -> None:
    ran = Ran()
    monkeypatch.setattr(star, "run_process", ran)
    work = job(nodes, {"c1": [DIGEST]}, bases={DIGEST: "b" * 64})
    assert star.distribute(work) == {"c1": "c1 arrived"}
    assert cast("Session", work.sessions["c1"]).asked == [("prepare", {"bases": {DIGEST: "b" * 64}, "network": None})]
    assert ran.asked["c1"] == argv_of(nodes, "c1", "--no-whole-file")


def test_another_network_is_another_address_and_the_same_host_key(
    nodes: FakeNodes, monkeypatch: pytest.MonkeyPatch
) -> None:
    ran = Ran()
    monkeypatch.setattr(star, "run_process", ran)
    nodes.settings = change(nodes.settings, network="10.20.0.0/16")
    (nodes.registry / agent.PEERS).write_text("c1 192.168.1.7 10.20.0.7\n")
    work = job(nodes, {"c1": [DIGEST]})
    assert star.distribute(work) == {"c1": "c1 arrived"}
    assert cast("Session", work.sessions["c1"]).asked == [("prepare", {"bases": {}, "network": "10.20.0.0/16"})]
    assert ran.asked["c1"] == argv_of(nodes, "c1", "--whole-file", to="10.20.0.7")
    nodes.settings = change(nodes.settings, network="10.30.0.0/16")
    with pytest.raises(CommandFailed, match=r"is not an address in 10\.30\."):
        raise cast("Exception", distribute(nodes, monkeypatch, ran, c1=[DIGEST])["c1"])


def test_an_address_with_colons_is_told_from_a_path(nodes: FakeNodes, monkeypatch: pytest.MonkeyPatch) -> None:
    ran = Ran()
    monkeypatch.setattr(star, "run_process", ran)
    star.send("c1", "fd00::7", job(nodes, {"c1": [DIGEST]}), Bucket(0))
    assert ran.asked["c1"] == argv_of(nodes, "c1", "--whole-file", to="fd00::7")
    assert "-o HostName=fd00::7 " in " ".join(ran.asked["c1"])


def test_a_limit_stands_between_rsync_and_its_ssh(nodes: FakeNodes, monkeypatch: pytest.MonkeyPatch) -> None:
    ran = Ran()
    nodes.settings = change(nodes.settings, limit_rate=3 << 20)
    distribute(nodes, monkeypatch, ran, c1=[DIGEST])
    words = list(ran.asked["c1"])
    shell = shlex.split(words[words.index("-e") + 1])
    assert shell[shell.index("ssh") :] == shlex.split(argv_of(nodes, "c1")[-3])[0:]
    assert shell[: shell.index("ssh") - 2] == [sys.executable, "-I", "-S", "-c", PUMP]


def test_no_more_are_sent_to_at_once_than_the_window(nodes: FakeNodes, monkeypatch: pytest.MonkeyPatch) -> None:
    windows: list[int] = []
    monkeypatch.setattr(star, "fan_out", lambda names, work, *, window, on_error: windows.append(window))
    for window in (1, 2, 3):
        nodes.settings = change(nodes.settings, window=window)
        star.distribute(job(nodes, {"c1": [DIGEST], "c2": [DIGEST]}))
    assert windows == [1, 2, 2]


def test_bytes_are_sent_in_turn_and_a_node_is_left_after_its_publish(
    nodes: FakeNodes, monkeypatch: pytest.MonkeyPatch
) -> None:
    done: list[str] = []

    @contextmanager
    def turn() -> Iterator[None]:
        done.append("turn")
        yield
        done.append("end of turn")

    def rsync(node: str, argv: Sequence[str], **more: Any) -> CommandResult:
        done.append("rsync")
        return CommandResult(node, tuple(argv), 0, "", "", 0.0)

    def arrived(node: str) -> str:
        done.append("publish")
        raise CommandFailed("c1: refused")

    monkeypatch.setattr(star, "run_process", rsync)
    star.distribute(replace(job(nodes, {"c1": [DIGEST]}, arrived, left=done), turns=turn()))
    assert done == ["turn", "rsync", "end of turn", "publish", "c1"]


def test_a_line_without_end_is_not_kept_as_a_whole() -> None:
    lines: list[str] = []
    output = star.Overwritten(lines.append)
    output.write(b"first\n")
    for _ in range(10):
        assert output.write(b"x" * 30_000) == 30_000
        assert len(output.rest) <= 64 << 10
    output.write(b"end\xff\n\rnext")
    assert lines == ["first", "x" * (64 << 10) + "end\ufffd", ""]
    assert output.rest == b"next"


def test_a_node_that_lacks_nothing_is_not_sent_to(nodes: FakeNodes, monkeypatch: pytest.MonkeyPatch) -> None:
    ran = Ran()
    monkeypatch.setattr(star, "run_process", ran)
    nodes.settings = change(nodes.settings, network="10.20.0.0/16")
    (nodes.registry / agent.PEERS).write_text("c2 10.20.0.7\n")
    work = job(nodes, {"c1": [], "c2": [DIGEST]})
    assert star.distribute(work) == {"c1": "c1 arrived", "c2": "c2 arrived"}
    assert list(ran.asked) == ["c2"]
    assert cast("Session", work.sessions["c1"]).asked == []


def test_a_node_is_asked_nothing_that_needs_no_answer(nodes: FakeNodes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(star, "run_process", Ran())
    work = job(nodes, {"c1": [DIGEST]})
    assert star.distribute(work) == {"c1": "c1 arrived"}
    assert cast("Session", work.sessions["c1"]).asked == []


@pytest.mark.parametrize(
    ("code", "stderr", "kind", "says"),
    [
        (255, "ssh: connect to host c1 port 22: Connection refused\nrsync: x", Unreachable, "c1: connection refused"),
        (
            11,
            "rsync: write failed: No space left\nrsync error: x",
            CommandFailed,
            "c1: cannot write there (disk full, quota or read-only): rsync: write failed: No space left",
        ),
        (12, "", CommandFailed, "c1: the connection broke"),
        (
            12,
            f"hpcregistry: /r/.registry/staging does not exist: {RUN_SETUP}\nrsync: connection closed",
            CommandFailed,
            "c1: /r/.registry/staging does not exist",
        ),
        (12, "hpcregistry: no\nrsync: connection unexpectedly closed", CommandFailed, "c1: no"),
        (
            2,
            "protocol version mismatch -- is your shell clean?",
            CommandFailed,
            f"c1: {star.REASONS[2]}: protocol version mismatch -- is your shell clean?",
        ),
        (20, "", CommandFailed, "c1: interrupted"),
        (23, "one\ntwo\n", CommandFailed, "c1: not everything was transferred: one"),
        (30, "", CommandFailed, "c1: no data for 60 s"),
        (35, " \n", CommandFailed, "c1: no answer from the node"),
        (1, "syntax", CommandFailed, "c1: rsync exited with 1: syntax"),
        (-1, "was still running", CommandTimeout, "c1: was still running"),
    ],
)
def test_a_failure_is_that_nodes_and_its_publish_is_not_tried(
    nodes: FakeNodes, monkeypatch: pytest.MonkeyPatch, code: int, stderr: str, kind: type[HpcRegistryError], says: str
) -> None:
    found = distribute(nodes, monkeypatch, Ran(c1=(code, stderr)), c1=[DIGEST], c2=[DIGEST])
    assert type(found["c1"]) is kind
    assert isinstance(found["c1"], HpcRegistryError)
    assert str(found["c1"]) == says
    assert found["c1"].hint == (RUN_SETUP if RUN_SETUP in stderr else "")
    assert found["c2"] == "c2 arrived"


def test_a_publish_that_fails_is_that_nodes_result(nodes: FakeNodes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(star, "run_process", Ran())

    def arrived(node: str) -> str:
        if node == "c1":
            raise CommandFailed("c1: refused")
        return "published"

    found = star.distribute(job(nodes, {"c1": [DIGEST], "c2": [DIGEST]}, arrived))
    assert str(found["c1"]) == "c1: refused"
    assert found["c2"] == "published"


@pytest.mark.skipif(not shutil.which("/usr/bin/rsync"), reason="rsync is not installed")
def test_the_agent_lets_the_real_rsync_in(nodes: FakeNodes, monkeypatch: pytest.MonkeyPatch) -> None:
    """What rsync's client really asks for is what the forced command allows."""
    nodes.use(monkeypatch)
    nodes.settings = change(nodes.settings, method="star")
    digest = nodes.publish(NAME)
    outcomes = sync(nodes.settings, None, None, lambda event: None)
    assert {node: outcome.message for node, outcome in outcomes.items()} == {"c1": "", "c2": ""}
    assert {outcome.state for outcome in outcomes.values()} == {"synced"}
    assert f"{agent.OBJECTS}/{digest}" in nodes.files("c1")
    assert nodes.asked("c1")[1].startswith("rsync --server ")


@pytest.mark.skipif(not shutil.which("/usr/bin/rsync"), reason="rsync is not installed")
def test_a_node_whose_staging_directory_has_gone(nodes: FakeNodes, monkeypatch: pytest.MonkeyPatch) -> None:
    nodes.use(monkeypatch)
    nodes.settings = change(nodes.settings, method="star")
    nodes.publish(NAME)
    staging = nodes.root / "c1/registry" / agent.STAGING
    staging.rmdir()
    outcome = sync(nodes.settings, None, None, lambda event: None)["c1"]
    assert (outcome.state, outcome.message) == ("failed", f"{staging} does not exist")
    assert outcome.hint == RUN_SETUP


@pytest.mark.skipif(not shutil.which("/usr/bin/rsync"), reason="rsync is not installed")
def test_the_real_rsync_tells_how_much_has_arrived(nodes: FakeNodes, monkeypatch: pytest.MonkeyPatch) -> None:
    nodes.use(monkeypatch)
    size = 4_000_000
    (nodes.registry / agent.OBJECTS / DIGEST).write_bytes(os.urandom(size))
    moved: list[int] = []
    work = replace(job(nodes, {"c1": [DIGEST]}), moved=lambda node, size: moved.append(size))
    assert star.distribute(work) == {"c1": "c1 arrived"}
    assert moved[-1] == size


def test_rsync_takes_the_words_for_a_machine_in_front_apart_as_they_were(nodes: FakeNodes, tmp_path: Path) -> None:
    """By rsync itself, whose quotes are not a shell's: ssh gets the very words that a session's ssh gets."""
    nodes.settings = change(nodes.settings, routes=(NodeRoute("fd00::1", 2200, Jump("gate", "me", 22), "ops", "c1"),))
    *ssh, target = sync_ssh("c1", nodes.settings)
    seen = tmp_path / "ssh"
    seen.write_text(f'#!/bin/sh\nprintf "%s\\n" "$@" > {tmp_path}/words\nexit 1\n')
    seen.chmod(0o755)
    (tmp_path / "file").touch()
    argv = ["/usr/bin/rsync", "-e", shlex.join([str(seen), *ssh[1:]]), str(tmp_path / "file"), f"{target}:."]
    subprocess.run(argv, capture_output=True, check=False)
    words = (tmp_path / "words").read_text().splitlines()
    end = words.index("rsync")
    # rsync names the user by -l, and the host by itself.
    assert words[:end] == [*ssh[1:], "-l", "ops", "c1"]
