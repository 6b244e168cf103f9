"""An image of the registry is tested where it lies: what Slurm is asked for, and what its answers mean."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest

from pytest_hpcregistry.cluster.client import ControllerClient
from pytest_hpcregistry.cluster.image_checks import check_on
from pytest_hpcregistry.cluster.jobs import go_home
from pytest_hpcregistry.core.catalog import Catalog, Version
from pytest_hpcregistry.core.errors import CheckFailed, CommandTimeout, ConfigError, Unreachable, UsageError
from pytest_hpcregistry.core.events import Event, Happened, Noticed
from pytest_hpcregistry.core.history import Record
from pytest_hpcregistry.core.model import Cluster, Controller, Slurm
from pytest_hpcregistry.core.wire import to_line
from pytest_hpcregistry.images.definitions.checks import LABEL, Check, to_label
from pytest_hpcregistry.images.running.outcomes import Outcome
from pytest_hpcregistry.testing.facts import DIGEST, NAME, REGISTRY
from pytest_hpcregistry.transports import Command, CommandResult, Transport

PRINTS = Check(run=("python3", "-c", "print('a b')"), output="a b", timeout=90)
SMI = Check(run=("nvidia-smi",), gpu=True)
FILES = [f"{REGISTRY}/{NAME}", f"{REGISTRY}/.registry/objects/sha256/{DIGEST}"]
LOOK = ["stat", "--dereference", "--format=%d:%i", *FILES]


class FakeController(Transport):
    """A controller with one image, whose Slurm has one node; *answers* by the first word that a step runs."""

    user: str | None = "alice"

    def __init__(self, *checks: Check, labels: dict[str, str] | None = None, **answers: Any) -> None:
        wanted = {LABEL: to_label(checks)} if labels is None else labels
        version = Version(DIGEST, 10, "2025-10-07T12:00:00Z", "me@x", "amd64", labels=wanted)
        self.catalog = Catalog().with_version(NAME, version, 2).to_text()
        self.answers = {"look": (0, "8:1\n8:1\n", ""), "gpus": "(null)\n", "state": "RUNNING", **answers}
        self.asked: list[list[str]] = []
        self.events: list[Event] = []
        self.noted: list[Any] = []  # by the controller's history, if it can

    def execute(self, command: Command) -> CommandResult:
        argv = list(command.argv)
        if "note" in argv:
            assert isinstance(command.stdin, bytes)
            return self.note(command, json.loads(command.stdin))
        if argv[0] == "runuser":
            assert argv[:8] == ["runuser", "-u", "alice", "--", *go_home("alice")]
            del argv[:8]
        self.asked.append(argv)
        code, out, err = self.answer(argv)
        if command.on_line:
            for line in out.splitlines():
                command.on_line(line)
        return CommandResult("hpc", tuple(argv), code, out, err, 0.5)

    def note(self, command: Command, record: Any) -> CommandResult:
        self.noted.append(record)
        code, out, err = self.answers.get("note", (0, to_line(Happened(Record("0" * 15, "now", "test"))), ""))
        assert command.on_line
        command.on_line(out)
        return CommandResult("hpc", tuple(command.argv), code, "", err, 0.1)

    def answer(self, argv: list[str]) -> tuple[int, str, str]:
        if argv[0] == "head":
            return 0, self.catalog, ""
        if argv[0] == "cat":
            return 0, "", ""
        if "salloc" in argv:
            return 0, "", "salloc: Granted job allocation 17"
        if argv[0] == "sinfo":
            return 0, self.answers["gpus"], ""
        if argv[0] == "scontrol":
            return 0, f"JobId=17 JobState={self.answers['state']} NodeList=c7\n", ""
        if argv[-5:] == LOOK:
            return self.told("look")
        if self.steps([argv]):
            return self.told(re.sub("--(mpi)=.*", r"\1", self.steps([argv])[0][0]))
        return 0, "", ""

    def told(self, word: str) -> tuple[int, str, str]:
        answer = self.answers.get(word, (0, "a b", ""))
        if isinstance(answer, Exception):
            raise answer
        code, out, err = answer
        return code, out, err

    def steps(self, asked: list[list[str]] | None = None) -> list[list[str]]:
        """What was run in the image, by srun or by Apptainer."""
        found = []
        for argv in self.asked if asked is None else asked:
            at = [n for n, word in enumerate(argv) if word.startswith("--container=") or word == f"{REGISTRY}/{NAME}"]
            if at and argv[-5:] != LOOK:
                found.append([word for word in argv[at[-1] + 1 :] if not word.startswith("--gres")])
        return found

    def test(self, where: str = "c1", name: str = NAME, **how: Any) -> Outcome:
        cluster = Cluster(Controller(name="hpc", host="h"), nodes=("c1", "c7"), slurm=Slurm(run_as=self.user))
        return check_on(where, name, ControllerClient(cluster, self), self.events.append, **how)


def test_a_node_that_is_none_is_asked_for_nothing() -> None:
    controller = FakeController(PRINTS)
    with pytest.raises(UsageError, match=r"^c9: no such node in this cluster$") as caught:
        controller.test("c9")
    assert caught.value.hint == "it has c[1,7]"
    assert not [argv for argv in controller.asked if "salloc" in argv]


@pytest.mark.parametrize("user", [None, "root"])
def test_a_label_makes_root_run_nothing_on_a_node(user: str | None) -> None:
    controller = FakeController(PRINTS)
    controller.user = user
    with pytest.raises(UsageError, match="not run on a node by root") as caught:
        controller.test()
    assert "slurm.run_as" in caught.value.hint
    assert not any("salloc" in argv for argv in controller.asked)


def ended(outcome: Outcome) -> list[tuple[str, str]]:
    return [(one.state, one.detail) for one in outcome.ended]


def test_a_job_on_the_node_runs_the_checks_of_the_catalogs_label() -> None:
    fake = FakeController(PRINTS)
    outcome = fake.test()
    assert ended(outcome.check()) == [("passed", ""), ("passed", "")]
    assert (outcome.image, outcome.digest, outcome.where, outcome.limit) == (
        NAME,
        DIGEST,
        "c1",
        "memory: as Slurm confines jobs",
    )
    _, salloc, look, start, check, scancel = fake.asked
    assert salloc[2:4] == ["salloc", "--no-shell"]
    assert salloc[5:] == ["--time=9", "--nodes=1", "--ntasks=1", "--nodelist=c1"]
    step = ["srun", "--quiet", "--jobid=17", "--overlap", "--nodes=1", "--ntasks=1"]
    in_time = ["env", "APPTAINER_UNSHARE_PID=1", "SINGULARITY_UNSHARE_PID=1", "timeout", "--kill-after=60"]
    assert look == [*in_time, "60", *step, *LOOK]
    container = f"--container={REGISTRY}/{NAME}"
    assert start == [*in_time, "120", *step, container, "true"]
    assert check == [*in_time, "90", *step, container, *PRINTS.run]
    assert scancel[0] == "scancel"


def test_the_names_that_people_use() -> None:
    for name in ("x.sif", NAME, f"{REGISTRY}/{NAME}"):
        assert FakeController(PRINTS).test(name=name).image == NAME


def test_how_much_memory() -> None:
    fake = FakeController(PRINTS)
    assert fake.test(memory=512 << 20).limit == "memory: as Slurm confines jobs, --mem=512M"
    assert "--mem=512M" in fake.asked[1]


@pytest.mark.parametrize(
    ("gpus", "given"), [("gpu:4(S:0)\n", True), ("gpu:a100:4,shard:8\n", True), ("(null)\n", False)]
)
def test_a_gpu_where_slurm_knows_of_one(gpus: str, given: bool) -> None:
    fake = FakeController(PRINTS, SMI, gpus=gpus)
    states = [state for state, _ in ended(fake.test())]
    assert states == ["passed", "passed", "passed" if given else "skipped"]
    salloc = next(argv for argv in fake.asked if "salloc" in argv)
    assert ("--gres=gpu:1" in salloc) == given
    steps = {
        argv[-1]: [word for word in argv if word.startswith("--gres")] for argv in fake.asked if "--overlap" in argv
    }
    assert steps.get("nvidia-smi") == (["--gres=gpu:1"] if given else None)
    assert steps["true"] == (["--gres=none"] if given else [])
    assert ["sinfo", "--noheader", "--format=%G", "--nodes=c1"] in fake.asked


def test_slurm_is_not_asked_for_gpus_that_no_check_needs() -> None:
    fake = FakeController(PRINTS, gpus="gpu:4\n")
    fake.test()
    assert not [argv for argv in fake.asked if argv[0] == "sinfo" or "gres" in " ".join(argv)]


def test_whether_there_is_a_gpu_may_be_unknown(monkeypatch: pytest.MonkeyPatch) -> None:
    fake = FakeController(SMI)
    answer = fake.answer
    monkeypatch.setattr(fake, "answer", lambda argv: (1, "", "no slurmctld") if argv[0] == "sinfo" else answer(argv))
    with pytest.raises(Unreachable, match="does not say whether there are GPUs: no slurmctld"):
        fake.test()


SIZE = Check(run=("mpi-size",), output="2 of 2", mpi="pmix")


def test_two_tasks_of_one_program() -> None:
    fake = FakeController(PRINTS, SIZE, mpi=(0, "1 of 2\n2 of 2\n", ""))
    assert [state for state, _ in ended(fake.test())] == ["passed"] * 3
    assert fake.steps()[1:] == [list(PRINTS.run), ["--mpi=pmix", "--ntasks=2", "--overcommit", "mpi-size"]]
    assert not [argv for argv in fake.asked if "printenv" in argv]
    (mpi,) = [argv for argv in fake.asked if "--mpi=pmix" in argv]
    assert mpi[:2] == ["env", "timeout"], "no PID namespace for each task"


@pytest.mark.parametrize(
    ("version", "says"),
    [
        ("5.0.7\n", "it was started by srun --mpi=pmix, PMIx 5.0.7: the image's MPI must be built with PMIx 1.2.5, "),
        ("", "it was started by srun --mpi=pmix, which the image's MPI must have been built for"),
    ],
)
def test_tasks_that_do_not_know_each_other(monkeypatch: pytest.MonkeyPatch, version: str, says: str) -> None:
    """Each is the only one, and ends with 0: what an MPI does that does not understand the cluster's PMI."""
    fake = FakeController(SIZE, mpi=(0, "1 of 1\n1 of 1\n", ""))
    answer = fake.answer
    host = (0 if version else 1, version, "")
    monkeypatch.setattr(fake, "answer", lambda argv: host if "printenv" in argv else answer(argv))
    outcome = fake.test()
    _, (state, detail) = ended(outcome)
    assert state == "failed"
    assert detail.startswith(f'printed "1 of 1\\n1 of 1", and not "2 of 2"; {says}')
    (asked,) = [argv for argv in fake.asked if "printenv" in argv]
    assert asked[-3:] == ["--mpi=pmix", "printenv", "PMIX_VERSION"]
    assert not [word for word in asked if word.startswith("--container")], "on the host"


def test_what_srun_says_itself_is_not_the_reason() -> None:
    said = "Traceback\nImportError: libmpi.so\nsrun: error: c1: task 0: Exited with exit code 1"
    outcome = FakeController(PRINTS, python3=(1, "", said)).test()
    assert ended(outcome)[1] == ("failed", "exit code 1, not 0: ImportError: libmpi.so")
    only = "srun: error: c1: task 0: Killed"
    assert ended(FakeController(PRINTS, python3=(137, "", only)).test())[1][1].endswith(only)


@pytest.mark.parametrize("state", ["NODE_FAIL", "CANCELLED", "TIMEOUT"])
def test_a_job_that_slurm_ended_says_nothing_of_the_image(state: str) -> None:
    fake = FakeController(PRINTS, Check(file="/a"), state=state, python3=(1, "", "srun: error: Node failure on c1"))
    outcome = fake.test()
    assert ended(outcome)[1:] == [("unknown", f"the job 17 was ended: {state}")]
    with pytest.raises(Unreachable):
        outcome.check()


def test_a_check_that_cannot_be_ended_failed_and_its_job_is_cancelled() -> None:
    fake = FakeController(PRINTS, python3=CommandTimeout("was still running after 210 s"))
    assert ended(fake.test())[1] == ("failed", "was still running after 90 s and was ended")
    assert fake.asked[-1][0] == "scancel"


NO_STEP = "srun: error: Unable to create step for job 17"
NOT_THERE = f"stat: cannot statx '{FILES[0]}': No such file\nsrun: error: c1: task 0: Exited with exit code 1"


@pytest.mark.parametrize("where", ["c1", "controller"])
@pytest.mark.parametrize(
    ("answer", "kind", "says"),
    [
        ((0, "8:1\n8:2\n", ""), CheckFailed, f"{NAME} is not the catalog's version {DIGEST[:12]} there"),
        ((1, "8:2\n", NOT_THERE), CheckFailed, f"{NAME} is not the catalog's version {DIGEST[:12]} there"),
        ((1, "", NOT_THERE), CheckFailed, f"{NAME} is not the catalog's version {DIGEST[:12]} there"),
        ((1, "", NO_STEP), Unreachable, f"no command can be run there: {NO_STEP}"),
        ((0, "", ""), Unreachable, "no command can be run there: nothing"),
        ((1, "8:1\n8:1\n", ""), CheckFailed, "is not the catalog's version"),
    ],
)
def test_what_is_tested_is_the_catalogs_version(where: str, answer: Any, kind: type[Exception], says: str) -> None:
    fake = FakeController(PRINTS, look=answer)
    with pytest.raises(kind, match=f"{where}: .*{says}"):
        fake.test(where)
    assert fake.steps() == []


def test_on_the_controller_apptainer_is_closed_off() -> None:
    fake = FakeController(PRINTS)
    outcome = fake.test("controller")
    outcome.check()
    assert outcome.where == "controller"
    assert not [argv for argv in fake.asked if "srun" in argv or "salloc" in argv]
    assert "--containall" in fake.asked[-1]
    assert outcome.limit.startswith("memory: 8.0 GiB for ")
    assert fake.steps()[-1] == list(PRINTS.run)


def test_checks_can_be_given() -> None:
    fake = FakeController(Check(file="/a"))
    fake.test(checks=[PRINTS]).check()
    assert fake.steps()[-1] == list(PRINTS.run)


def test_an_image_without_checks_is_no_success() -> None:
    with pytest.raises(UsageError, match="has no checks"):
        FakeController(labels={}).test().check()


@pytest.mark.parametrize(
    ("where", "name", "says"),
    [
        ("-w", NAME, "-w is not the name of a node"),
        ("c[1-2]", NAME, "is not the name of a node"),
        ("c1", "gone.sif", "ml-frameworks/gone.sif is not in the catalog"),
        ("c1", "/etc/passwd", "does not lie in a directory of the registry"),
    ],
)
def test_wrong_use(where: str, name: str, says: str) -> None:
    fake = FakeController(PRINTS)
    with pytest.raises(UsageError, match=says.replace("[", r"\[")) as caught:
        fake.test(where, name)
    assert caught.value.hint
    assert fake.steps() == []


def test_a_label_of_another_form_is_not_run() -> None:
    fake = FakeController(labels={LABEL: "[{}]"})
    with pytest.raises(ConfigError, match=f"{NAME}: label {LABEL}"):
        fake.test()
    assert len(fake.asked) == 1


def test_the_controller_notes_what_became_of_the_checks() -> None:
    fake = FakeController(PRINTS, SMI)
    fake.test()
    assert fake.noted == [
        {
            "command": "test",
            "images": [NAME],
            "after": DIGEST,
            "state": "ok",
            "done": "c1",
            "checks": {"passed": 1, "failed": 0, "skipped": 1, "unknown": 0},
            "seconds": 1.0,
            "detail": "",
            "reason": "",
        }
    ]
    fake = FakeController(PRINTS, python3=(0, "b a", ""))
    fake.test("controller")
    (noted,) = fake.noted
    assert (noted["state"], noted["failed"], noted["checks"]["failed"]) == ("failed", "controller", 1)
    assert "1 of its checks failed" in noted["reason"]
    fake = FakeController(PRINTS)
    fake.test(checks=[Check(run=("python3",))])
    assert fake.noted[0]["detail"] == "by other checks than its own"


@pytest.mark.parametrize("answer", [(2, "", "controller.pyz: error: invalid choice: 'note'"), (0, "", "")])
def test_a_test_is_none_the_worse_for_a_history_that_cannot_be_written(answer: tuple[int, str, str]) -> None:
    fake = FakeController(PRINTS, note=answer)
    assert fake.test().check()
    assert [event.message[:20] for event in fake.events if isinstance(event, Noticed)] == ["not in the history: "]
