"""What a day's use had found wrong, as a user meets it: a command, its exit code, its words.

What is not here has a file of its own: repair (D1) is in test_drift.py, interrupts and waiting (D2, D6) in
test_running.py, drained nodes (D4) in test_out_of_service.py, removal (D5) in test_remove.py.
"""

from __future__ import annotations

import json
import sys
import xml.etree.ElementTree as ET
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from pytest_hpcregistry.core import documents
from pytest_hpcregistry.transports import CommandResult
from pytest_hpcregistry.transports.process import run_process
from tests import ROOT

from .conftest import Cli
from .machines import CONTROLLER, OBJECTS, REGISTRY, Machines, refused
from .test_drift import flip_a_bit

pytestmark = pytest.mark.lab
Pytest = Callable[..., CommandResult]
WRONG = f"{REGISTRY}/custom-images: directory 0775 root:slurm, should be directory 0755 root:slurm"


@pytest.fixture
def pytest_here(edited: Callable[..., Path], kept: str, tmp_path: Path) -> Pytest:
    """`pytest WORDS` as a user starts it in a project of his own."""
    file = edited()

    def run(*words: str | Path, cwd: Path = tmp_path) -> CommandResult:
        argv = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-o", "addopts=", f"--hpc-cluster={file}"]
        return run_process("workstation", ["env", "-C", str(cwd), *argv, *map(str, words)], timeout=300)

    return run


@pytest.fixture
def wrong_mode(machines: Machines) -> Iterator[None]:
    """The same wrong mode on all machines."""
    machines.everywhere(f"chmod 0775 {REGISTRY}/custom-images")
    yield
    machines.everywhere(f"chmod 0755 {REGISTRY}/custom-images")


def test_a_sync_does_the_nodes_of_the_cluster_file(tool: Cli, edited: Callable[..., Path], kept: str) -> None:
    """Defect D3: it did those of the last setup, and ended with 0."""
    file = edited()
    data = documents.load(file.read_text(), str(file))
    file.write_text(documents.dump({**data, "nodes": "c[001-005]"}))
    synced = tool("sync", cluster=file)
    refused(synced, 3, "c[004-005]: ", "name is not known")
    assert "✓ c001: " in synced.stdout


def test_reports_that_cannot_be_made(tool: Cli, kept: str) -> None:
    """Defect D7: a traceback, and exit code 1."""
    refused(
        tool("test", "--reports", "/proc/reports"), 2, "/proc/reports: this directory cannot be made", "--reports DIR"
    )


@pytest.mark.parametrize("words", [("status",), ("status", "--json"), ("verify",)])
def test_a_full_disk_behind_standard_output(words: tuple[str, ...], edited: Callable[..., Path], kept: str) -> None:
    """Defect D7, too."""
    program = Path(sys.executable).parent / "hpc-container-manager"
    argv = ["sh", "-c", 'exec "$@" > /dev/full', "sh", str(program), *words, "--cluster", str(edited())]
    refused(run_process("workstation", argv, timeout=100), 4, "No space left on device")


def test_a_project_of_its_own_needs_no_marks(pytest_here: Pytest, tmp_path: Path) -> None:
    """Defect D8: `select the suites by -m …`, and ids of nodes that nobody knew."""
    (tmp_path / "test_site.py").write_text("def test_kernel(node): assert node.facts\n")
    found = pytest_here("--collect-only", "-q")
    assert found.exit_code == 0, found.stdout
    ids = [line for line in found.stdout.splitlines() if "::" in line]
    done = pytest_here("-v")
    assert done.exit_code == 0, done.stdout
    for node in ("c001", "c002", "c003"):
        assert f"test_site.py::test_kernel[{node}] PASSED" in done.stdout
        assert f"test_site.py::test_kernel[{node}]" in ids


def test_collecting_a_phase_is_no_failure(pytest_here: Pytest) -> None:
    """Defect D8: exit code 1, which an IDE shows as an error of discovery."""
    found = pytest_here("--co", "-q", "-m", "deployment", ROOT / "suites")
    assert (found.exit_code, "test_reachable.py::test_node_is_reachable[c001]" in found.stdout) == (0, True)


def test_one_wrong_mode_everywhere_is_one_finding(pytest_here: Pytest, wrong_mode: None, tmp_path: Path) -> None:
    """Defects D9 and D10: 160 lines for three nodes, and class names that depend on where one stands."""
    names = []
    for cwd in (ROOT, tmp_path):
        report = tmp_path / "report.xml"
        done = pytest_here("-m", "infrastructure", ROOT / "suites", f"--junitxml={report}", cwd=cwd)
        assert done.exit_code == 1, done.stdout
        own = " ".join(done.stdout.partition("= hpc: 1 finding =")[2].partition("= FAILURES =")[0].split())
        assert f"controller,c[001-003] {WRONG} → run phase 1 again: hpc-container-manager registry setup" in own, (
            done.stdout
        )
        assert len(done.stdout.splitlines()) < 60
        cases = ET.parse(report).getroot().iter("testcase")  # noqa: S314 - our own pytest wrote it
        names.append({case.attrib["classname"] for case in cases})
    assert names[0] == names[1]
    assert "hpcregistry.infrastructure.test_structure" in names[0]


def test_what_verify_finds_is_where_its_results_are(tool: Cli, machines: Machines, kept: str) -> None:
    """Defect D11: `verify > report.txt` kept only the good news."""
    digest = machines.digest(CONTROLLER, kept)
    flip_a_bit(machines, "c002", digest)
    try:
        found = tool("verify")
        assert found.exit_code == 1
        assert f"✗ {kept}: same bytes on controller,c[001,003], damaged c002" in found.stdout
    finally:
        tool("sync", "--repair").check()


def test_a_limit_of_the_rate_is_for_the_node_that_is_sent_to(
    tool: Cli, machines: Machines, sif: Callable[..., Path]
) -> None:
    """Defect D12: the one node that lacked an image got a third of the rate."""
    tool("deploy", "single", "-s", sif("limited", 18 << 10)).check()
    name = "ml-frameworks/limited.sif"
    machines.tell("c002", f"rm {REGISTRY}/{name} {OBJECTS}/{machines.digest(CONTROLLER, name)}")
    done = tool("sync", "--json", "--engine", "star", "--limit-rate", "3M").check()
    said = [json.loads(line) for line in done.stdout.splitlines()]
    (one,) = (event for event in said if event.get("event") == "node_finished" and event["node"] == "c002")
    assert (one["state"], one["objects"]) == ("synced", 1)
    assert 0.8 < one["seconds"] / (one["bytes"] / (3 << 20)) < 1.6
