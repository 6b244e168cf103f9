"""The limit of all that is sent: real rsyncs through one bucket, and a pump by itself."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path

import pytest

from pytest_hpcregistry import agent
from pytest_hpcregistry.controller.engines import star
from pytest_hpcregistry.controller.engines.bucket import BURST, LARGEST_BLOCK, PUMP, Bucket
from pytest_hpcregistry.core.errors import Unreachable
from tests.fakes.nodes import FakeNodes
from tests.fakes.settings import change
from tests.unit.controller.engines.test_star import job

needs_rsync = pytest.mark.skipif(not shutil.which("/usr/bin/rsync"), reason="rsync is not installed")
SMALL, LARGE = "a" * 64, "b" * 64


@pytest.fixture
def nodes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeNodes:
    found = FakeNodes(tmp_path, "c1", "c2", real_rsync=True)
    found.use(monkeypatch)
    return found


@needs_rsync
def test_the_last_node_has_the_whole_limit_while_it_is_sent_to(nodes: FakeNodes) -> None:
    """Defect D12: rsync kept its half of the limit when the other had ended, and this took 1.8 times as long."""
    limit, sizes = 1_000_000, {SMALL: 250_000, LARGE: 2_250_000}
    for digest, size in sizes.items():
        (nodes.registry / agent.OBJECTS / digest).write_bytes(os.urandom(size))
    nodes.settings = change(nodes.settings, limit_rate=limit, timeout=60)
    ended: dict[str, float] = {}
    work = replace(job(nodes, {"c1": [SMALL], "c2": [LARGE]}, arrived=lambda node: str(note(ended, node))), sizes=sizes)
    began = time.monotonic()
    outcomes = star.distribute(work)
    assert [type(one) for one in outcomes.values()] == [str, str], outcomes
    staged = {node: (nodes.root / node / "registry" / agent.STAGING) for node in ("c1", "c2")}
    assert (staged["c2"] / LARGE).stat().st_size == sizes[LARGE]
    ratio = (ended["c2"] - began) / (sum(sizes.values()) / limit)
    assert 1 - BURST / 2.5 <= ratio < 1.5
    assert ended["c1"] < ended["c2"]


def note(ended: dict[str, float], node: str) -> float:
    ended[node] = time.monotonic()
    return ended[node]


@needs_rsync
def test_how_ssh_ended_is_known_behind_a_pump(nodes: FakeNodes) -> None:
    nodes.trouble("c1", "refused")
    nodes.settings = change(nodes.settings, limit_rate=1_000_000)
    (nodes.registry / agent.OBJECTS / SMALL).write_bytes(b"x")
    found = star.distribute(replace(job(nodes, {"c1": [SMALL]}), sizes={SMALL: 1}))["c1"]
    assert isinstance(found, Unreachable)
    assert "login refused" in str(found)


@pytest.mark.parametrize(("rate", "block"), [(1, 1), (3072, 30), (10**6, 10_000), (10**9, LARGEST_BLOCK)])
def test_blocks_are_small_where_little_may_be_sent(rate: int, block: int) -> None:
    assert Bucket(rate).block == block


def test_without_a_limit_there_is_no_pump() -> None:
    with Bucket(0) as bucket:
        assert (bucket.shell(["ssh", "-o", "A=b c"]), bucket.kept) == ("ssh -o 'A=b c'", ())


def test_rsync_can_split_what_it_is_given() -> None:
    assert "'" not in PUMP


def test_what_nobody_takes_does_not_gather() -> None:
    with Bucket(100_000) as bucket:
        time.sleep(2 * BURST)
        assert bucket.waiting() <= 100 * BURST
        assert bucket.waiting() > 0


def pump(bucket: Bucket, *command: str) -> subprocess.Popen[bytes]:
    words = [sys.executable, "-I", "-S", "-c", PUMP, str(bucket.tokens), str(bucket.block), *command]
    pipe = subprocess.PIPE
    return subprocess.Popen(words, stdin=pipe, stdout=pipe, pass_fds=bucket.kept)


@pytest.mark.parametrize(("script", "code"), [("exit 3", 3), ("kill -9 $$", 137), ("cat > /dev/null; exit 4", 4)])
def test_a_pump_ends_as_its_command_does(script: str, code: int) -> None:
    with Bucket(1000) as bucket, pump(bucket, "sh", "-c", script) as process:
        if "cat" in script:
            assert process.stdin
            process.stdin.close()
        assert process.wait(10) == code


def test_all_bytes_pass_in_order() -> None:
    data = os.urandom(300_000)
    with Bucket(3_000_000) as bucket, pump(bucket, "cat") as process:
        assert process.stdin
        assert process.stdout
        threading.Thread(target=lambda: process.stdin and (process.stdin.write(data), process.stdin.close())).start()
        assert process.stdout.read() == data
        assert process.wait(10) == 0


def test_when_the_program_is_gone_nothing_is_sent_any_more() -> None:
    with Bucket(1) as bucket:
        process = pump(bucket, "cat")
    assert process.stdin
    process.stdin.write(b"x" * 1000)
    process.stdin.flush()
    with process:
        assert process.wait(10) == 137
