"""Known findings, chosen nodes and a site's own questions, as an administrator has them: on a real cluster."""

from __future__ import annotations

import sys
import xml.etree.ElementTree as ET
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from pytest_hpcregistry import lab
from pytest_hpcregistry.core import documents
from pytest_hpcregistry.core.layout import CONFIG, LAUNCHER, PROGRAM_FILE
from pytest_hpcregistry.core.waivers import today
from pytest_hpcregistry.lab.podman import execute
from pytest_hpcregistry.transports import CommandResult
from pytest_hpcregistry.transports.process import run_process

pytestmark = pytest.mark.lab
Cli = Callable[..., CommandResult]
Machine = Callable[[str, str], str]
REGISTRY = "/opt/containers"
LATER, EARLIER = ((today() + timedelta(days=days)).isoformat() for days in (30, -1))


@pytest.fixture(scope="module")
def machine(running_lab: lab.LabState) -> Machine:
    """A shell script in a machine's container, which adds no login; returns what it printed."""

    def run(name: str, script: str) -> str:
        return execute(running_lab.container(name), ["sh", "-euc", script]).check().stdout

    return run


@pytest.fixture
def cluster_file(running_lab: lab.LabState, tmp_path: Path) -> Path:
    """The lab's, with waivers beside it."""
    data = documents.load(running_lab.cluster_file.read_text(), "cluster.yaml")
    path = tmp_path / "cluster.yaml"
    path.write_text(documents.dump({**data, "waivers": "w.yaml"}))
    waive(path, LATER)
    return path


def waive(cluster_file: Path, until: str, about: str = "nodes: c002, image: demo.sif") -> None:
    text = f"- {{{about}, until: {until}, who: alice, reason: disk swap}}\n"
    cluster_file.with_name("w.yaml").write_text(text)


@pytest.fixture
def missing(deployed: str, machine: Machine, cli: Cli) -> Iterator[str]:
    """The image, whose name one node has lost."""
    machine("c002", f"rm {REGISTRY}/{deployed}")
    yield deployed
    cli("sync").check()


def test_a_known_finding_fails_nothing_until_its_day(missing: str, cli: Cli, cluster_file: Path) -> None:
    assert cli("status").exit_code == 1, "so it is found"
    shown = cli("status", cluster=cluster_file).check().stdout
    assert f"{missing}  present     present c[001,003], missing (waived) c002" in shown
    assert f"waived until {LATER} by alice: disk swap" in shown
    assert f"! {missing}: same bytes on controller,c[001,003], missing (waived) c002" in (
        cli("verify", cluster=cluster_file).check().stdout
    )

    waive(cluster_file, EARLIER)
    for command in ("status", "verify"):
        expired = cli(command, cluster=cluster_file)
        assert expired.exit_code == 1
        assert f"waiver of alice expired {EARLIER}: disk swap" in expired.stdout + expired.stderr


def test_suites_expect_a_known_failure(missing: str, cli: Cli, cluster_file: Path, tmp_path: Path) -> None:
    words = ("test", "--phase", "deployment", "--reports", tmp_path / "reports")
    known = cli(*words, cluster=cluster_file)
    cases = ET.parse(tmp_path / "reports" / "junit.xml").getroot().iter("testcase")  # noqa: S314
    waived = [case for case in cases if case.find("properties/property[@name='waiver']") is not None]
    # Slurm may start the image where it is not: that is work, and no finding.
    failed = {line.partition("::")[2] for line in known.stdout.splitlines() if line.startswith("FAILED")}
    assert {name.partition("[")[0] for name in failed} <= {"test_slurm_can_execute_it"}
    assert waived
    assert all(case.find("skipped") is not None for case in waived)
    assert "1 waived =" in known.stdout
    waive(cluster_file, EARLIER)
    assert cli(*words, cluster=cluster_file).exit_code == 1


def test_nodes_are_chosen(deployed: str, cli: Cli, machine: Machine, tmp_path: Path) -> None:
    def logins(node: str) -> int:
        return int(machine(node, "grep -c 'Accepted publickey' /var/log/sshd.log || :"))

    before = logins("c003")
    done = cli("test", "--phase", "deployment", "-w", "c[001-003]", "--exclude", "c003", "--reports", tmp_path).check()
    assert "[c002]" not in done.stderr
    names = {case.get("name") for case in ET.parse(tmp_path / "junit.xml").getroot().iter("testcase")}  # noqa: S314
    assert {"test_node_is_reachable[c001]", "test_node_is_reachable[c002]"} <= names
    assert "test_node_is_reachable[c003]" not in names
    assert logins("c003") == before
    for words in (("-w", "c009"), ("-x", "c[001-003]"), ("-w", "@nothing")):
        refused = cli("test", "--phase", "infrastructure", *words, "--reports", tmp_path)
        assert refused.exit_code == 2
        assert len([line for line in refused.stderr.splitlines() if line.startswith("error: ")]) == 1
        assert "Traceback" not in refused.stdout + refused.stderr


def test_what_is_not_there_is_wrong_use(deployed: str, cli: Cli, tmp_path: Path) -> None:
    gone = cli("test", "--image", "demoo.sif", "--reports", tmp_path)
    assert gone.exit_code == 2
    assert gone.stderr.splitlines() == [
        f'error: no image "demoo.sif" in the catalog (it has 1). Perhaps you meant "{deployed}"?',
        "hint: hpc-container-manager catalog list",
    ]
    assert "ERROR" not in gone.stdout
    nowhere = cli("test", deployed, "--on", "c009")
    assert (nowhere.exit_code, nowhere.stderr.splitlines()[0]) == (2, "error: c009: no such node in this cluster")
    (tmp_path / "file").touch()
    shut = cli("test", "--reports", tmp_path / "file")
    assert shut.exit_code == 2
    assert shut.stderr.splitlines()[-1] == "hint: --reports DIR"


def test_a_site_asks_what_it_likes_in_the_one_login(
    deployed: str, running_lab: lab.LabState, machine: Machine, tmp_path: Path
) -> None:
    (tmp_path / "pytest.ini").write_text("[pytest]\nhpc_commands =\n    id -un\n    no-such-program\n    uname -n\n")
    (tmp_path / "test_site.py").write_text(
        "def test_it(machine):\n"
        "    assert machine.command('id -un').stdout == 'root\\n'\n"
        "    assert machine.command('no-such-program').returncode == 127\n"
        "def test_name(node): assert node.command('uname -n').stdout == f'{node.name}\\n'\n"
    )
    argv = ["env", "-C", str(tmp_path), sys.executable, "-m", "pytest", f"--hpc-cluster={running_lab.cluster_file}"]
    result = run_process("workstation", [*argv, "--hpc-nodes=c[001-002]"], timeout=120)
    assert result.exit_code == 0, result.stdout
    assert " 5 passed" in result.stdout, "of the controller and the two nodes that are meant"


def test_before_phase_1_there_is_one_finding(deployed: str, cli: Cli, machine: Machine, tmp_path: Path) -> None:
    files = (LAUNCHER, PROGRAM_FILE, f"{REGISTRY}/{CONFIG}")
    machine("hpc-controller", "; ".join(f"mv {path} {path}.kept" for path in files))
    try:
        result = cli("test", "--phase", "infrastructure", "--reports", tmp_path)
    finally:
        machine("hpc-controller", "; ".join(f"mv {path}.kept {path}" for path in files))
    assert result.exit_code == 1
    lines = result.stdout.splitlines()
    begin = next(number for number, line in enumerate(lines) if "= hpc: 1 finding =" in line)
    assert lines[begin + 1].split() == ["controller", *["phase", "1", "has", "not", "been", "run"]]
    assert lines[begin + 2].split() == ["→", "hpc-container-manager", "registry", "setup"]
    assert len(lines) < 50
    assert "Traceback" not in result.stdout + result.stderr
