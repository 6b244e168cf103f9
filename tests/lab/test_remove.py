"""An image that is removed and restored, dry runs, and in the end phase 1 taken back: on a real cluster, as typed."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import pytest

from pytest_hpcregistry.lab.podman import podman

from .conftest import Cli
from .machines import CONTROLLER, OBJECTS, REGISTRY, Machines, refused

pytestmark = pytest.mark.lab
Sifs = Callable[..., Path]
NAME = "ml-frameworks/gone.sif"
ALICE = "alice@hpc-controller"
LEFT = (
    "ls /usr/local/lib/hpcregistry /usr/local/bin/registry-sync-to-nodes.sh /etc/slurm/oci.conf "
    "/root/.ssh/known_hosts_registry_sync /root/.ssh/id_rsa_registry_sync /etc/logrotate.d/container-registry "
    f"{REGISTRY}/.registry/peers {REGISTRY}/.registry/config.yaml 2>/dev/null; "
    "grep hpcregistry-sync /root/.ssh/authorized_keys || true"
)


@pytest.fixture
def image(tool: Cli, machines: Machines, sif: Sifs) -> str:
    """An image that every machine has; returns its digest."""
    tool("deploy", "single", "-s", sif("gone")).check()
    return machines.digest(CONTROLLER, NAME)


def names(machines: Machines) -> set[str]:
    return set(machines.everywhere(f"ls {REGISTRY}/ml-frameworks").values())


def test_dry_runs_change_nothing_on_any_machine(tool: Cli, machines: Machines, image: str, sif: Sifs) -> None:
    tool("deploy", "single", "-s", newer := sif("gone")).check()
    machines.tell("c003", f"rm {REGISTRY}/{NAME} {OBJECTS}/*")
    before = machines.trees()
    log = machines.tell(CONTROLLER, "cat /var/log/container-registry-sync.log")
    planned = tool("sync", "--dry-run").check().stdout
    assert f"  c003: would get {NAME} (" in planned
    assert " kB by " in planned
    assert "✓ c[001-002]: nothing to send" in planned
    assert f"c[001-002]: would get {NAME} (its bytes are there)" in tool("rollback", NAME, "-n").check().stdout
    assert f"c[001-002]: would lose the name {NAME}" in tool("catalog", "remove", NAME, "-n").check().stdout
    assert "sending 0 B" in tool("deploy", "single", "-s", "-n", newer).check().stdout
    assert machines.trees() == before
    assert machines.tell(CONTROLLER, "cat /var/log/container-registry-sync.log") == log
    tool("sync").check()
    tool("catalog", "remove", NAME).check()
    before = machines.trees()
    assert f"c[001-003]: would get {NAME}" in tool("catalog", "restore", NAME, "-n").check().stdout
    assert machines.trees() == before
    tool("catalog", "restore", NAME).check()


def test_a_removed_image_leaves_a_node_that_was_away_later(tool: Cli, machines: Machines, image: str) -> None:
    away = machines.state.container("c003")
    podman("pause", away).check()
    try:
        refused(tool("catalog", "remove", NAME), 3, "c003", f"✓ c001: {NAME} removed", f"✓ c002: {NAME} removed")
    finally:
        podman("unpause", away).check()
    refused(tool("status"), 1, "removed c003", "hint: hpc-container-manager sync")
    refused(tool("verify"), 1, f"c003: {NAME} removed from the catalog, and its name is still there")
    tool("gc", "--keep", "0", "--grace", "0").check()
    assert f"c003: {NAME} removed" in tool("sync").check().stdout
    assert names(machines) == {""}
    assert image in machines.tell("c003", f"ls {OBJECTS}"), "gc keeps the bytes"
    tool("catalog", "restore", NAME).check()
    assert machines.digests(NAME) == {image}
    tool("verify").check()
    tool("catalog", "remove", NAME, "--after", "0s").check()
    tool("gc", "--grace", "0").check()
    assert image not in machines.tell("c003", f"ls {OBJECTS}")
    refused(tool("catalog", "restore", NAME), 2, "its bytes are gone", "freed by the gc of")
    told = tool("history", "--since", "1h").check().stdout
    assert "remove" in told
    assert "restore" in told


def test_a_job_keeps_running_from_an_image_that_is_removed(
    cli: Cli, machines: Machines, on: Cli, deployed: str
) -> None:
    path = f"{REGISTRY}/{deployed}"
    script = f"sbatch --parsable -w c001 --container={path} --wrap 'sleep 20; echo it is still here' -o job.out"
    job = on(ALICE, script).check().stdout.strip()
    deadline = time.monotonic() + 60
    while "R" not in on(ALICE, f"squeue -h -j {job} -o %t").stdout and time.monotonic() < deadline:
        time.sleep(0.5)
    time.sleep(3)  # until the image is mounted
    said = cli("catalog", "remove", deployed).check().stdout
    # The number of the job is known where the process that has the image open, or a parent of it, gives it.
    uses = (f"job {job} (alice) runs from it", "alice has it open")
    assert any(f"! {deployed}: {use} on c001; it keeps its bytes" in said for use in uses), said
    cli("gc", "--keep", "0", "--grace", "0").check()
    while on(ALICE, f"squeue -h -j {job}").stdout.strip() and time.monotonic() < deadline + 60:
        time.sleep(1)
    assert "it is still here" in on(ALICE, "cat job.out").stdout
    cli("catalog", "restore", deployed).check()
    cli("verify", deployed).check()


def test_phase_1_is_taken_back_and_set_up_again(cli: Cli, machines: Machines) -> None:
    before = machines.everywhere(LEFT)
    assert all("hpcregistry" in text for text in before.values())
    cli("registry", "remove", "--check", "--diff").check()
    assert machines.everywhere(LEFT) == before
    images = machines.everywhere(f"find {REGISTRY}/ml-frameworks {OBJECTS} -type f | sort")
    cli("registry", "remove").check()
    assert set(machines.everywhere(LEFT).values()) == {""}
    assert machines.everywhere(f"find {REGISTRY}/ml-frameworks {OBJECTS} -type f | sort") == images
    assert "changed=0" in (again := cli("registry", "remove").check().stdout)
    assert again.count("changed=0") == len(machines.state.machines)
    assert "registry-remove" in machines.tell(CONTROLLER, f"cat {REGISTRY}/.registry/history.jsonl")
    refused(cli("sync"), 2, "phase 1 of version", "hint: hpc-container-manager registry setup")
    cli("registry", "setup").check()
    cli("sync").check()
