"""An image's checks on a real cluster: in a job, by Apptainer on one machine, in the suite, and before a deploy."""

from __future__ import annotations

import json
import shlex
import shutil
import xml.etree.ElementTree as ET
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import pytest_hpcregistry
from pytest_hpcregistry.core.digest import hash_file
from pytest_hpcregistry.core.sif import check as read_sif
from pytest_hpcregistry.images.definitions.checks import from_labels
from pytest_hpcregistry.images.definitions.definition import find_definitions

from .conftest import IMAGES, Cli
from .machines import CATALOG, CONTROLLER, Machines, refused
from .test_evidence import Suites, failed, suites
from .test_gpu import DRIVER, NO_DRIVER

__all__ = ["suites"]

pytestmark = pytest.mark.lab
MARK = "12345.678"  # what the processes of bad checks are found by
BAD = f"""\
checks:
  - name: hangs
    run: [sh, -c, "setsid sleep {MARK} & sleep {MARK}"]
    timeout: 3
  - name: ignores signals
    run: [sh, -c, "trap '' TERM INT HUP; while :; do sleep {MARK} & wait; done"]
    timeout: 3
  - name: floods
    run: [sh, -c, "while :; do echo 0123456789012345678901234567890123456789; done"]
  - name: leaves children
    run: [sh, -c, "for i in 1 2 3; do setsid sleep {MARK} > /dev/null 2>&1 & done; exit 3"]
  - name: dies
    run: [sh, -c, "kill -SEGV $$"]
  - name: is sound
    run: [sh, -c, 'echo "$((6 * 7)) is it"']
    output: 42 is it
"""
SAYS = {
    "hangs": "was still running after 3 s and was ended",
    "ignores signals": "was still running after 3 s and was ended",
    "floods": "more than 16 MiB on standard output",
    "leaves children": "exit code 3, not 0",
    "dies": "exit code 139 (SIGSEGV)",
    "is sound": "",
}
GPU = "checks:\n  - run: [nvidia-smi]\n    output: GPU\n    gpu: yes\n"
# check_file as a workstation runs it, of which this machine has no Apptainer.
SCRIPT = """
import dataclasses, json, sys
from pathlib import Path
from pytest_hpcregistry.images.definitions.checks import from_file
from pytest_hpcregistry.images.running.container import check_file
path, checks, memory = sys.argv[1:]
own = from_file(Path(checks)) if checks else None
print(json.dumps(dataclasses.asdict(check_file(Path(path), lambda event: None, checks=own, memory=int(memory)))))
"""
Local = Callable[..., dict[str, tuple[str, str]]]


def ended(shown: str) -> dict[str, tuple[str, str]]:
    return {one["check"]: (one["state"], one["detail"]) for one in json.loads(shown)["ended"][1:]}


def as_expected(found: dict[str, tuple[str, str]]) -> bool:
    """Whether each of BAD ended as SAYS has it, and only the sound one passed."""
    passed = [name for name, (state, _) in found.items() if state == "passed"]
    return found.keys() == SAYS.keys() and passed == ["is sound"] and all(SAYS[name] in found[name][1] for name in SAYS)


def left(machines: Machines, machine: str) -> str:
    """What of the checks is still there: their processes, and Apptainer's."""
    return machines.tell(
        machine, f"ps -eo pid,user,args | grep -E '{MARK}|[Aa]pptainer|squash[f]use' | grep -v grep || :"
    )


@pytest.fixture
def bad(tmp_path: Path) -> Path:
    (tmp_path / "bad.yaml").write_text(BAD)
    return tmp_path / "bad.yaml"


def test_the_label_is_that_of_the_definition(demo_sif: Path) -> None:
    """Podman and Apptainer have left it as it was."""
    (definition,) = find_definitions(IMAGES, "python-base")
    assert from_labels(read_sif(demo_sif).labels, "demo") == definition.checks
    assert len(definition.checks) == 3


# --- where it lies in the registry


@pytest.mark.parametrize("where", ["c001", "controller"])
def test_an_image_where_it_lies(cli: Cli, deployed: str, demo_sif: Path, where: str, tmp_path: Path) -> None:
    report = tmp_path / "x.xml"
    shown = cli("test", deployed, "--on", where, "--junitxml", report).check().stdout.splitlines()
    assert [line.split()[0] for line in shown[:4]] == ["✓"] * 4
    assert shown[-2].startswith(f"{deployed} on {where}: 3 checks passed, 0 skipped; ")
    assert shown[-1] == f"sha256 {hash_file(demo_sif)}"
    suite = ET.parse(report).getroot()[0]  # noqa: S314
    assert suite.find(f".//property[@name='digest'][@value='sha256:{hash_file(demo_sif)}']") is not None
    assert (suite.get("tests"), suite.get("failures"), suite.get("errors")) == ("4", "0", "0")


@pytest.mark.parametrize("where", ["c001", "controller"])
def test_bad_checks_fail_and_nothing_of_them_stays(
    cli: Cli, machines: Machines, deployed: str, bad: Path, where: str
) -> None:
    result = cli("test", deployed, "--on", where, "--checks", bad, "--json")
    refused(result, 1, "5 of its checks failed: hangs, ignores signals, floods, leaves children, dies")
    assert as_expected(ended(result.stdout)), result.stdout
    assert left(machines, CONTROLLER if where == "controller" else where) == ""
    assert machines.tell(CONTROLLER, "squeue --noheader") == ""


def test_a_gpu_only_where_slurm_has_one(cli: Cli, machines: Machines, deployed: str, tmp_path: Path) -> None:
    checks = tmp_path / "gpu.yaml"
    checks.write_text(GPU)
    refused(cli("test", deployed, "--on", "controller", "--checks", checks), 3, "all of its checks were skipped")
    refused(cli("test", deployed, "--on", "c002", "--checks", checks), 1, "nvidia-smi")  # a GPU without a driver
    machines.tell("c001", DRIVER)
    try:
        shown = cli("test", deployed, "--on", "c001", "--checks", checks, "--memory", "2G").check().stdout
        assert "1 check passed, 0 skipped; memory: as Slurm confines jobs, --mem=2048M" in shown
    finally:
        machines.tell("c001", NO_DRIVER)


def test_what_could_not_be_determined(cli: Cli, machines: Machines, deployed: str) -> None:
    refused(cli("test", deployed, "--on", "c009"), 2, "c009: no such node in this cluster")
    refused(cli("test", "gone.sif", "--on", "c001"), 2, "is not in the catalog")
    refused(cli("test", "gone.sif"), 2, "there is no such file", "--on NODE")
    with machines.in_front_of("c002", "/usr/bin/apptainer", "exit 1"):
        refused(cli("test", deployed, "--on", "c002"), 1, "the container starts")
    assert machines.tell(CONTROLLER, "squeue --noheader") == ""


def test_another_version_on_a_node_is_not_the_catalogs(cli: Cli, machines: Machines, deployed: str) -> None:
    path = f"/opt/containers/{deployed}"
    machines.tell("c003", f"cp {path} /srv/same.sif && mv {path} {path}.kept && mv /srv/same.sif {path}")
    try:
        refused(cli("test", deployed, "--on", "c003"), 1, "is not the catalog's version", "sync")
    finally:
        machines.tell("c003", f"mv {path}.kept {path}")


# --- in the suite


def test_the_suite_runs_them_on_each_image(
    suites: Suites, cli: Cli, machines: Machines, deployed: str, sif: Callable[..., Path]
) -> None:
    cli("deploy", "single", "-s", sif("without-checks")).check()
    words = ("-k", "own_checks")
    result, cases = suites("e2e", *words)
    states = {case.attrib["name"]: case.find("skipped") is not None for case in cases}
    assert states == {
        f"test_image_passes_its_own_checks[{deployed}]": False,
        "test_image_passes_its_own_checks[ml-frameworks/without-checks.sif]": True,
    }
    assert result.exit_code == 0, result.stdout
    assert "has no checks" in result.stdout + ET.tostring(cases[1], encoding="unicode")
    machines.tell(CONTROLLER, f"sed -i.kept 's/the sum is 45/the sum is 46/' {CATALOG}")
    try:
        result, cases = suites("e2e", *words, "-n", "2")
        assert failed(cases) == [f"test_image_passes_its_own_checks[{deployed}]"]
        assert 'printed "the sum is 45", and not "the sum is 46"' in result.stdout
    finally:
        machines.tell(CONTROLLER, f"mv {CATALOG}.kept {CATALOG}")


# --- a file, on a machine with Apptainer


@pytest.fixture(scope="module")
def workstation(machines: Machines, demo_sif: Path) -> Iterator[str]:
    """A machine of the lab with the library and the image in /srv/tested."""
    package = Path(pytest_hpcregistry.__file__).parent
    machines.tell("c002", "mkdir -p /srv/tested")
    machines.put("c002", package, "/srv/tested/pytest_hpcregistry")
    machines.put("c002", demo_sif, "/srv/tested/demo.sif")
    machines.tell("c002", "chmod -R a+rX /srv/tested")
    yield "c002"
    machines.tell("c002", "rm -rf /srv/tested")


@pytest.fixture(params=["root", "alice"])
def local(request: pytest.FixtureRequest, machines: Machines, workstation: str) -> Local:
    """`local("")`: what the checks in the label, or others, came to there, as root and as an ordinary user."""

    def run(checks: str, memory: int = 8 << 30) -> dict[str, tuple[str, str]]:
        argv = ["python3", "-c", SCRIPT, "/srv/tested/demo.sif", checks, str(memory)]
        become = f"runuser -u {request.param} -- env -C / PYTHONPATH=/srv/tested {shlex.join(argv)}"
        return ended(machines.tell(workstation, become))

    return run


def test_a_file_on_a_machine_with_apptainer(local: Local) -> None:
    assert [state for state, _ in local("").values()] == ["passed"] * 3


def test_bad_checks_of_a_file(local: Local, machines: Machines, workstation: str, bad: Path) -> None:
    machines.put(workstation, bad, "/srv/tested/bad.yaml")
    found = local("/srv/tested/bad.yaml")
    assert as_expected(found), found
    assert left(machines, workstation) == ""


def test_a_container_is_closed_off(local: Local, machines: Machines, workstation: str, tmp_path: Path) -> None:
    """It sees neither home nor the machine's files and processes, and it can change nothing."""
    sees = "ls /srv/tested /root /home /tmp 2> /dev/null | grep -c sif; ls -d /proc/[0-9]* | wc -l | grep -c '...'; env"
    text = f'checks:\n  - run: [sh, -c, {json.dumps(sees)}]\n    output: "0\\n0\\n"\n'
    text += "  - run: [touch, /etc/x]\n    exit: 1\n  - run: [mknod, /tmp/x, b, '8', '0']\n    exit: 1\n"
    (tmp_path / "closed.yaml").write_text(text)
    machines.put(workstation, tmp_path / "closed.yaml", "/srv/tested/closed.yaml")
    assert [state for state, _ in local("/srv/tested/closed.yaml").values()] == ["passed"] * 3


def test_a_check_that_wants_too_much_memory(local: Local, machines: Machines, workstation: str, tmp_path: Path) -> None:
    (tmp_path / "memory.yaml").write_text("checks:\n  - run: [python3, -c, 'print(len(bytes(3 << 30)))']\n")
    machines.put(workstation, tmp_path / "memory.yaml", "/srv/tested/memory.yaml")
    ((state, detail),) = local("/srv/tested/memory.yaml", 2 << 30).values()
    assert state == "failed"
    assert "MemoryError" in detail or "SIGKILL" in detail


# --- before a deploy


def test_a_deploy_that_cannot_test_sends_nothing(
    cli: Cli, machines: Machines, deployed: str, demo_sif: Path, tmp_path: Path
) -> None:
    """This machine has no Apptainer; what a failed check does to a deploy is in tests/unit/cluster/test_deploy.py."""
    if shutil.which("apptainer"):
        pytest.skip("this machine has Apptainer")
    before = machines.trees()
    copy = tmp_path / "another.sif"
    shutil.copy(demo_sif, copy)
    refused(cli("deploy", "single", "-s", "--test", copy), 2, "there is no Apptainer on this machine")
    assert machines.trees() == before
