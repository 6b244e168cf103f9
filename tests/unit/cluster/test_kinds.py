"""Kinds of nodes: one idle node of each is proven by a job, and what is not is said."""

from __future__ import annotations

import threading
from typing import Any

import pytest

from pytest_hpcregistry.cluster.client import ControllerClient
from pytest_hpcregistry.cluster.jobs import Slurm
from pytest_hpcregistry.cluster.kinds import Kind, Prover, find_kinds
from pytest_hpcregistry.core.errors import Unreachable
from pytest_hpcregistry.core.model import Cluster, Controller
from pytest_hpcregistry.core.model import Slurm as Settings
from pytest_hpcregistry.core.nodeset import expand
from pytest_hpcregistry.transports import Command, CommandResult, Transport

NODES = ["c1", "c2", "c3", "g1", "g2", "away"]
SINFO = """\
c1|main*|idle|(null)
c2|main*|mixed|(null)
c3|main*|drained|(null)
g1|main*|idle|a100
g1|gpu|idle|a100
g2|gpu|allocated|h100
other|main*|idle|(null)
odd
-x|main*|idle|(null)
"""


class FakeSlurm(Transport):
    """salloc gives the first node of the partition that is not excluded, but for the partitions in *busy*."""

    def __init__(self, *busy: str, sinfo: str = SINFO, code: int = 0) -> None:
        self.busy, self.sinfo, self.code = busy, sinfo, code
        self.asked: list[list[str]] = []
        self.jobs: dict[str, str] = {}
        self.error: BaseException | None = None
        self.lock = threading.Lock()

    def execute(self, command: Command) -> CommandResult:
        argv = list(command.argv)
        argv = argv[8:] if argv[0] == "runuser" else argv  # see Slurm.run
        with self.lock:
            self.asked.append(argv)
            code, stdout, stderr = self.answer(argv)
        return CommandResult("hpc", tuple(argv), code, stdout, stderr, 0.0)

    def answer(self, argv: list[str]) -> tuple[int, str, str]:
        if argv[0] == "sinfo":
            return self.code, self.sinfo, "no slurmctld"
        if "salloc" in argv:
            if self.error:
                raise self.error
            words = dict(word.lstrip("-").split("=", 1) for word in argv if "=" in word)
            if words["partition"] in self.busy:
                return 124, "", "salloc: Pending job allocation 9"
            excluded = expand(words.get("exclude", ""))
            free = [node for node, partition in (("c1", "main"), ("g1", "main"), ("g2", "gpu"))
                    if partition == words["partition"] and node not in excluded]  # fmt: skip
            self.jobs[str(len(self.jobs) + 1)] = free[0]
            return 0, "", f"salloc: Granted job allocation {len(self.jobs)}"
        if argv[0] == "scontrol":
            return 0, f"JobId={argv[-1]} JobState=RUNNING ReqNodeList=(null) NodeList={self.jobs[argv[-1]]}\n", ""
        return 0, "", ""

    def connect(self, **settings: Any) -> Slurm:
        cluster = Cluster(controller=Controller(name="hpc", host="h"), slurm=Settings(**settings))
        return Slurm(ControllerClient(cluster, self))


def test_a_kind_is_a_partition_and_its_features() -> None:
    found = find_kinds(FakeSlurm().connect(), NODES)
    assert found == [
        Kind("main", "(null)", ("c1", "c2"), ("c3", "g1", "other"), ("c1",), True),
        Kind("main", "a100", ("g1",), ("c1", "c2", "c3", "other"), ("g1",), True),
        Kind("gpu", "h100", ("g2",), ("g1",), (), False),
    ]
    fake = FakeSlurm()
    find_kinds(fake.connect(partition="gpu"), NODES)
    assert fake.asked[-1][-2:] == ["--partition", "gpu"]


def test_slurm_that_does_not_say_what_its_nodes_are() -> None:
    with pytest.raises(Unreachable, match="hpc: Slurm does not say what its nodes are: no slurmctld"):
        find_kinds(FakeSlurm(code=1, sinfo="").connect(), NODES)


def test_a_job_on_a_node_of_each_kind_and_what_is_not_proven() -> None:
    fake = FakeSlurm("gpu")
    prover = Prover(fake.connect(max_wait=7), NODES)
    assert prover.idle() == 2
    with prover.jobs(seconds=60) as jobs:
        assert set(jobs) == {"c1", "g1"}
        assert fake.asked[-1][0] != "scancel"
    names = {word for argv in fake.asked for word in argv if word.startswith(("--job-name=", "--name="))}
    assert len({name.partition("=")[2] for name in names}) == 1, "all are cancelled by their name"
    assert fake.asked[-1][0] == "scancel"
    assert prover.not_proven(jobs) == [
        "away,c3 (jobs cannot run there now: see sinfo)",
        "c2 (no job was tried there; c1 is of the same kind: partition main)",
        "g2 (no idle node of partition gpu in 7 s)",
    ]
    alone = "apptainer exec runs the image there"
    alone = "apptainer exec runs the image there"
    assert prover.not_proven(jobs, ["c1", "c2", "g2"]) == [
        "away,c3 (jobs cannot run there now: see sinfo)",
        f"c2 by a job ({alone}; no job was tried there; c1 is of the same kind: partition main)",
        f"g2 by a job ({alone}; no idle node of partition gpu in 7 s)",
    ]


def test_a_kind_without_an_idle_node_is_waited_for_once() -> None:
    fake = FakeSlurm("gpu")
    prover = Prover(fake.connect(), NODES)
    for expected in (3, 2):
        fake.asked.clear()
        with prover.jobs(seconds=60):
            assert len([argv for argv in fake.asked if "salloc" in argv]) == expected


@pytest.mark.parametrize(("sinfo", "why"), [(SINFO, "no idle node of partition main in 120 s"), ("", "see sinfo")])
def test_without_a_node_nothing_is_proven(sinfo: str, why: str) -> None:
    fake = FakeSlurm("gpu", "main", sinfo=sinfo)
    prover = Prover(fake.connect(), NODES)
    with pytest.raises(Unreachable, match=f"^no node was proven: .*{why}"), prover.jobs(seconds=60):
        pass
    assert fake.asked[-1][0] == "scancel"


def test_after_an_interrupt_no_job_is_left() -> None:
    fake = FakeSlurm()
    fake.error = KeyboardInterrupt()
    with pytest.raises(KeyboardInterrupt), Prover(fake.connect(), NODES).jobs(seconds=60):
        pass
    assert [argv[0] for argv in fake.asked[-2:]] == ["scancel", "scancel"]
    fake.error = None
    with pytest.raises(KeyboardInterrupt), Prover(fake.connect(), NODES).jobs(seconds=60):
        raise KeyboardInterrupt
    assert fake.asked[-1][0] == "scancel"
