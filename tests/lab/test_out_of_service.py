"""Nodes that Slurm does not count on: drained and off, drained and on, back again; and a busy cluster."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from .conftest import Cli
from .machines import CONTROLLER, REGISTRY, Machines, refused

pytestmark = pytest.mark.lab
AWAY = "c002"
OFF, ON = "kill $(cat /run/sshd.pid)", "/usr/sbin/sshd -E /var/log/sshd.log"
UNTIL_IDLE = 'for n in $(seq 90); do [ "$(sinfo -h -o %t | sort -u)" = idle ] && exit; sleep 0.5; done; exit 1'
SAID = f'! not counted: {AWAY} drained "disk swap" (root, since '


@contextmanager
def drained(machines: Machines, node: str = AWAY) -> Iterator[None]:
    machines.tell(CONTROLLER, f"scontrol update nodename={node} state=drain reason='disk swap'")
    try:
        yield
    finally:
        machines.tell(CONTROLLER, f"scontrol update nodename={node} state=resume; {UNTIL_IDLE}")


@contextmanager
def off(machines: Machines, node: str = AWAY) -> Iterator[None]:
    machines.tell(node, OFF)
    try:
        yield
    finally:
        machines.tell(node, ON)


def test_a_drained_node_that_is_off_fails_nothing_and_is_healed_when_it_is_back(
    tool: Cli, kept: str, machines: Machines, sif: Callable[..., Path]
) -> None:
    with off(machines):
        refused(tool("status"), 3, f"{AWAY}: unreachable")  # Slurm thinks well of it
        with drained(machines):
            assert SAID in tool("status").check().stdout
            assert SAID in tool("verify").check().stdout
            assert SAID in tool("deploy", "-s", "-v", sif("meanwhile")).check().stdout
            assert SAID in tool("sync").check().stdout
            assert tool("status", "--require", "66%").exit_code == 0
            for words in (["status"], ["verify"], ["sync"]):
                refused(tool(*words, "--require", "67%"), 3, f"2 were asked and are well: not {AWAY}")
            refused(tool("status", "-w", AWAY), 3, "no node could be asked")
            refused(tool("sync", "-w", AWAY), 3, "no node could be asked")
    refused(tool("status"), 1, f"missing {AWAY}", "hpc-container-manager sync")
    tool("sync").check()
    tool("verify").check()
    assert machines.digests("ml-frameworks/meanwhile.sif") == {
        machines.digest(CONTROLLER, "ml-frameworks/meanwhile.sif")
    }


def test_a_drained_node_that_is_on_is_served_and_judged(
    tool: Cli, kept: str, machines: Machines, tmp_path: Path
) -> None:
    with drained(machines):
        machines.tell(AWAY, f"rm {REGISTRY}/{kept}")
        context = f"asked, though out of service: {AWAY} drained"
        refused(tool("status"), 1, f"missing {AWAY}", f"! {context}", "hpc-container-manager sync")
        tool("sync", "--require", "100%").check()
        tool("status").check()
        result = tool("test", "--phase", "infrastructure", "--reports", tmp_path)
        assert result.exit_code == 0, result.stdout
        assert f"hpc: {context}" in result.stdout


def test_infrastructure_without_a_drained_node_that_is_off(
    tool: Cli, kept: str, machines: Machines, tmp_path: Path
) -> None:
    with off(machines), drained(machines):
        result = tool("test", "--phase", "infrastructure", "--reports", tmp_path, "--require", "2")
        assert result.exit_code == 0, result.stdout
        assert f"hpc: {SAID[2:]}" in result.stdout
        refused(tool("test", "--phase", "infrastructure", "--reports", tmp_path, "--require", "3"), 3, "3 of 3 nodes")


def test_a_node_that_starts_no_image_without_a_job_fails(
    cli: Cli, deployed: str, machines: Machines, edited: Callable[..., Path], tmp_path: Path
) -> None:
    """Its jobs would say so too, but on which node they run is Slurm's choice."""
    found = machines.tell("c003", "command -v apptainer").strip()
    machines.tell("c003", f"mv {found} {found}.away")
    try:
        words = ["test", "--phase", "e2e", "--image", deployed, "--reports", tmp_path]
        result = cli(*words, cluster=edited(slurm={"max_wait": "3", "run_as": "alice"}))
    finally:
        machines.tell("c003", f"mv {found}.away {found}")
    assert result.exit_code == 1
    assert re.search(r"c003\s+\S+:\s+apptainer\s+exec\s+by\s+an\s+ordinary\s+user:", result.stdout), result.stdout


def test_jobs_take_what_is_idle_and_leave_nothing(
    cli: Cli, deployed: str, machines: Machines, edited: Callable[..., Path], tmp_path: Path
) -> None:
    impatient = edited(slurm={"max_wait": "3", "run_as": "alice"})
    words = ["test", "--phase", "e2e", "--image", deployed, "--reports", tmp_path]
    with drained(machines):
        result = cli(*words, cluster=impatient)
        assert result.exit_code == 0, result.stdout
        assert "hpc: jobs wait for an idle node 3 s at most" in result.stdout
        assert f"hpc: not proven: {AWAY} (jobs cannot run there now" in result.stdout
        assert "by a job (apptainer exec runs the image there; no job was tried there; " in result.stdout
        cases = ET.parse(tmp_path / "e2e.xml").iter("property")  # noqa: S314 - our own pytest wrote it
        assert [one.get("value") for one in cases if one.get("name") == "started on"] == ["c[001,003]"]
    fill = "sbatch -J full --nodes=3 --exclusive -o /dev/null --wrap 'sleep 300'"
    machines.tell(CONTROLLER, f"{fill} && until squeue -h -n full -t R | grep -q .; do sleep 0.2; done")
    try:
        result = cli(*words, cluster=impatient)
        assert result.exit_code == 1
        assert "no idle node" in result.stdout
        assert "PASSED ✓✓✓" not in result.stdout
    finally:
        machines.tell(CONTROLLER, f"scancel -n full; {UNTIL_IDLE}")
    assert machines.tell(CONTROLLER, "squeue -h -o %j") == ""
