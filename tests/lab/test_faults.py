"""Machines that fail as on real clusters, made to: what is said, the exit code, and what became of the others."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import pytest

from pytest_hpcregistry import lab
from pytest_hpcregistry.core import documents

from .conftest import Cli
from .machines import CONTROLLER, REGISTRY, TREE, Machines, refused

pytestmark = pytest.mark.lab
AGENT = "/usr/local/lib/hpcregistry/agent.pyz"
FIRST, FAULTY, LAST = "c001", "c002", "c003"
HEALTHY = (FIRST, LAST)
Sifs = Callable[..., Path]
Fault = Callable[[Machines], AbstractContextManager[None]]


# --- the controller ----------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def other_key(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("key") / "id_ed25519"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", path], check=True, timeout=30)
    return path


def known_hosts(address: str, public_key: str, directory: Path) -> str:
    path = directory / "known_hosts"
    path.write_text(f"{address} {public_key}\n" if public_key else "")
    return str(path)


@pytest.mark.usefixtures("untouched")
def test_controller_that_cannot_be_asked(
    tool: Cli, edited: Callable[..., Path], sif: Sifs, other_key: Path, tmp_path: Path,
    set_up_lab: lab.LabState,
) -> None:  # fmt: skip
    data = documents.load(set_up_lab.cluster_file.read_text(), "cluster.yaml")
    assert isinstance(data, dict)
    address, changed = data["controller"]["host"], tmp_path / "changed"
    changed.mkdir()
    other = " ".join(other_key.with_suffix(".pub").read_text().split()[:2])
    faults = {
        "name is not known": edited(controller={"host": "no-such-host.invalid"}),
        "connection refused": edited(controller={"port": "1"}, ssh={"known_hosts": known_hosts("x", "", tmp_path)}),
        "login refused": edited(controller={"key": str(other_key)}),
        "host key changed": edited(ssh={"known_hosts": known_hosts(address, other, changed)}),
        "host key is not known": edited(ssh={"known_hosts": known_hosts("x", "", tmp_path)}),
    }
    image = sif("never")
    for reason, cluster in faults.items():
        for words in (["status"], ["deploy", "single", "-s", image]):
            result = tool(*words, cluster=cluster)
            refused(result, 3, f"hpc-controller: {reason}", "hint: ")
            assert result.seconds < 20


# --- one node ----------------------------------------------------------------------------------------------------


@contextmanager
def new_host_key(machines: Machines) -> Iterator[None]:
    key, reload = "/etc/ssh/ssh_host_ed25519_key", "kill -HUP $(cat /run/sshd.pid)"
    machines.tell(
        FAULTY,
        f"mv {key} {key}.old && mv {key}.pub {key}.pub.old && ssh-keygen -q -t ed25519 -N '' -f {key} && {reload}",
    )
    yield
    machines.tell(FAULTY, f"mv {key}.old {key} && mv {key}.pub.old {key}.pub && {reload}")


@contextmanager
def no_sshd(machines: Machines) -> Iterator[None]:
    machines.tell(FAULTY, "kill $(cat /run/sshd.pid)")
    yield
    machines.tell(FAULTY, "/usr/sbin/sshd -E /var/log/sshd.log")


@contextmanager
def stopped_sshd(machines: Machines) -> Iterator[None]:
    """The kernel takes the connection and nobody ever speaks."""
    machines.tell(FAULTY, "kill -STOP $(cat /run/sshd.pid)")
    yield
    machines.tell(FAULTY, "kill -CONT $(cat /run/sshd.pid)")


@contextmanager
def dropped_packets(machines: Machines) -> Iterator[None]:
    address = machines.tell(CONTROLLER, "hostname -i").split()[0]
    machines.tell(FAULTY, f"ip route add blackhole {address}/32")
    yield
    machines.tell(FAULTY, f"ip route del blackhole {address}/32")


FREEZE = "import os, signal, time; os.kill(os.getppid(), signal.SIGSTOP); time.sleep(30)"


@contextmanager
def frozen_session(machines: Machines) -> Iterator[None]:
    """The login succeeds, then the session's sshd stands still."""
    machines.tell(FAULTY, f"cp -p {AGENT} {AGENT}.kept && echo '{FREEZE}' > {AGENT}")
    yield
    machines.tell(FAULTY, f"mv {AGENT}.kept {AGENT}; pkill -CONT sshd || :")


NODE_FAULTS: dict[Fault, str] = {
    new_host_key: "host key changed",
    no_sshd: "connection refused",
    stopped_sshd: "no answer in time",
    dropped_packets: "no answer in time",
    frozen_session: "no answer in time",
}


@pytest.mark.parametrize("fault", NODE_FAULTS, ids=lambda fault: fault.__name__)
def test_node_that_cannot_be_asked_is_named_and_the_others_finish(
    fault: Fault,
    tool: Cli,
    machines: Machines,
    sif: Sifs,
    kept: str,
) -> None:
    title = str(getattr(fault, "__name__", "fault"))
    name = f"ml-frameworks/{title}.sif"
    with fault(machines):
        before = machines.tell(FAULTY, TREE)
        result = tool("deploy", "single", "-s", sif(title))
        refused(result, 3, f"{FAULTY}: {NODE_FAULTS[fault]}", "hint: ", "c001: synced", "c003: synced")
        assert result.seconds < 20
        if fault is no_sshd:
            shown = tool("status")
            assert f"unreachable {FAULTY}: {NODE_FAULTS[fault]}" in shown.stdout
            assert shown.exit_code == 3
        assert machines.tell(FAULTY, TREE) == before
    assert len({machines.digest(machine, name) for machine in (CONTROLLER, *HEALTHY)}) == 1


def test_one_sync_brings_it_all_once_the_node_is_back(tool: Cli, machines: Machines, kept: str) -> None:
    tool("sync").check()
    tool("verify").check()


# --- a full disk -------------------------------------------------------------------------------------------------

TEMPORARY = "/var/tmp/registry"  # noqa: S108 - in the container


@contextmanager
def small_disk(machines: Machines, megabytes: int) -> Iterator[None]:
    """The whole tree on a small file system of its own, as on a node whose disk is nearly full."""
    small = f"mount -t tmpfs -o size={megabytes}m,mode=0755 tmpfs {REGISTRY}"
    copy = f"cp -a {REGISTRY} {TEMPORARY} && {small} && cp -a {TEMPORARY}/. {REGISTRY}/ && rm -rf {TEMPORARY}"
    try:
        machines.tell(FAULTY, copy)
        yield
    finally:
        machines.tell(FAULTY, f"umount {REGISTRY}; rm -rf {TEMPORARY}")


def test_no_room_on_a_node_is_said_before_a_byte_is_sent(tool: Cli, machines: Machines, sif: Sifs, kept: str) -> None:
    with small_disk(machines, 60):
        before = machines.tell(FAULTY, TREE)
        result = tool("deploy", "single", "-s", sif("roomless", 1024))
        refused(
            result, 4, f"{FAULTY}: ", "MB and a reserve of 67 MB needed, ", "MB free", "c001: synced", "c003: synced"
        )
        assert machines.tell(FAULTY, TREE) == before
    tool("sync").check()
    assert len(machines.digests("ml-frameworks/roomless.sif")) == 1


# Somebody else fills the disk between the look and the transfer: what is left is less than the image.
FILL = f"""(cd {REGISTRY} && dd if=/dev/zero of=filler bs=1M 2>/dev/null; truncate -s -2M filler)
exec /usr/bin/rsync.real "$@\""""


def test_disk_that_fills_up_in_the_middle_leaves_the_old_image_and_no_debris(
    tool: Cli, machines: Machines, sif: Sifs, kept: str, tmp_path: Path
) -> None:
    old = machines.digest(FAULTY, kept)
    new = sif("kept", 8192, tmp_path)
    with small_disk(machines, 160):
        before = machines.tell(FAULTY, TREE)
        with machines.in_front_of(FAULTY, "/usr/bin/rsync", FILL):
            result = tool("deploy", "single", "-s", new)
        refused(result, 4, f"{FAULTY}: cannot write there (disk full", "c001: synced", "c003: synced")
        assert machines.digest(FAULTY, kept) == old
        machines.tell(FAULTY, f"rm {REGISTRY}/filler")
        assert machines.tell(FAULTY, TREE) == before
    tool("sync").check()
    assert len(machines.digests(kept)) == 1


UNTIL_IDLE = 'for n in $(seq 90); do [ "$(sinfo -h -o %t | sort -u)" = idle ] && exit; sleep 0.5; done; exit 1'


# --- programs that are not there -----------------------------------------------------------------------------------


@pytest.mark.usefixtures("untouched")
def test_slurm_that_does_not_answer_is_said_and_nothing_is_known(tool: Cli, machines: Machines, tmp_path: Path) -> None:
    commands = [["status"], ["sync"], ["verify"], ["test", "--phase", "infrastructure", "--reports", tmp_path]]
    machines.tell(CONTROLLER, "kill $(pidof slurmctld)")
    try:
        with ThreadPoolExecutor() as pool:  # sinfo itself waits for 10 s
            for result in pool.map(lambda words: tool(*words), commands):
                refused(result, 3, "Slurm does not say which nodes there are", "hint: is slurmctld running?")
    finally:
        machines.tell(CONTROLLER, f"runuser -u slurm -- /usr/sbin/slurmctld; {UNTIL_IDLE}")


def test_node_without_apptainer_is_named_by_the_suite(tool: Cli, machines: Machines, kept: str, tmp_path: Path) -> None:
    machines.tell(FAULTY, "mv /usr/bin/apptainer /usr/bin/apptainer.away")
    try:
        result = tool("test", "--phase", "infrastructure", "--reports", tmp_path)
    finally:
        machines.tell(FAULTY, "mv /usr/bin/apptainer.away /usr/bin/apptainer")
    failed = [line for line in result.stdout.splitlines() if line.startswith(("FAILED", "ERROR"))]
    assert len(failed) == 1, result.stdout
    assert "test_programs_are_installed[c002]" in failed[0]
    assert "c002: apptainer: is not installed" in result.stdout
    refused(result, 1, "phase infrastructure: 1 test failed")


@pytest.mark.skipif(bool(shutil.which("apptainer")), reason="this machine has Apptainer")
def test_nobody_has_apptainer_to_convert_with(tool: Cli, machines: Machines, edited: Sifs, tmp_path: Path) -> None:
    archive, out = tmp_path / "image.tar", tmp_path / "out" / "image.sif"
    archive.write_bytes(bytes(10240))
    machines.tell(CONTROLLER, "mv /usr/bin/apptainer /usr/bin/apptainer.away")
    try:
        result = tool("convert", "to-apptainer", f"docker-archive:{archive}", out)
    finally:
        machines.tell(CONTROLLER, "mv /usr/bin/apptainer.away /usr/bin/apptainer")
    refused(result, 2, "Apptainer is needed to build a SIF", "hint: install the package apptainer")
    assert not out.parent.exists()
