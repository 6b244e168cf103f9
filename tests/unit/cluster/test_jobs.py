"""Jobs: the words that srun and sbatch are given, and that waiting ends."""

from __future__ import annotations

import pwd
import subprocess
from pathlib import Path
from typing import Any

import pytest

from pytest_hpcregistry.cluster import jobs as module
from pytest_hpcregistry.cluster.client import ControllerClient
from pytest_hpcregistry.cluster.jobs import BatchJob, FinishedJob, Slurm, go_home
from pytest_hpcregistry.core.errors import CommandFailed, CommandTimeout, Unreachable
from pytest_hpcregistry.core.model import Cluster, Controller
from pytest_hpcregistry.core.model import Slurm as Settings
from pytest_hpcregistry.core.nodeset import Choice, expand
from pytest_hpcregistry.transports import Command, CommandResult, Transport


class FakeCluster(Transport):
    """slurmctld in a few lines: a job goes through *states*, one for each question, and stays in the last."""

    def __init__(self, *states: str, code: int = 0) -> None:
        self.states = list(states or ("PENDING", "RUNNING", "COMPLETED"))
        self.code = code
        self.asked: list[list[str]] = []
        self.scripts: list[bytes] = []

    def execute(self, command: Command) -> CommandResult:
        self.asked.append(list(command.argv))
        words = [word for word in command.argv if word in ("sbatch", "srun", "scontrol", "scancel")]
        says = {"sbatch": "17;hpc\n", "srun": "printed\n", "scontrol": "", "scancel": "", "": ""}
        if isinstance(command.stdin, bytes):
            self.scripts.append(command.stdin)
        shown = says[words[0] if words else ""]
        if words[:1] == ["scontrol"]:
            state = self.states.pop(0) if len(self.states) > 1 else self.states[0]
            host = "" if state == "PENDING" else " BatchHost=c1"
            shown = f"JobId=17 JobName=a=b JobState={state} ExitCode=3:0{host} Comment=\n"
        return CommandResult("hpc", tuple(command.argv), self.code, shown, "", 0.0)


@pytest.fixture(autouse=True)
def no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "POLL", 0.001)


def connect(fake: FakeCluster, *, user: str = "root", **settings: Any) -> Slurm:
    cluster = Cluster(controller=Controller(name="hpc", host="h", user=user), slurm=Settings(**settings))
    return Slurm(ControllerClient(cluster, fake))


def test_srun_as_the_login_user() -> None:
    fake = FakeCluster()
    connect(fake).srun("--nodes=1", "sh", "-c", "echo 'a b'")
    (asked,) = fake.asked
    assert asked[:2] == ["srun", "--quiet"]
    assert asked[2].startswith("--job-name=hpcregistry-")
    assert asked[3:] == ["--time=4", "--immediate=120", "--nodes=1", "sh", "-c", "echo 'a b'"]


@pytest.mark.parametrize(("user", "before"), [("root", []), ("me", ["sudo", "-n"])])
def test_srun_as_the_job_user_in_its_home(user: str, before: list[str]) -> None:
    fake = FakeCluster()
    connect(fake, user=user, run_as="alice", partition="gpu").srun("true")
    become = ["runuser", "-u", "alice", "--", *go_home("alice")]
    (asked,) = fake.asked
    start = [*before, *become, "srun", "--quiet"]
    assert asked[: len(start)] == start
    assert asked[len(start) + 1 :] == ["--time=4", "--immediate=120", "--partition", "gpu", "true"]


def test_the_home_is_where_the_controller_says_it_is() -> None:
    """Not /home/NAME: the shell that the words end with looks it up there. Here with a user who is on every machine."""
    fake = FakeCluster()
    connect(fake, run_as="root").run(["pwd"])
    shell = fake.asked[0][4:]
    assert (
        subprocess.run(shell, capture_output=True, text=True, check=True).stdout == f"{pwd.getpwnam('root').pw_dir}\n"
    )


def test_sbatch_is_given_the_partition() -> None:
    fake = FakeCluster()
    connect(fake, partition="gpu").submit("#!/bin/sh\n")
    assert fake.asked[0][-2:] == ["--partition", "gpu"]


def test_sbatch_waits_and_reads_the_output_on_the_node() -> None:
    fake = FakeCluster("PENDING", "RUNNING", "FAILED")
    finished = connect(fake).sbatch("#!/bin/sh\nexit 3\n")
    assert finished == FinishedJob("FAILED", "3:0", "printed\n")
    assert fake.scripts == [b"#!/bin/sh\nexit 3\n"]
    output = fake.asked[0][-1].removeprefix("--output=")
    assert fake.asked[-1][-2:] == [output, "x"], "the output is removed after it was read"
    assert "--nodelist=c1" in fake.asked[-1]


@pytest.mark.parametrize("state", module.ENDED)
def test_every_end_is_one(state: str) -> None:
    assert connect(FakeCluster("RUNNING", state)).sbatch("x").state == state


def test_each_job_has_an_output_of_its_own() -> None:
    slurm = connect(FakeCluster())
    one, two = slurm.submit("x"), slurm.submit("x")
    assert one.number == "17"
    assert one.output != two.output


def test_a_job_that_does_not_end_is_cancelled() -> None:
    fake = FakeCluster("RUNNING")
    with pytest.raises(CommandTimeout, match=r"hpc: job 17 did not end within 0\.05 s"):
        connect(fake).sbatch("x", timeout=0.05)
    assert fake.asked[-1] == ["scancel", "17"]


def test_what_the_job_prints_can_be_waited_for() -> None:
    slurm = connect(FakeCluster("RUNNING"))
    slurm.wait_for_output(BatchJob("17", "/o"), "printed")
    with pytest.raises(CommandTimeout, match="did not print 'more'"):
        slurm.wait_for_output(BatchJob("17", "/o"), "more", timeout=0.05)


def test_a_pending_job_has_printed_nothing() -> None:
    fake = FakeCluster("PENDING")
    assert connect(fake).read_output(BatchJob("17", "/o")) == ""
    assert len(fake.asked) == 1


def test_sbatch_that_is_refused() -> None:
    with pytest.raises(CommandFailed, match="sbatch"):
        connect(FakeCluster(code=1)).submit("x")


# --- an allocation


class FakeAllocations(Transport):
    """salloc that says *words* and ends with *code*."""

    def __init__(
        self, words: str = "salloc: Granted job allocation 17\nsalloc: Nodes c1 are ready", code: int = 0
    ) -> None:
        self.words, self.code = words, code
        self.asked: list[list[str]] = []

    def execute(self, command: Command) -> CommandResult:
        self.asked.append(list(command.argv))
        code = self.code if "salloc" in command.argv else 0
        return CommandResult("hpc", tuple(command.argv), code, "", self.words, 0.0)

    def connect(self) -> Slurm:
        cluster = Cluster(controller=Controller(name="hpc", host="h"), slurm=Settings(partition="gpu"))
        return Slurm(ControllerClient(cluster, self))


def test_an_allocation_is_given_back() -> None:
    fake = FakeAllocations()
    with pytest.raises(CommandFailed, match="of the steps"), fake.connect().allocation("--nodes=1", seconds=61) as job:
        assert job == "17"
        assert len(fake.asked) == 1
        raise CommandFailed("of the steps")
    first, last = fake.asked
    name = first[4].removeprefix("--job-name=")
    assert first == [
        *["timeout", "120", "salloc", "--no-shell", f"--job-name={name}", "--time=3"],
        *["--partition", "gpu", "--nodes=1"],
    ]
    assert last == ["scancel", f"--name={name}"]


@pytest.mark.parametrize(
    ("words", "code", "says"),
    [
        ("salloc: Pending job allocation 17\nsalloc: error: revoked", 124, "no idle node of partition gpu in 120 s"),
        ("salloc: error: Invalid node name \x1b\nsalloc: nothing", 1, r"salloc: error: Invalid node name \\x1b"),
        ("salloc: no", 1, "salloc: no"),
        ("salloc: Granted job allocation 17", 1, "salloc: Granted job allocation 17"),
        ("", 1, "salloc said nothing"),
        ("", 0, "salloc said nothing"),
    ],
)
def test_without_an_allocation_nothing_is_known(words: str, code: int, says: str) -> None:
    fake = FakeAllocations(words, code)
    with pytest.raises(Unreachable, match=f"^hpc: .*{says}$"):
        fake.connect().allocation(seconds=1).__enter__()
    assert fake.asked[-1][0] == "scancel", "a job that still waits does not stay"


def test_the_same_is_waited_for_once() -> None:
    """Twenty images on a cluster without an idle node are not forty minutes."""
    fake = FakeAllocations("salloc: Pending job allocation 17", 124)
    slurm = fake.connect()
    for words, wait in ((["--nodes=1"], "120"), (["--nodes=1"], "1"), (["--nodes=2"], "120")):
        with pytest.raises(Unreachable, match="no idle node"):
            slurm.allocation(*words, seconds=1).__enter__()
        assert fake.asked[-2][:2] == ["timeout", wait]


class Busy(FakeCluster):
    """srun finds nothing idle, or is interrupted."""

    def __init__(self, stderr: str, error: BaseException | None = None) -> None:
        super().__init__(code=1)
        self.stderr, self.error = stderr, error

    def execute(self, command: Command) -> CommandResult:
        super().execute(command)
        if self.error and "srun" in command.argv:
            raise self.error
        return CommandResult("hpc", tuple(command.argv), 1, "", self.stderr, 0.0)


def test_srun_waits_for_an_idle_node_no_longer_than_it_may_and_once() -> None:
    fake = Busy("srun: error: Unable to allocate resources: Requested nodes are busy\n")
    slurm = connect(fake, max_wait=7)
    for image, wait in (("a", 7), ("b", 1)):
        with pytest.raises(Unreachable, match="hpc: no idle node in 7 s: srun: error"):
            slurm.srun("--nodes=1", f"--container={image}", "true")
        assert f"--immediate={wait}" in fake.asked[-1]
    wrong = connect(Busy("srun: error: Unable to allocate resources: Invalid partition name specified\n"))
    assert wrong.srun("true").exit_code == 1, "which no waiting mends"


@pytest.mark.parametrize("error", [KeyboardInterrupt(), CommandTimeout("x")])
def test_srun_that_does_not_come_to_its_end_is_cancelled(error: BaseException) -> None:
    fake = Busy("", error)
    with pytest.raises(type(error)):
        connect(fake).srun("true")
    name = fake.asked[0][2].removeprefix("--job-name=")
    assert fake.asked[-1] == ["scancel", f"--name={name}"]


def test_a_batch_job_that_does_not_begin_is_cancelled() -> None:
    fake = FakeCluster("PENDING")
    with pytest.raises(Unreachable, match="no idle node in 0 s"):
        connect(fake, max_wait=0).sbatch("x")
    assert fake.asked[-1] == ["scancel", "17"]
    assert {"--time=4"} <= set(fake.asked[0])


def test_a_wait_that_is_interrupted_cancels_the_job(monkeypatch: pytest.MonkeyPatch) -> None:
    fake = FakeCluster("RUNNING")

    def interrupt(seconds: float) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("time.sleep", interrupt)
    with pytest.raises(KeyboardInterrupt):
        connect(fake).sbatch("x")
    assert fake.asked[-1] == ["scancel", "17"]


@pytest.mark.parametrize(
    ("choice", "exclude"), [(Choice(), ""), (Choice(exclude="c2"), "c2"), (Choice(only="c[1,3]"), "c[2,4]")]
)
def test_no_job_goes_to_a_node_that_was_left_out(monkeypatch: pytest.MonkeyPatch, choice: Choice, exclude: str) -> None:
    """`test -x c2`: srun, salloc and sbatch; sinfo knows no such option."""
    every = ["c1", "c2", "c3", "c4"]
    chosen = sorted(expand(choice.only) if choice.only else set(every) - {*expand(choice.exclude)})
    monkeypatch.setattr(ControllerClient, "list_nodes", lambda one: chosen if one.choice == choice else every)
    fake = FakeCluster("RUNNING", "COMPLETED")
    slurm = connect(fake)
    slurm.client.choice = choice
    slurm.srun("true")
    slurm.sbatch("#!/bin/sh\n")
    with pytest.raises(Unreachable):
        slurm.allocate("x", "--nodes=1", seconds=1)
    given = [argv for argv in fake.asked if {"srun", "sbatch", "salloc"} & set(argv)]
    assert len(given) >= 3
    wanted = [f"--exclude={exclude}"] if exclude else []
    assert [[word for word in argv if word.startswith("--exclude")] for argv in given] == [wanted] * len(given)
    assert [word for word in slurm.chosen(["--exclude=c9"]) if "exclude" in word] == [], "who names one knows better"
    assert "exclude" not in str(slurm.partition)


def test_a_step_in_an_image_is_slurms_own_or_by_the_runtime_of_the_node(tmp_path: Path) -> None:
    image, argv = "/opt/x.sif", ["echo", "a b", "$HOME"]
    by_slurm = connect(FakeCluster()).in_image(image, argv, ["--mpi=pmix"])
    assert by_slurm == ["--container=/opt/x.sif", "--mpi=pmix", *argv]
    first, *words = connect(FakeCluster(), container=False).in_image(image, argv, ["--mpi=pmix"])
    assert first == "--mpi=pmix"
    (tmp_path / "singularity").write_text('#!/bin/sh\nprintf "%s|" "$@"\n')  # where a node has only that
    (tmp_path / "singularity").chmod(0o755)
    done = subprocess.run(words, env={"PATH": str(tmp_path)}, capture_output=True, text=True, check=True)
    assert done.stdout == "exec|/opt/x.sif|echo|a b|$HOME|"
