"""What the suites say is evidence: of whom was asked and how often, and nothing is green that was not proven."""

from __future__ import annotations

import sys
import xml.etree.ElementTree as ET
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from pytest_hpcregistry import lab
from pytest_hpcregistry.core import documents
from pytest_hpcregistry.lab.podman import execute
from pytest_hpcregistry.transports import CommandResult
from pytest_hpcregistry.transports.process import run_process
from tests import ROOT

pytestmark = pytest.mark.lab
Cli = Callable[..., CommandResult]
Suites = Callable[..., tuple[CommandResult, list[ET.Element]]]
REGISTRY = "/opt/containers"
CATALOG = f"{REGISTRY}/.registry/catalog.yaml"


@pytest.fixture
def suites(running_lab: lab.LabState, deployed: str, tmp_path: Path) -> Suites:
    """`pytest suites -m PHASE WORDS`, as an own process: what it did, and the cases of its JUnit file."""

    def run(phase: str, *words: str) -> tuple[CommandResult, list[ET.Element]]:
        report = tmp_path / "suites.xml"
        argv = [sys.executable, "-m", "pytest", "suites", "-o", "addopts=", "-m", phase, f"--junitxml={report}"]
        argv = ["env", "-C", str(ROOT), *argv, f"--hpc-cluster={running_lab.cluster_file}", *words]
        result = run_process("workstation", argv, timeout=300)
        return result, cases_of(report) if report.exists() else []

    return run


@pytest.fixture
def machine(running_lab: lab.LabState) -> Callable[[str, str], str]:
    """A shell script in a machine's container, which needs no ssh and adds no login; returns what it printed."""

    def run(name: str, script: str) -> str:
        return execute(running_lab.container(name), ["sh", "-euc", script]).check().stdout

    return run


def cases_of(report: Path) -> list[ET.Element]:
    return list(ET.parse(report).getroot().iter("testcase"))  # noqa: S314 - our own pytest wrote it


def properties(case: ET.Element) -> dict[str, str]:
    return {found.attrib["name"]: found.attrib["value"] for found in case.iter("property")}


def failed(cases: list[ET.Element]) -> list[str]:
    """The names of the cases that failed or ended in an error."""
    return [case.attrib["name"] for case in cases if case.find("failure") is not None or case.find("error") is not None]


@contextmanager
def changed(machine: Callable[[str, str], str], name: str, change: str, undo: str) -> Iterator[None]:
    machine(name, change)
    try:
        yield
    finally:
        machine(name, undo)


@pytest.mark.parametrize("words", [(), ("-n", "2", "--dist", "loadfile")], ids=["serial", "two workers"])
def test_one_login_for_each_node(
    suites: Suites, machine: Callable[[str, str], str], running_lab: lab.LabState, words: tuple[str, ...]
) -> None:
    """Facts are gathered once, by the main process, also when workers run the tests."""

    def logins() -> dict[str, int]:
        count = "grep -c 'Accepted publickey' /var/log/sshd.log || :"
        return {node: int(machine(node, count)) for node in running_lab.nodes}

    before = logins()
    result, cases = suites("deployment", *words)
    assert result.exit_code == 0, result.stdout
    assert len(cases) > 20
    assert logins() == {node: count + 1 for node, count in before.items()}

    workers: dict[str, set[str]] = {}
    for case in cases:
        workers.setdefault(case.attrib["classname"], set()).add(properties(case)["worker"])
    assert len(workers) == 4
    assert {len(names) for names in workers.values()} == {1}, "the tests of one file ran on several workers"
    assert set.union(*workers.values()) == ({"gw0", "gw1"} if words else {"main"})


def test_all_phases_in_one_report(cli: Cli, deployed: str, running_lab: lab.LabState, tmp_path: Path) -> None:
    cli("test", "--all", "--reports", tmp_path).check()
    suites = ET.parse(tmp_path / "junit.xml").getroot().findall("testsuite")  # noqa: S314
    assert [suite.attrib["name"] for suite in suites] == ["infrastructure", "deployment", "e2e"]
    for suite in suites:
        said = [properties(case) for case in suite.iter("testcase")]
        assert said
        assert {one["phase"] for one in said if "phase" in one} >= {suite.attrib["name"]}
        assert {one["node"] for one in said if "node" in one} >= set(running_lab.nodes)
    for suite in suites[1:]:
        images = [one for one in map(properties, suite.iter("testcase")) if "image" in one]
        assert images
        assert {one["image"] for one in images} >= {deployed}
        assert all(len(one["digest"]) == len("sha256:") + 64 for one in images)


def test_a_failed_phase_gates_the_next(
    cli: Cli, deployed: str, machine: Callable[[str, str], str], tmp_path: Path
) -> None:
    with changed(machine, "c002", f"chmod 0700 {REGISTRY}", f"chmod 0755 {REGISTRY}"):
        result = cli("test", "--all", "--reports", tmp_path)
    assert result.exit_code == 1
    infrastructure, *gated = ET.parse(tmp_path / "junit.xml").getroot().findall("testsuite")  # noqa: S314
    assert {name.partition("[")[2][:4] for name in failed(list(infrastructure.iter("testcase")))} == {"c002"}
    assert [(suite.attrib["name"], suite.attrib["errors"]) for suite in gated] == [("deployment", "1"), ("e2e", "1")]
    assert "PASSED ✓✓✓" not in result.stdout


def test_a_step_that_ran_on_the_host_is_caught(
    suites: Suites, machine: Callable[[str, str], str], running_lab: lab.LabState
) -> None:
    """Without oci.conf Slurm runs `srun --container` on the host, and says nothing."""
    reload, name = "scontrol reconfigure", "test_srun_container_on_a_node_of_each_kind"
    with ExitStack() as stack:
        for node in running_lab.nodes:  # as Slurm chooses the one that is tried
            stack.enter_context(changed(machine, node, "mv /etc/slurm/oci.conf /root", "mv /root/oci.conf /etc/slurm"))
        machine("hpc-controller", reload)
        result, cases = suites("e2e", "-k", name)
    machine("hpc-controller", reload)
    assert result.exit_code == 1
    assert [one.partition("[")[0] for one in failed(cases)] == [name]
    assert "the host" in result.stdout
    result, cases = suites("e2e", "-k", name)
    assert result.exit_code == 0, result.stdout
    assert len(cases) == 1


def test_no_image_is_not_green(suites: Suites, cli: Cli, machine: Callable[[str, str], str], tmp_path: Path) -> None:
    empty = f"cp -a {CATALOG} /root/kept.yaml; printf 'version: 1\\nimages: {{}}\\n' > {CATALOG}"
    with changed(machine, "hpc-controller", empty, f"mv /root/kept.yaml {CATALOG}"):
        result, cases = suites("deployment")
        assert cli("test", "--phase", "deployment", "--reports", tmp_path).exit_code == 1
    assert result.exit_code == 1
    assert "test_catalog_names_images" in failed(cases)
    assert any(name.startswith("test_image_is_intact[") for name in failed(cases))


def test_an_image_that_nobody_deployed_is_not_green(suites: Suites) -> None:
    result, cases = suites("deployment", "--hpc-image=missing.sif")
    assert (result.exit_code, cases) == (4, [])
    assert 'ERROR: no image "missing.sif" in the catalog (it has 1)' in result.stderr


def test_no_node_is_not_green(
    suites: Suites, cli: Cli, machine: Callable[[str, str], str], running_lab: lab.LabState, tmp_path: Path
) -> None:
    """An empty list in the cluster file is wrong use; a Slurm that knows no node leaves everything undetermined."""
    cluster = documents.load(running_lab.cluster_file.read_text(), "cluster.yaml")
    (tmp_path / "none.yaml").write_text(documents.dump({**cluster, "nodes": []}))
    assert (
        cli("test", "--phase", "infrastructure", "--reports", tmp_path, cluster=tmp_path / "none.yaml").exit_code == 2
    )
    each = "for program in sinfo scontrol; do {}; done"
    silent = "mv /usr/bin/$program /usr/bin/$program.kept; printf '#!/bin/sh\\n' | install /dev/stdin /usr/bin/$program"
    mended = "mv /usr/bin/$program.kept /usr/bin/$program"
    with changed(machine, "hpc-controller", each.format(silent), each.format(mended)):
        result, cases = suites("infrastructure")
        assert cli("test", "--all", "--reports", tmp_path).exit_code == 3
    assert (result.exit_code, cases) == (3, [])
    assert "Slurm knows no nodes" in result.stdout + result.stderr


@pytest.mark.parametrize("phase", ["e2e and changes", "changes and not infrastructure", "changes"])
def test_only_skipped_tests_are_not_green(suites: Suites, phase: str) -> None:
    result, cases = suites(phase)
    assert cases
    assert all(case.find("skipped") is not None for case in cases)
    assert result.exit_code == 1


def test_an_unreachable_node_is_told_once(
    cli: Cli, deployed: str, machine: Callable[[str, str], str], tmp_path: Path
) -> None:
    stop, start = "kill $(cat /run/sshd.pid)", "/usr/sbin/sshd -E /var/log/sshd.log"
    with changed(machine, "c003", stop, start):
        result = cli("test", "--phase", "deployment", "--reports", tmp_path)
    assert result.exit_code == 3
    cases = cases_of(tmp_path / "junit.xml")
    assert failed(cases) == ["test_node_is_reachable[c003]"]
    skipped = [case.attrib["name"] for case in cases if case.find("skipped") is not None]
    assert skipped
    assert all("[c003" in name or "-c003" in name for name in skipped), skipped
    assert any("[c001" in case.attrib["name"] for case in cases)
