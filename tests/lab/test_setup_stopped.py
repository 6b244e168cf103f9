"""A run of phase 1 that is stopped at any task leaves a cluster that syncs: what works is taken away last."""

from __future__ import annotations

import contextlib
import json
import os
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from pytest_hpcregistry import lab
from pytest_hpcregistry.core import documents
from pytest_hpcregistry.core.settings import read
from pytest_hpcregistry.transports import CommandResult
from pytest_hpcregistry.transports.process import run_process
from tests.fakes.settings import earlier_text

from .conftest import NAME as SESSION
from .machines import CONFIG, CONTROLLER, LAUNCHER, OBJECTS, REGISTRY, Machines, edit_cluster

pytestmark = pytest.mark.lab
NAME = f"stopped-{SESSION}"
HERE = Path(__file__).parent
AUTHORIZED = "/root/.ssh/authorized_keys"
IMAGE = "ml-frameworks/moved.sif"
OLD_KEY, NEW_KEY = "/root/.ssh/id_rsa_registry_sync", "/etc/hpc-key/sync"
PROGRAM = str(Path(sys.executable).parent / "hpc-container-manager")
Setup = Callable[..., CommandResult]


@pytest.fixture(scope="module")
def state() -> Iterator[lab.LabState]:
    """A lab that was set up by an older version: its line of the key has neither from= nor -I, there are no peers, and
    config.yaml has the words of then."""
    lab.down(NAME)
    state = lab.up(NAME, 2, on_step=lambda *_: None)
    run_process("workstation", setup_argv(state.cluster_file), timeout=600).check()
    machines = Machines(state)
    for node in state.nodes:
        machines.tell(node, f'sed -i -E \'s/from="[^"]*",//; s/python3 -I/python3/\' {AUTHORIZED}')
        assert 'restrict,command="/usr/bin/python3 /usr' in machines.tell(node, f"cat {AUTHORIZED}")
    settings = read(documents.parse(machines.tell(CONTROLLER, f"cat {CONFIG}"), CONFIG))
    text = "".join(line for line in earlier_text(settings).splitlines(keepends=True) if "key_from" not in line)
    machines.everywhere(f"rm {REGISTRY}/.registry/peers && printf %s {shlex.quote(text)} > {CONFIG}")
    yield state
    lab.down(NAME)


@pytest.fixture(scope="module")
def machines(state: lab.LabState) -> Machines:
    return Machines(state)


@pytest.fixture(scope="module")
def image(state: lab.LabState, sif: Callable[..., Path]) -> str:
    argv = ["env", f"HPC_CLUSTER={state.cluster_file}", PROGRAM, "deploy", "single", "-s", str(sif("moved"))]
    run_process("workstation", argv, timeout=100).check()
    return IMAGE


def setup_argv(cluster: Path, *environment: str) -> list[str]:
    return ["env", f"HPC_CLUSTER={cluster}", *environment, PROGRAM, "registry", "setup"]


def sync_argv(state: lab.LabState) -> list[str]:
    """Take the image away from a node, sync on the controller, and see that the node has it again."""
    on_node, on_controller = (f"podman exec {state.container(machine)}" for machine in ("c001", CONTROLLER))
    script = f"{on_node} sh -c 'rm -f {REGISTRY}/{IMAGE} {OBJECTS}/*'"
    return ["sh", "-c", f"{script} && {on_controller} {LAUNCHER} && {on_node} test -s {REGISTRY}/{IMAGE}"]


@pytest.fixture
def watched(state: lab.LabState, image: str, tmp_path: Path) -> Callable[..., list[tuple[str, int, str]]]:
    """Run phase 1 with a cluster file, with a sync before each task: [(task, exit code, what it said)]."""

    def run(cluster: Path) -> list[tuple[str, int, str]]:
        record = tmp_path / "record"
        environment = [
            f"ANSIBLE_CALLBACK_PLUGINS={HERE}",
            "ANSIBLE_CALLBACKS_ENABLED=sync_at_each_task",
            f"BEFORE_EACH_TASK={json.dumps(sync_argv(state))}",
            f"WRITE_TO={record}",
        ]
        run_process("workstation", setup_argv(cluster, *environment), timeout=1500).check()
        return [tuple(json.loads(line)) for line in record.read_text().splitlines()]

    return run


def family(pid: int) -> list[int]:
    """A process, its children and theirs."""
    found = [pid]
    for task in Path(f"/proc/{pid}/task").glob("*/children"):
        found += [one for child in task.read_text().split() for one in family(int(child))]
    return found


def check(found: list[tuple[str, int, str]]) -> None:
    assert len(found) > 25
    assert found[-1][0] == "the end"
    assert [(task, said) for task, exit_code, said in found if exit_code != 0] == []
    assert any("Remove other lines of the sync key" in task for task, _, _ in found)


def test_what_an_older_version_set_up_works_at_each_task(
    state: lab.LabState, machines: Machines, watched: Callable[..., list[tuple[str, int, str]]]
) -> None:
    check(watched(state.cluster_file))
    for node in state.nodes:
        assert machines.tell(node, f"cat {CONFIG}") == machines.tell(CONTROLLER, f"cat {CONFIG}")
        (line,) = machines.tell(node, f"cat {AUTHORIZED} | grep hpcregistry-sync").splitlines()
        assert line.startswith('restrict,from="')


def test_another_key_in_a_directory_of_others_works_at_each_task(
    state: lab.LabState, machines: Machines, watched: Callable[..., list[tuple[str, int, str]]], tmp_path: Path
) -> None:
    """The old key's line goes once the new one has been tried; the directory was there, and stays as it is."""
    machines.tell(CONTROLLER, "mkdir -m 0711 /etc/hpc-key")
    old = machines.tell(CONTROLLER, f"cut -d ' ' -f 2 {OLD_KEY}.pub").strip()
    other = {"key": NEW_KEY, "key_from": "any", "window": "2"}
    check(watched(edit_cluster(state.cluster_file, tmp_path / "cluster.yaml", sync=other)))
    new = machines.tell(CONTROLLER, f"cut -d ' ' -f 2 {NEW_KEY}.pub").strip()
    assert machines.tell(CONTROLLER, "stat -c %a /etc/hpc-key /etc").split() == ["711", "755"]
    for node in state.nodes:
        keys = machines.tell(node, f"cat {AUTHORIZED}")
        assert (old in keys, new in keys, "from=" in keys) == (False, True, False)


def test_a_run_that_was_killed_leaves_a_cluster_that_syncs(state: lab.LabState, machines: Machines, image: str) -> None:
    """Back to the first key. SIGKILL to the run and all that it has started, as soon as a node has two lines."""
    run = subprocess.Popen(setup_argv(state.cluster_file), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        lines = f"grep -c hpcregistry-sync {AUTHORIZED}"
        deadline = time.monotonic() + 500
        while machines.tell("c001", lines) != "2\n":
            assert time.monotonic() < deadline
            assert run.poll() is None
            time.sleep(0.1)
    finally:
        for pid in family(run.pid):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        run.wait()
    assert machines.tell("c001", lines) == "2\n"
    run_process("workstation", sync_argv(state), timeout=100).check()
    run_process("workstation", setup_argv(state.cluster_file), timeout=600).check()
    assert machines.tell("c001", lines) == "1\n"
    run_process("workstation", sync_argv(state), timeout=100).check()
