"""Long commands on a real cluster: who waits is told for whom, who interrupts what goes on, and cancel ends it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from .conftest import Cli
from .machines import CONTROLLER, LAUNCHER, REGISTRY, STAGING, Machines
from .test_drift import wait_until
from .test_history import ME, records

pytestmark = pytest.mark.lab
NAME = "ml-frameworks/long.sif"
SYNC = ("sync", "--engine", "star", "--limit-rate", "3K", "long.sif")
OBJECTS = f"ls {REGISTRY}/.registry/objects/sha256"
LEFT = f"find {STAGING} {REGISTRY}/.registry/running -mindepth 1"
Begin = Callable[..., "subprocess.Popen[str]"]


@pytest.fixture
def begin(edited: Callable[..., Path], tmp_path: Path) -> Iterator[Begin]:
    """Begin a command as a user does, to interrupt it. Its lines are read as they come."""
    begun: list[subprocess.Popen[str]] = []
    program, environment = Path(sys.executable).parent / "hpc-container-manager", {**os.environ}

    def start(*words: str) -> subprocess.Popen[str]:
        environment["HPC_CLUSTER"] = str(edited())
        pipe = subprocess.PIPE
        begun.append(
            subprocess.Popen([program, *words], stdout=pipe, stderr=pipe, text=True, cwd=tmp_path, env=environment)
        )
        return begun[-1]

    yield start
    for one in begun:
        one.kill()
        one.communicate()


@pytest.fixture
def long_sync(tool: Cli, machines: Machines, sif: Callable[..., Path], begin: Begin) -> Iterator[subprocess.Popen[str]]:
    """A sync that takes some minutes."""
    tool("deploy", "single", sif("long", 512)).check()
    one = begin(*SYNC)
    wait_until(lambda: commands(tool) == [("sync", "working")] and "rsync --" in programs(machines))
    yield one
    if commands(tool):
        tool("cancel").check()


def commands(tool: Cli) -> list[tuple[str, str]]:
    found: list[dict[str, Any]] = json.loads(tool("running", "--json").check().stdout)["running"]
    return [(one["record"]["command"], one["state"]) for one in found]


def programs(machines: Machines) -> str:
    return machines.tell(CONTROLLER, "ps -eo args | grep -E '^(rsync|ssh) ' || :")


def first_line(process: subprocess.Popen[str], has: str) -> str:
    assert process.stdout
    for line in process.stdout:
        if has in line:
            return line
    raise AssertionError(f"it has ended without {has!r}")


def test_an_interrupted_gc_that_waits_frees_nothing(
    tool: Cli, machines: Machines, long_sync: subprocess.Popen[str], begin: Begin
) -> None:
    """Defect D2, and D6."""
    before = machines.tell(CONTROLLER, OBJECTS)
    waiting = begin("gc", "--keep", "0", "--grace", "0")
    said = first_line(waiting, "waiting for")
    assert said.startswith(f"  waiting for a sync by {ME} (from ")
    assert said.endswith("(Ctrl-C to give up)\n")
    waiting.send_signal(signal.SIGINT)
    _, errors = waiting.communicate(timeout=60)
    assert (waiting.returncode, errors.strip()) == (130, "withdrawn: nothing was freed")
    assert commands(tool) == [("sync", "working")]
    assert machines.tell(CONTROLLER, OBJECTS) == before
    (record,) = records(tool, "--last", "1")
    assert (record["command"], record["state"]) == ("gc", "interrupted")
    assert record["reason"].startswith("withdrawn while it waited: nothing was changed")


def test_a_workstation_that_dies_withdraws_what_waits(
    tool: Cli, machines: Machines, long_sync: subprocess.Popen[str], begin: Begin
) -> None:
    waiting = begin("rollback", "long.sif")
    first_line(waiting, "waiting for")
    waiting.kill()
    wait_until(lambda: commands(tool) == [("sync", "working")], seconds=60)
    assert records(tool, "--last", "1")[0]["state"] == "interrupted"


@pytest.mark.parametrize(
    "words", [("gc", "--no-wait"), ("rollback", "long.sif", "--no-wait"), ("sync", "--repair", "--no-wait")]
)
def test_nobody_must_wait(tool: Cli, long_sync: subprocess.Popen[str], words: tuple[str, ...]) -> None:
    refused = tool(*words)
    assert refused.exit_code == 4
    assert f"not begun, by --no-wait: a sync by {ME} (from " in refused.stderr
    assert refused.stdout.strip() == ""


def test_a_deploy_that_shall_not_wait_sends_nothing(
    tool: Cli, long_sync: subprocess.Popen[str], sif: Callable[..., Path]
) -> None:
    refused = tool("deploy", "-s", "--no-wait", sif("other"))
    assert refused.exit_code == 4
    assert "nothing was deployed, by --no-wait: a sync by" in refused.stderr
    assert tool("catalog", "show", "other.sif").exit_code == 2


def test_what_goes_on_after_an_interrupt_is_said_and_can_be_cancelled(
    tool: Cli, machines: Machines, long_sync: subprocess.Popen[str]
) -> None:
    long_sync.send_signal(signal.SIGINT)
    _, errors = long_sync.communicate(timeout=60)
    assert long_sync.returncode == 130
    stop = "Stop it: hpc-container-manager cancel"
    assert errors.strip() == f"interrupted here. The sync goes on on hpc-controller. {stop}"
    wait_until(lambda: "c[001-003]" in tool("running").stdout)  # its file is written now and then
    (line,) = tool("running").check().stdout.splitlines()
    assert line.startswith(f"sync  {NAME}  by {ME} (from ")
    assert line.endswith("(stop it: hpc-container-manager cancel)")

    cancelled = tool("cancel").check()
    assert f"cancelled by {ME}" in " ".join(cancelled.stdout.split())
    assert cancelled.stderr == "hint: c[001-003] not done: to go on: hpc-container-manager sync\n"
    assert tool("running").check().stdout == "nothing runs on hpc-controller\n"
    assert programs(machines) == ""
    assert machines.tell(CONTROLLER, LEFT) == ""
    (record,) = records(tool, "--last", "1")
    assert (record["state"], record["failed"]) == ("interrupted", "c[001-003]")
    again = tool("cancel")
    assert (again.exit_code, "nothing is at work" in again.stderr) == (2, True)
    tool("sync", "long.sif").check()


def test_what_a_killed_program_has_begun_ends_with_it(tool: Cli, machines: Machines, sif: Callable[..., Path]) -> None:
    tool("deploy", "single", sif("long", 512)).check()
    options = "--engine star --limit-rate 3072"
    machines.tell(CONTROLLER, f"setsid {LAUNCHER} {options} > /dev/null 2>&1 < /dev/null & echo begun")
    wait_until(lambda: "rsync --" in programs(machines))
    machines.tell(CONTROLLER, "kill -9 $(pgrep -f 'hpcregistry/[c]ontroller .* sync')")
    wait_until(lambda: programs(machines) == "")
    wait_until(lambda: not any(machines.everywhere("pgrep -x rsync || :").values()))
    assert commands(tool) == []
    tool("sync", "long.sif").check()
    assert machines.tell(CONTROLLER, LEFT) == ""
