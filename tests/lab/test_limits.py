"""Hundreds of nodes where 1024 files may be open. Needs no lab, but a real agent for each node: a minute in all."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from pytest_hpcregistry.controller.limits import BASE, RSYNC, SESSION
from tests.fakes.nodes import FakeNodes
from tests.fakes.settings import change, config_text

pytestmark = pytest.mark.lab
NAME = "ml-frameworks/x.sif"
NAMES = tuple(f"c{number:03}" for number in range(1, 301))
WINDOW = 64


@pytest.fixture
def nodes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeNodes:
    """300 of them, to which a transfer takes a second, so that a whole window is at it."""
    found = FakeNodes(tmp_path, *NAMES)
    found.use(monkeypatch)
    rsync = tmp_path / "bin" / "rsync"
    rsync.write_text(rsync.read_text().replace("#!/bin/sh\n", "#!/bin/sh\nsleep 1\n"))
    return found


def sync(nodes: FakeNodes, engine: str, *, soft: int, hard: int) -> tuple[int, int, str]:
    """Sync with such limits; the exit code, how many descriptors the program had at its peak, and what it said."""
    settings = change(nodes.settings, method=engine, nodes=NAMES, window=WINDOW, timeout=300, connect_timeout=20)
    config = nodes.root / "config.yaml"
    config.write_text(config_text(settings))
    peak, said = 0, list[str]()
    argv = ["sh", "-c", f'ulimit -Sn {soft} && ulimit -Hn {hard} && exec "$@"', "sh"]
    argv += [sys.executable, "-m", "pytest_hpcregistry.controller", "--config", str(config), "sync"]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as program:
        assert program.stdout
        reader = threading.Thread(target=said.extend, args=(program.stdout,))
        reader.start()
        while program.poll() is None:
            peak = max(peak, open_files(program.pid))
            time.sleep(0.01)
        reader.join()
    return program.returncode, peak, "".join(said)


def open_files(pid: int) -> int:
    try:
        return len(os.listdir(f"/proc/{pid}/fd"))  # noqa: PTH208
    except FileNotFoundError:  # it has just ended
        return 0


@pytest.mark.parametrize(("engine", "soft"), [("star", 256), ("relay", 1024)])
def test_1024_open_files_are_enough_for_300_nodes(nodes: FakeNodes, engine: str, soft: int) -> None:
    nodes.publish(NAME, os.urandom(200_000))
    code, peak, said = sync(nodes, engine, soft=soft, hard=1024)
    assert (code, said.count("synced to c")) == (0, len(NAMES)), said[-2000:]
    assert said.splitlines()[-1].endswith("SUCCESS: sync finished: 300 synced (c[001-300])")
    assert "open files" not in said
    at_least = SESSION * len(NAMES) + (RSYNC * WINDOW * 3 // 4 if engine == "star" else 0)
    assert at_least < peak <= BASE + 1 + SESSION * len(NAMES) + RSYNC * WINDOW, "what was reckoned"


def test_fewer_at_a_time_where_there_is_no_room_for_all(nodes: FakeNodes) -> None:
    nodes.publish(NAME, os.urandom(200_000))
    code, peak, said = sync(nodes, "relay", soft=512, hard=512)
    assert code == 0, said[-2000:]
    assert said.splitlines()[-1].endswith("SUCCESS: sync finished: 300 synced (c[001-300])")
    (at_once,) = re.findall(r"NOTE: 300 nodes need \d+ open files, and 512 are allowed: (\d+) nodes come at a", said)
    assert len(re.findall("Engine relay for ", said)) >= len(NAMES) / int(at_once)
    assert SESSION * int(at_once) < peak <= 512


def test_too_few_are_refused_in_words_and_nothing_is_changed(nodes: FakeNodes) -> None:
    nodes.publish(NAME, os.urandom(200_000))
    before = set(nodes.root.rglob("*"))
    code, _, said = sync(nodes, "auto", soft=64, hard=64)
    new = {path.name for path in set(nodes.root.rglob("*")) - before}
    notes = {"running", "history.jsonl", "history.lock", "sync.lock", "sync-next.lock", "sync.log"}
    assert (code, new) == (2, {"config.yaml", *notes})
    error, hint = said.splitlines()
    assert error == "error: controller: 300 nodes need 761 open files, 65 at the least, and 64 are allowed"
    assert hint.startswith("hint: allow more open files: ulimit -n, LimitNOFILE=")
