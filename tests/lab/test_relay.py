"""Bytes that go from node to node, on links as slow as real ones: whatever happens to a node costs that node only."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from pytest_hpcregistry import lab
from pytest_hpcregistry.lab import links
from pytest_hpcregistry.lab.podman import podman
from pytest_hpcregistry.transports.process import run_process

from .conftest import NAME as TESTS
from .machines import CONTROLLER, STAGING, Machines, edit_cluster

pytestmark = pytest.mark.lab
NAME = f"{TESTS}-relay"
NODES = 6
MBIT = 40
KILOBYTES = 12 << 10  # 2.5 s over such a link
COUNTER = "cat /sys/class/net/eth0/statistics/tx_bytes"
PROGRAM = Path(sys.executable).parent / "hpc-container-manager"
Sifs = Callable[..., Path]


class Run:
    """`hpc-container-manager sync --engine relay --json` while it runs."""

    def __init__(self, cluster: Path) -> None:
        argv = [str(PROGRAM), "sync", "--cluster", str(cluster), "--engine", "relay", "--json"]
        self.process = subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        self.events: list[dict[str, Any]] = []

    def wait_for_progress(self, node: str, size: int) -> None:
        """Return when some of the image, and not all, is on *node*."""
        while True:
            event = self.next()
            if event["event"] == "progress" and 0 < event["bytes"].get(node, 0) < size:
                return

    def wait_for_all_but(self, node: str) -> None:
        """Return when every other node has finished."""
        while len({event["node"] for event in self.events if event["event"] == "node_finished"}) < NODES - 1:
            event = self.next()
            assert event["event"] != "node_finished" or event["node"] != node, "it was not slow"

    def next(self) -> dict[str, Any]:
        assert self.process.stdout
        line = self.process.stdout.readline()
        assert line, "it ended too early"
        self.events.append(json.loads(line))
        return self.events[-1]

    def finish(self) -> dict[str, str]:
        """Each node's state, or what its failure says."""
        assert self.process.stdout
        self.events += [json.loads(line) for line in self.process.stdout]
        self.process.stdout.close()
        self.process.wait(60)
        finished = [event for event in self.events if event["event"] == "node_finished"]
        return {event["node"]: event["message"] or event["state"] for event in finished}

    def noticed(self) -> str:
        return "\n".join(event["message"] for event in self.events if event["event"] == "noticed")


@pytest.fixture(scope="module")
def state() -> Iterator[lab.LabState]:
    lab.down(NAME)
    yield lab.up(NAME, NODES, on_step=lambda *_: None, link_mbit=MBIT)
    lab.down(NAME)


@pytest.fixture(scope="module")
def cluster(state: lab.LabState, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An impatient cluster file of it, after phase 1."""
    path = tmp_path_factory.mktemp("cluster") / "cluster.yaml"
    edit_cluster(state.cluster_file, path, sync={"connect_timeout": "4"})
    run_process("workstation", [str(PROGRAM), "registry", "setup", "--cluster", str(path)], timeout=300).check()
    return path


@pytest.fixture
def machines(state: lab.LabState, cluster: Path) -> Machines:
    return Machines(state)


@pytest.fixture
def image(cluster: Path, sif: Sifs, request: pytest.FixtureRequest) -> Path:
    """A new image that only the controller has."""
    path = sif("relayed", KILOBYTES)
    argv = [str(PROGRAM), "deploy", "single", "--cluster", str(cluster), str(path)]
    run_process("workstation", argv, timeout=120).check()
    return path


def prove(machines: Machines, image: Path, without: str = "") -> None:
    """Every node but one has the right bytes, nothing half is left, and nobody listens any more."""
    digest = machines.digest(CONTROLLER, f"ml-frameworks/{image.name}")
    for node in machines.state.nodes:
        if node != without:
            assert machines.digest(node, f"ml-frameworks/{image.name}") == digest
            assert machines.run(node, f"test -e {STAGING}/{digest}").exit_code == 1
            assert machines.tell(node, "ss -Hltn sport ge :1024 | grep -v 127.0.0 | grep -v ':6818 ' || :") == ""
            assert machines.tell(node, "pgrep -f '[a]gent.pyz serve' || :") == ""


def test_the_controller_sends_once_whatever_the_number_of_nodes(machines: Machines, cluster: Path, image: Path) -> None:
    size = image.stat().st_size
    before = {name: int(machines.tell(name, COUNTER)) for name in machines.state.machines}
    assert Run(cluster).finish() == dict.fromkeys(machines.state.nodes, "synced")
    sent = {name: int(machines.tell(name, COUNTER)) - before[name] for name in machines.state.machines}
    assert size < sent[CONTROLLER] < 1.3 * size
    assert sum(sent.values()) < (NODES + 0.5) * 1.1 * size
    prove(machines, image)


def test_a_second_sync_moves_nothing(machines: Machines, cluster: Path, image: Path) -> None:
    Run(cluster).finish()
    before = int(machines.tell(CONTROLLER, COUNTER))
    assert Run(cluster).finish() == dict.fromkeys(machines.state.nodes, "unchanged")
    assert int(machines.tell(CONTROLLER, COUNTER)) - before < 200_000


@pytest.mark.parametrize("node", ["c001", "c003", "c006"])
def test_a_node_that_dies_in_the_middle_is_named_and_the_others_finish(
    machines: Machines, cluster: Path, image: Path, node: str
) -> None:
    sync = Run(cluster)
    sync.wait_for_progress(node, image.stat().st_size)
    podman("kill", "--signal", "KILL", machines.state.container(node)).check()
    try:
        states = sync.finish()
        assert states.pop(node) not in ("synced", "unchanged")
        assert states == dict.fromkeys(set(machines.state.nodes) - {node}, "synced")
        assert sync.process.returncode in (3, 4)
        prove(machines, image, without=node)
    finally:
        podman("start", machines.state.container(node)).check()
        limit(machines, MBIT, node)
    wait_for_ssh(machines, node)
    assert Run(cluster).finish()[node] == "synced", "one sync later it has everything"
    prove(machines, image)


@pytest.mark.parametrize("node", ["c001", "c004"])
def test_a_node_that_freezes_is_bridged(machines: Machines, cluster: Path, image: Path, node: str) -> None:
    """Nothing tells that it is gone: no connection ends, no packet comes."""
    sync = Run(cluster)
    sync.wait_for_progress(node, image.stat().st_size)
    podman("pause", machines.state.container(node)).check()
    try:
        states = sync.finish()
    finally:
        podman("unpause", machines.state.container(node)).check()
    assert states.pop(node) not in ("synced", "unchanged")
    assert states == dict.fromkeys(set(machines.state.nodes) - {node}, "synced")
    prove(machines, image, without=node)
    Run(cluster).finish()
    prove(machines, image)


@pytest.mark.parametrize("node", ["c001", "c003"])
def test_a_slow_node_is_bridged_and_gets_its_bytes_last(
    machines: Machines, cluster: Path, image: Path, node: str
) -> None:
    limit(machines, MBIT // 20, node)
    try:
        sync = Run(cluster)
        sync.wait_for_all_but(node)
    finally:
        limit(machines, MBIT, node)
    assert sync.finish() == dict.fromkeys(machines.state.nodes, "synced")
    assert f"{node} is slow" in sync.noticed()
    prove(machines, image)


def test_two_nodes_that_cannot_reach_each_other(machines: Machines, cluster: Path, image: Path) -> None:
    address = machines.tell("c004", "hostname -i").strip()
    machines.tell("c003", f"ip route add blackhole {address}")
    try:
        assert Run(cluster).finish() == dict.fromkeys(machines.state.nodes, "synced")
    finally:
        machines.tell("c003", f"ip route del blackhole {address}")
    prove(machines, image)


def test_a_controller_that_dies_leaves_nothing_behind(machines: Machines, cluster: Path, image: Path) -> None:
    sync = Run(cluster)
    sync.wait_for_progress("c003", image.stat().st_size)
    machines.tell(CONTROLLER, "pkill -KILL -f '[h]pcregistry/controller .* sync'")
    sync.finish()
    assert sync.process.returncode == 4
    deadline = time.monotonic() + 30
    while any(machines.everywhere("pgrep -f '[a]gent.pyz serve' || :").values()):
        assert time.monotonic() < deadline, "an agent stays"
        time.sleep(0.2)
    assert Run(cluster).finish() == dict.fromkeys(machines.state.nodes, "synced")
    prove(machines, image)


def limit(machines: Machines, mbit: int, node: str) -> None:
    links.limit([links.find(machines.state)[node]], mbit)


def wait_for_ssh(machines: Machines, node: str) -> None:
    deadline = time.monotonic() + 30
    while machines.run(CONTROLLER, f"ssh -o BatchMode=yes -o ConnectTimeout=2 {node} true").exit_code:
        assert time.monotonic() < deadline, f"{node} does not come back"
        time.sleep(0.5)
