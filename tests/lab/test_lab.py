"""The lab itself: found again, started afresh, side by side with another, gone without a trace. One node each."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator

import pytest

from pytest_hpcregistry import lab
from pytest_hpcregistry.config.load import load_cluster
from pytest_hpcregistry.core.errors import UsageError
from pytest_hpcregistry.lab import state
from pytest_hpcregistry.lab.podman import podman
from pytest_hpcregistry.transports import CommandResult
from pytest_hpcregistry.transports.process import run_process

pytestmark = pytest.mark.lab
PREFIX = os.environ.get("HPCREG_TEST_LAB", "tests")
# The second name begins with the first: `down` of one may not take the other's machines.
FIRST, SECOND = f"{PREFIX}-one", f"{PREFIX}-one-2"


def up(name: str, nodes: int = 1) -> tuple[lab.LabState, list[str]]:
    """The lab and what it said while starting."""
    said: list[str] = []
    return lab.up(name, nodes, on_step=lambda text, _: said.append(text)), said


def traces(name: str) -> list[str]:
    """Everything of a lab that is left on this machine."""
    left = podman("ps", "--all", "--format", "{{.Names}}").check().stdout.split()
    left += podman("network", "ls", "--format", "{{.Name}}").check().stdout.split()
    left += podman("volume", "ls", "--format", "{{.Name}}").check().stdout.split()
    own = [found for found in left if found.startswith(f"hpcregistry-{name}")]
    return own + [str(path) for path in state.state_directory(name).parent.glob(f"{name}*")]


def ids(made: lab.LabState) -> str:
    return podman("inspect", "--format", "{{.Id}}", *map(made.container, made.machines)).check().stdout


def on(name: str, machine: str, script: str) -> CommandResult:
    return run_process(machine, [*lab.ssh_argv(name, machine), script], timeout=60)


@pytest.fixture(scope="module")
def first() -> Iterator[lab.LabState]:
    lab.down(SECOND)
    lab.down(FIRST)
    yield up(FIRST)[0]
    lab.down(FIRST)
    assert traces(FIRST) == []


def test_up_finds_it_running(first: lab.LabState) -> None:
    before, began = ids(first), time.monotonic()
    again, said = up(FIRST)
    assert time.monotonic() - began < 10
    assert again == first
    assert said == ["found the lab running, every node ready"]
    assert ids(first) == before
    assert lab.status(FIRST) == first


def test_up_finds_it_running_while_a_job_has_a_whole_node(first: lab.LabState) -> None:
    job = on(FIRST, "alice@hpc-controller", "sbatch --parsable --exclusive --wrap 'sleep 60'").check().stdout.strip()
    try:
        on(FIRST, "hpc-controller", "until sinfo -h -o %t | grep -qx alloc; do sleep 0.2; done").check()
        assert up(FIRST)[0] == first
    finally:
        on(FIRST, "hpc-controller", f"scancel {job}").check()


def test_another_size_is_refused_and_changes_nothing(first: lab.LabState) -> None:
    before = ids(first)
    with pytest.raises(UsageError, match="1 nodes, not 2") as caught:
        up(FIRST, 2)
    assert "lab down" in caught.value.hint
    assert ids(first) == before


def test_its_cluster_file_is_an_ordinary_one(first: lab.LabState) -> None:
    cluster = load_cluster(first.cluster_file, environ={})
    assert cluster.nodes is None
    assert cluster.slurm.run_as == "alice"


def test_every_user_is_who_a_real_site_has(first: lab.LabState) -> None:
    assert on(FIRST, "admin@hpc-controller", "sudo -n id -u").check().stdout == "0\n"
    assert on(FIRST, "admin@c001", "sudo -n id -u").check().stdout == "0\n"
    assert on(FIRST, "alice@hpc-controller", "sudo -n id -u").exit_code != 0
    where = "echo mine > ~/file; id -u; srun sh -c 'id -u; cat ~/file'"
    assert on(FIRST, "alice@hpc-controller", where).check().stdout == "2001\n2001\nmine\n"
    assert on(FIRST, "hpc-controller", "ssh -o BatchMode=yes c001 hostname").check().stdout == "c001\n"
    assert on(FIRST, "alice@hpc-controller", "ssh -o BatchMode=yes root@c001 hostname").exit_code != 0


def test_no_password_opens_it(first: lab.LabState) -> None:
    offered = on(FIRST, "hpc-controller", "sshd -T").check().stdout.splitlines()
    assert {"passwordauthentication no", "kbdinteractiveauthentication no", "permitrootlogin without-password"} <= set(
        offered
    )


def test_logins_can_be_counted(first: lab.LabState) -> None:
    count = "grep -c '^Accepted ' /var/log/sshd.log"
    before = int(podman("exec", first.container("c001"), "sh", "-c", count).stdout)
    on(FIRST, "c001", "true").check()
    assert int(podman("exec", first.container("c001"), "sh", "-c", count).stdout) == before + 1


def test_a_job_of_a_real_cluster_is_scheduled(first: lab.LabState) -> None:
    wanted = "--nodes=1 --ntasks-per-node=4 --cpus-per-task=2 --gres=gpu:4 --mem=16G"
    told = on(FIRST, "alice@hpc-controller", f"srun {wanted} printenv CUDA_VISIBLE_DEVICES").check().stdout
    assert told.splitlines() == ["0,1,2,3"] * 4


def test_a_fresh_machine_knows_no_registry(first: lab.LabState) -> None:
    script = "ls -d /opt/containers /etc/slurm/oci.conf /usr/local/lib/hpcregistry /usr/local/bin/registry* 2>/dev/null"
    for machine in first.machines:
        assert on(FIRST, machine, script).stdout == ""


def test_a_restarted_machine_is_the_same_one_again(first: lab.LabState) -> None:
    """With its daemons, and its address: slurmctld would go on asking at the old one until it calls the node down."""

    def addresses() -> str:
        field = "{{range .NetworkSettings.Networks}}{{.IPAddress}} {{end}}"
        return podman("inspect", "--format", field, *map(first.container, first.machines)).check().stdout

    before = addresses()
    for machine in reversed(first.machines):
        podman("restart", "--time", "0", first.container(machine)).check()
    assert addresses() == before
    # Not by ssh: sshd is one of the daemons. A job that ended just before slurmctld was killed still runs, for Slurm.
    runs = "until scancel --state=RUNNING; timeout 5 srun -w c001 true; do sleep 0.5; done"
    podman("exec", first.container("hpc-controller"), "timeout", "60", "sh", "-c", runs).check()
    assert on(FIRST, "c001", "hostname").check().stdout == "c001\n"


def test_a_limited_link_is_that_slow_in_both_directions_until_the_limit_is_lifted(first: lab.LabState) -> None:
    """The only test that compares a time: being slow is what a limit is for. This machine's own end has no limit.

    A busy machine makes a transfer slower and never faster: what must be fast enough is tried again.
    """

    def rate(script: str, payload: bytes) -> float:
        """Mbit/s of a plain transfer to or from the controller, with the login in its time."""
        argv = [*lab.ssh_argv(FIRST, "hpc-controller"), script]
        return 4 * 8.388608 / run_process("controller", argv, stdin=payload, timeout=60).check().seconds

    def slower_and_faster() -> list[float]:
        return sorted([rate("cat > /dev/null", bytes(4 << 20)), rate("head -c 4M /dev/zero", b"")])

    def assert_limited() -> None:
        tries: list[list[float]] = []
        while not tries or (tries[-1][0] < 10 and len(tries) < 5):
            tries.append(slower_and_faster())
        assert all(faster < 20 for _, faster in tries), tries
        assert tries[-1][0] > 10, tries

    assert lab.up(FIRST, 1, on_step=lambda *_: None, link_mbit=20).link_mbit == 20
    assert_limited()
    podman("restart", "--time", "0", first.container("hpc-controller")).check()
    made, said = up(FIRST)  # a machine that was started again has a new link
    assert made.link_mbit == 20
    assert "limited every link to 20 Mbit/s" in said
    assert_limited()
    assert lab.up(FIRST, 1, on_step=lambda *_: None, link_mbit=0).link_mbit == 0
    assert any(slower_and_faster()[0] > 20 for _ in range(5))


def test_two_labs_side_by_side(first: lab.LabState) -> None:
    second, _ = up(SECOND)
    try:
        for made in (first, second):
            assert on(made.name, "hpc-controller", "srun hostname").check().stdout == "c001\n"
        told = [on(made.name, "c001", "scontrol show config | grep ^ClusterName").stdout for made in (first, second)]
        assert told[0] != told[1]
    finally:
        lab.down(FIRST)
        still = up(SECOND)
        lab.down(SECOND)
    assert traces(FIRST) == []
    assert still == (second, ["found the lab running, every node ready"])
    assert up(FIRST)[0].nodes == ("c001",)


def test_a_lab_that_died_is_started_afresh(first: lab.LabState) -> None:
    """As after a reboot, which leaves the containers behind, ended, and the files."""
    before = ids(first)
    podman("kill", *map(first.container, first.machines)).check()
    with pytest.raises(UsageError, match="no running lab"):
        lab.status(FIRST)
    again, said = up(FIRST)
    assert said[0] == "removed what was left of a lab that no longer runs"
    assert ids(again) != before
    assert on(FIRST, "hpc-controller", "srun hostname").check().stdout == "c001\n"


def test_a_lab_whose_containers_are_gone_is_started_afresh(first: lab.LabState) -> None:
    podman("rm", "--force", "--time", "0", *map(first.container, first.machines)).check()
    assert up(FIRST)[1][0] == "removed what was left of a lab that no longer runs"


def test_an_up_that_was_killed_is_in_nobodys_way(first: lab.LabState) -> None:
    (first.directory / "lab.json").unlink()  # it is written last
    assert up(FIRST)[0].nodes == ("c001",)
    assert on(FIRST, "hpc-controller", "srun hostname").check().stdout == "c001\n"


def test_down_leaves_nothing_behind_and_can_be_said_twice(first: lab.LabState) -> None:
    assert traces(FIRST) != []
    lab.down(FIRST)
    assert traces(FIRST) == []
    lab.down(FIRST)
    up(FIRST)
