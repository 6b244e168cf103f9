"""Versions on real machines: a job keeps the image it runs from, going back moves nothing, and all agree afterwards."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Callable
from pathlib import Path

import pytest

from .conftest import Cli
from .machines import CATALOG, CONTROLLER, OBJECTS, REGISTRY, STAGING, Machines, refused
from .test_drift import wait_until

pytestmark = pytest.mark.lab
NODE = "c002"
NAME = "ml-frameworks/versions.sif"
PATH = f"{REGISTRY}/{NAME}"
SYNC_LOG = "/var/log/container-registry-sync.log"
Sifs = Callable[..., Path]


def deploy(tool: Cli, machines: Machines, path: Path) -> str:
    """Deploy it everywhere under NAME; returns its digest."""
    tool("deploy", "to-cluster", "-s", path, PATH).check()
    (digest,) = machines.digests(NAME)
    return digest


def have(machines: Machines, digest: str) -> list[str]:
    """The machines that have an object."""
    found = machines.everywhere(f"test -e {OBJECTS}/{digest} && echo yes || echo no")
    return [machine for machine, answer in found.items() if answer == "yes\n"]


def received(machines: Machines) -> int:
    """Bytes that the node's interface has received."""
    return int(machines.tell(NODE, "cat /sys/class/net/eth0/statistics/rx_bytes"))


def test_rollback_moves_no_bytes_and_all_agree(tool: Cli, machines: Machines, sif: Sifs) -> None:
    one = deploy(tool, machines, sif("one", 20_000))
    two = deploy(tool, machines, sif("two", 20_000))
    shown = tool("catalog", "show", NAME).check().stdout
    assert f"current version {two[:12]}" in shown
    assert f"older version {one[:12]}" in shown
    before = received(machines)
    done = tool("rollback", NAME, "--json").check()
    assert received(machines) - before < 1_000_000, "of 20 MB"
    told = [json.loads(line) for line in done.stdout.splitlines()]
    finished = [event for event in told if event["event"] == "node_finished"]
    assert {event["node"]: (event["state"], event["bytes"]) for event in finished} == dict.fromkeys(
        machines.state.nodes, ("synced", 0)
    )
    assert machines.digests(NAME) == {one}
    tool("status").check()
    tool("verify", NAME).check()
    assert f"✓ {NAME}: version {two[:12]}" in tool("rollback", NAME).check().stdout
    assert machines.digests(NAME) == {two}
    assert re.search(
        rf"SUCCESS: {NAME} rolled back by \S+@\S+, sha256 {two}, was {one[:12]}",
        machines.tell(CONTROLLER, f"cat {SYNC_LOG}"),
    )
    assert len(set(machines.everywhere(f"sha256sum < {CATALOG}").values())) == 1
    refused(tool("rollback", NAME, "--to", "ffffff"), 2, "no version begins", one[:12])


READ_IT_ALL = "find /usr -type f -exec cat {} + | md5sum"


@pytest.mark.parametrize(
    "run",
    [f"apptainer exec {PATH}", f"srun -w {NODE} --container={PATH}"],
    ids=["apptainer", "srun"],
)
def test_a_job_keeps_the_image_that_it_runs_from(
    run: str, tool: Cli, machines: Machines, sif: Sifs, demo_sif: Path
) -> None:
    """Nothing names it any more and there is no grace period, but on one node a job runs from it."""
    old = deploy(tool, machines, demo_sif)
    where = CONTROLLER if run.startswith("srun") else NODE
    ready, go, said = (f"/root/versions-{word}" for word in ("ready", "go", "said"))
    machines.everywhere(f"rm -f {ready} {go} {said}")
    wanted = machines.tell(where, f"{run} /bin/sh -c {shlex.quote(READ_IT_ALL)}")
    assert len(wanted.split()[0]) == 32
    job = f"touch {ready}; until test -e {go}; do sleep 0.2; done; {READ_IT_ALL}"
    machines.tell(where, f"{run} /bin/sh -c {shlex.quote(job)} > {said} 2>&1 < /dev/null &")
    wait_until(lambda: machines.run(NODE, f"test -e {ready}").exit_code == 0)

    deploy(tool, machines, sif("newer"))
    shown = tool("gc", "--keep", "0", "--grace", "0").check().stdout
    assert re.search(rf"^! {NODE}: 1 object kept, [\d.]+ MB: in use$", shown, re.MULTILINE), shown
    assert have(machines, old) == [NODE]

    machines.tell(NODE, f"touch {go}")
    wait_until(lambda: machines.tell(where, f"cat {said}") == wanted)

    def is_freed() -> bool:
        tool("gc", "--keep", "0", "--grace", "0").check()
        return have(machines, old) == []

    wait_until(is_freed)  # what serves the image ends a moment after the job
    tool("status").check()
    machines.everywhere(f"rm -f {ready} {go} {said}")


def test_dry_run_changes_nothing_and_files_by_hand_are_left(tool: Cli, machines: Machines, sif: Sifs) -> None:
    old = deploy(tool, machines, sif("dry-one", 2000))
    deploy(tool, machines, sif("dry-two", 2000))
    machines.tell(NODE, f"echo mine > {REGISTRY}/ml-frameworks/mine.sif; touch {STAGING}/.left-over")
    before = machines.trees()
    shown = tool("gc", "-n", "--keep", "0", "--grace", "0").check().stdout
    assert "would be freed" in shown
    assert f"! {NODE}: not in the catalog, left alone: ml-frameworks/mine.sif" in shown
    assert machines.trees() == before
    tool("gc", "--keep", "0").check()
    assert have(machines, old) == list(machines.state.machines), "within the grace period"
    tool("gc", "--keep", "0", "--grace", "0").check()
    assert have(machines, old) == []
    assert machines.tell(NODE, f"cat {REGISTRY}/ml-frameworks/mine.sif; ls -A {STAGING}") == "mine\n"
    machines.tell(NODE, f"rm {REGISTRY}/ml-frameworks/mine.sif")
    tool("status").check()


def test_gc_by_hand_on_the_controller(machines: Machines, tool: Cli, sif: Sifs) -> None:
    deploy(tool, machines, sif("by-hand"))
    program = "python3 /usr/local/lib/hpcregistry/controller.pyz"
    assert "would be freed" in machines.tell(CONTROLLER, f"{program} gc --dry-run")
    assert "SUCCESS: sync finished" in machines.tell(CONTROLLER, f"{program} rollback {NAME}")
