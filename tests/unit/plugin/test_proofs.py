"""The suite of jobs, as a whole pytest run, on a Slurm that is made up: what it proves, and what it says it did not."""

from __future__ import annotations

import shutil
import xml.etree.ElementTree as ET
from typing import Any

import pytest

from pytest_hpcregistry.cluster import client
from pytest_hpcregistry.cluster.client import ControllerClient
from pytest_hpcregistry.cluster.phases import suites_directory
from pytest_hpcregistry.core.facts import Facts
from pytest_hpcregistry.core.machine import Ended, MachineFacts, Question, SlurmFacts
from pytest_hpcregistry.testing.facts import NAME, REGISTRY, gathered, host, image, machine
from tests.unit.cluster.test_kinds import FakeSlurm
from tests.unit.plugin.runs import cases_of, properties_of

pytest_plugins = "pytester"
FACTS = gathered(
    {**{node: machine(image()) for node in ("c1", "c2", "c3", "g1", "g2")}, "away": "no route"},
    slurm=SlurmFacts(nodes={"c3": "drained", "away": "down"}),
)


class FakeSteps(FakeSlurm):
    """A step prints where it ran: *elsewhere*, if that is given."""

    def __init__(self, *busy: str, elsewhere: str = "") -> None:
        super().__init__(*busy)
        self.elsewhere = elsewhere

    def answer(self, argv: list[str]) -> tuple[int, str, str]:
        job = next((word.partition("=")[2] for word in argv if word.startswith("--jobid=")), None)
        if job is None:
            return super().answer(argv)
        return 0, f"{self.jobs[job]} {self.elsewhere or f'{REGISTRY}/{NAME}'}\n", ""


def run(
    pytester: pytest.Pytester,
    monkeypatch: pytest.MonkeyPatch,
    fake: FakeSlurm,
    found: Facts = FACTS,
    *,
    user: str = "alice",
) -> pytest.RunResult:
    def facts(client: ControllerClient, question: Question, *_: Any) -> Facts:
        assert bool(question.start) is (user != "root")
        return found

    monkeypatch.setattr(ControllerClient, "facts", facts)
    monkeypatch.setattr(client, "open_transport", lambda cluster: fake)
    shutil.copy(suites_directory() / "e2e" / "test_jobs.py", pytester.path)
    (pytester.path / "cluster.yaml").write_text(f"controller: {{host: hpc}}\nslurm: {{max_wait: 7, run_as: {user}}}\n")
    words = ["-m", "e2e", "-k", "each_kind or without_a_job", "--hpc-cluster=cluster.yaml", "--junitxml=x.xml"]
    return pytester.runpytest_inprocess("-p", "no:cacheprovider", "-o", "junit_family=xunit1", *words)


def test_a_node_of_each_kind_is_proven_and_the_others_are_named(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    result = run(pytester, monkeypatch, FakeSteps("gpu"), user="root")
    result.assert_outcomes(passed=2, skipped=1)
    lines = [line for line in result.outlines if line.startswith("hpc: ")]
    assert lines == [
        "hpc: 5 of 6 nodes answered",
        "hpc: not counted: away down",
        "hpc: asked, though out of service: c3 drained",
        "hpc: jobs wait for an idle node 7 s at most (slurm.max_wait)",
        "hpc: no image is started but by a job: slurm.run_as names no ordinary user",
        "hpc: not proven: c3 (jobs cannot run there now: see sinfo)",
        "hpc: not proven: c2 (no job was tried there; c1 is of the same kind: partition main)",
        "hpc: not proven: g2 (no idle node of partition gpu in 7 s)",
    ]
    said = [one.get("value") for one in ET.parse("x.xml").iter("property") if one.get("name") == "not proven"]  # noqa: S314
    assert [f"hpc: not proven: {one}" for one in said] == lines[5:] * 2


def started(**ended: Ended) -> Facts:
    """Four nodes: those that are named have started the image so."""
    nodes: dict[str, MachineFacts | str] = {
        node: machine(image(), host=host(starts={NAME: ended[node]} if node in ended else {}))
        for node in ("c1", "c2", "c3", "g1", "g2")
    }
    return gathered(nodes, slurm=SlurmFacts(nodes={"c3": "drained"}))


RAN = Ended(0, f"in {REGISTRY}/{NAME}\n")


def test_nodes_without_a_job_are_proven_by_apptainer_alone(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    result = run(pytester, monkeypatch, FakeSteps("gpu"), started(c1=RAN, c2=RAN, g2=RAN))
    result.assert_outcomes(passed=3)
    alone = "apptainer exec runs the image there"
    assert [line for line in result.outlines if line.startswith("hpc: not proven")] == [
        "hpc: not proven: c3 (jobs cannot run there now: see sinfo)",
        f"hpc: not proven: c2 by a job ({alone}; no job was tried there; c1 is of the same kind: partition main)",
        f"hpc: not proven: g2 by a job ({alone}; no idle node of partition gpu in 7 s)",
    ]
    assert [properties_of(case).get("started on") for case in cases_of()].count("c[1-2],g2") == 1


def test_a_node_that_cannot_start_an_image_fails(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> None:
    result = run(pytester, monkeypatch, FakeSteps("gpu"), started(c1=RAN, c2=Ended(255, "FATAL: no loop devices\n")))
    result.assert_outcomes(passed=2, failed=1)
    shown = result.stdout.str()
    assert "apptainer exec by an ordinary user: FATAL: no loop devices" in shown
    assert "hpc: not proven: c2 (no job was tried there" in shown


def test_without_a_proof_it_fails(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> None:
    result = run(pytester, monkeypatch, FakeSteps("gpu", "main"))
    result.assert_outcomes(failed=2, skipped=1)
    assert "no node was proven" in result.stdout.str()


def test_a_step_that_ran_elsewhere_is_no_proof(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> None:
    result = run(pytester, monkeypatch, FakeSteps(elsewhere="the host"))
    result.assert_outcomes(failed=2, skipped=1)
