"""The bad day of docs/a-bad-day.md, lived through on a lab: in order, as each hour begins where the last ended."""

from __future__ import annotations

import os
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from pytest_hpcregistry.lab.podman import podman

from .conftest import Cli
from .diary import DAY, PROGRAM, Entry, find_missing
from .machines import CONTROLLER, Machines
from .test_drift import flip_a_bit as flip
from .test_drift import wait_until

pytestmark = pytest.mark.lab
SOLVER = "ml-frameworks/solver.sif"
BY_HAND = "/opt/containers/ml-frameworks/by-hand.sif"
Sifs = Callable[..., Path]


class Day:
    """The cluster, the directory in which the administrator sits, and what goes wrong."""

    def __init__(self, machines: Machines, cluster: Path, desk: Path, sif: Sifs) -> None:
        self.machines, self.cluster, self.desk, self.sif = machines, cluster, desk, sif
        self.slow: subprocess.Popen[bytes] | None = None

    def run(self, typed: str, interrupt_at: str = "") -> tuple[int, str]:
        """Type a command; ctrl-c as soon as it has said *interrupt_at*. Returns its exit code and what it said."""
        with self.start(typed) as process:
            said = ""
            for line in process.stdout or ():
                said += line.decode()
                if interrupt_at and interrupt_at in said:
                    process.send_signal(signal.SIGINT)
                    interrupt_at = ""
            return process.wait(100), said

    def start(self, typed: str) -> subprocess.Popen[bytes]:
        argv = [str(Path(sys.executable).parent / PROGRAM), *shlex.split(typed)]
        environment = {**os.environ, "HPC_CLUSTER": str(self.cluster), "PYTHONUNBUFFERED": "1"}
        return subprocess.Popen(argv, cwd=self.desk, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)

    def power(self, node: str, how: str) -> None:
        podman(how, *(["--time", "0"] if how == "stop" else []), self.machines.state.container(node)).check()

    def slurm_says(self, node: str, word: str) -> bool:
        return word in self.machines.tell(CONTROLLER, f"sinfo -h -N -n {node} -o %T")

    # --- what happens

    def flip_a_bit(self) -> None:
        flip(self.machines, "c002", self.machines.digest("c002", SOLVER))

    def drain_and_switch_off(self) -> None:
        self.machines.tell(CONTROLLER, "scontrol update nodename=c003 state=drain reason='disk swap'")
        self.power("c003", "stop")

    def switch_on(self) -> None:
        self.power("c003", "start")
        self.machines.tell(CONTROLLER, "scontrol update nodename=c003 state=resume")
        wait_until(lambda: self.slurm_says("c003", "idle"), 60)

    def pull_the_plug(self) -> None:
        self.power("c001", "stop")

    def plug_in_and_copy_by_hand(self) -> None:
        self.power("c001", "start")
        wait_until(lambda: self.machines.run(CONTROLLER, "ssh -o ConnectTimeout=2 c001 true").exit_code == 0, 60)
        self.machines.tell("c001", f"echo mine > {BY_HAND}")

    def sync_slowly(self) -> None:
        """An image that c003 lacks, and a sync whose rsync does not end."""
        self.machines.tell("c003", f"rm -f /opt/containers/{SOLVER} /opt/containers/.registry/objects/sha256/*")
        self.machines.tell(CONTROLLER, "mv /usr/bin/rsync /usr/bin/rsync.real")
        self.machines.tell(
            CONTROLLER, "printf '#!/bin/sh\\nexec sleep 300\\n' > /usr/bin/rsync; chmod 755 /usr/bin/rsync"
        )
        self.slow = self.start("sync --engine star")
        wait_until(lambda: "sync" in self.run("running")[1], 60)

    def sync_as_usual(self) -> None:
        self.machines.tell(CONTROLLER, "mv /usr/bin/rsync.real /usr/bin/rsync")
        assert self.slow
        self.slow.communicate(timeout=60)

    def make_a_new_solver(self) -> None:
        self.sif("solver", directory=self.desk / "images")

    def remove_what_was_copied(self) -> None:
        self.machines.tell("c001", f"rm {BY_HAND}")


@pytest.fixture(scope="module")
def day(
    tool: Cli, machines: Machines, edited: Callable[..., Path], sif: Sifs, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Day]:
    """The morning: one image, on all machines."""
    desk = tmp_path_factory.mktemp("desk")
    (desk / "images").mkdir()
    sif("mesher", directory=desk / "images")
    tool("deploy", "--sync-nodes", sif("solver", directory=desk / "images")).check()
    yield Day(machines, edited(), desk, sif)
    for node in ("c001", "c003"):
        podman("start", machines.state.container(node)).check()
    machines.run(CONTROLLER, "test ! -e /usr/bin/rsync.real || mv /usr/bin/rsync.real /usr/bin/rsync")
    machines.run(CONTROLLER, "scontrol update nodename=c001,c003 state=resume")
    time.sleep(1)


@pytest.mark.parametrize("entry", DAY, ids=[entry.at for entry in DAY])
def test_the_day(day: Day, entry: Entry) -> None:
    if entry.before:
        getattr(day, entry.before)()
    code, said = day.run(entry.typed, interrupt_at="waiting for a sync" if entry.code == 130 else "")
    assert "Traceback" not in said
    assert (code, find_missing(entry.shows, said)) == (entry.code, []), said
