"""`test SIF`: one line for each check, a summary with the digest, and an exit code that is not green by itself."""

from __future__ import annotations

import json
import xml.etree.ElementTree as ET
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from pytest_hpcregistry import cli
from pytest_hpcregistry.cli import test as test_command
from pytest_hpcregistry.core.digest import hash_file
from pytest_hpcregistry.core.errors import CheckFailed, UsageError
from pytest_hpcregistry.core.events import CheckEnded
from pytest_hpcregistry.images.definitions.checks import LABEL, Check, to_label
from pytest_hpcregistry.images.running.outcomes import Outcome
from pytest_hpcregistry.testing.sif import Sif, label_object, system_partition

PASSES, FAILS = Check(run=("echo", "a b"), output="a b"), Check(run=("false",), name="no")


@pytest.fixture(autouse=True)
def place(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("HPC_CLUSTER", "TEST_CONTROLLER", "TEST_IMAGE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(tmp_path)


def run(*words: str) -> Result:
    return CliRunner().invoke(cli.commands, ["test", *words])


def sif(*checks: Check) -> str:
    labels = label_object({LABEL: to_label(checks)} if checks else {})
    Path("x.sif").write_bytes(Sif(parts=(labels, system_partition())).to_bytes())
    return "x.sif"


def test_a_line_for_each_check_and_the_digest(apptainer: Path) -> None:
    result = run(sif(PASSES), "--memory", "4G")
    assert result.exit_code == 0, result.output
    first, second, *summary = result.output.splitlines()
    assert first.startswith("✓ x.sif: the container starts (")
    assert second.startswith("✓ x.sif: echo 'a b' (")
    assert summary == [
        "x.sif on this machine: 1 check passed, 0 skipped; memory: 4.0 GiB for each process (RLIMIT_AS)",
        f"sha256 {hash_file(Path('x.sif'))}",
    ]


@pytest.mark.parametrize(("checks", "kind"), [((PASSES, FAILS), CheckFailed), ((), UsageError)])
def test_what_is_not_green(apptainer: Path, checks: tuple[Check, ...], kind: type[Exception]) -> None:
    result = run(sif(*checks))
    assert type(result.exception) is kind
    assert ("✗ x.sif: no: failed: exit code 1, not 0: it said nothing" in result.output) == bool(checks)


def test_without_apptainer_it_is_said_what_to_install(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    Path("old.xml").touch()
    result = run(sif(PASSES), "--junitxml", "old.xml")
    assert isinstance(result.exception, UsageError)
    assert not Path("old.xml").exists(), "nobody takes an old report for this test's"


def test_the_reports_for_programs(apptainer: Path) -> None:
    result = run(sif(PASSES, FAILS), "--json", "--junitxml", "reports/x.xml")
    assert isinstance(result.exception, CheckFailed)
    shown = json.loads(result.output)
    assert shown["digest"] == hash_file(Path("x.sif"))
    assert [(one["check"], one["state"]) for one in shown["ended"][1:]] == [("echo 'a b'", "passed"), ("no", "failed")]
    suite = ET.parse("reports/x.xml").getroot()[0]  # noqa: S314
    assert suite.find(f".//property[@name='digest'][@value='sha256:{shown['digest']}']") is not None
    assert [suite.get(name) for name in ("tests", "failures", "errors")] == ["3", "1", "0"]


def test_the_checks_of_a_file(apptainer: Path) -> None:
    Path("image.yaml").write_text("name: y\nchecks:\n  - run: [echo, a b]\n    output: a b\n")
    assert run(sif(FAILS), "--checks", "image.yaml").exit_code == 0
    Path("image.yaml").write_text("name: y\n")
    assert isinstance(run(sif(PASSES), "--checks", "image.yaml").exception, UsageError)


def test_an_image_of_the_registry(monkeypatch: pytest.MonkeyPatch) -> None:
    called: list[Any] = []

    def check_on(where: str, name: str, client: Any, *_: Any, **how: Any) -> Outcome:
        called.append((where, name, client.cluster.controller.host, how))
        return Outcome(name, "d" * 64, where, "srun --mem=8192M", (CheckEnded(name, "a", "passed"),) * 2)

    monkeypatch.setattr(test_command, "check_on", check_on)
    result = run("ml-frameworks/x.sif", "--on", "c1", "--controller", "hpc")
    assert result.output.splitlines()[-1] == f"sha256 {'d' * 64}"
    assert called == [("c1", "ml-frameworks/x.sif", "hpc", {"checks": None, "memory": None})]
    assert isinstance(run("ml-frameworks/x.sif", "--on", "c1").exception, UsageError), "of which cluster?"


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["x.sif", "--phase", "e2e"], "--phase is for a cluster, not for a SIF"),
        (["x.sif", "--all"], "--all is for a cluster"),
        (["x.sif", "--image", "y.sif"], "--image is for a cluster"),
        (["x.sif", "-n", "2"], "--workers is for a cluster"),
        (["--on", "c1"], "--on needs a SIF"),
        (["x.sif", "--memory", "much"], "'much' is not a number of bytes"),
        (["--phase", "e2e", "--all"], "exclude each other"),
    ],
)
def test_options_of_the_other_kind_are_wrong_use(words: list[str], says: str) -> None:
    result = run(*words)
    assert (result.exit_code, says in result.output) == (2, True)


def test_an_image_of_the_registry_without_its_machine() -> None:
    result = run("ml-frameworks/x.sif")
    assert isinstance(result.exception, UsageError)
    assert "--on NODE" in result.exception.hint


PYTEST = """\
hpc: 3 of 3 nodes answered
collected 2 items
test_it.py .F                                            [100%]

========================= hpc: 1 finding, 1 waived ==========================
  c3  ml-frameworks/x.sif: missing, should be present
      → hpc-container-manager sync

hpc: not proven: c2 (no job was tried there)
================================= FAILURES ==================================
E   assert [] == []
========================= short test summary info ===========================
FAILED test_it.py::test_x - c3: ml-frameworks/x.sif: missing
=================== 1 failed, 1 passed in 0.15s ====================
"""


@pytest.mark.parametrize(("words", "shown"), [((), PYTEST.splitlines()), (("--quiet",), [4, 5, 6, 7, 8, 12])])
def test_quiet_leaves_what_was_found(monkeypatch: pytest.MonkeyPatch, words: tuple[str, ...], shown: list[Any]) -> None:
    """It is the result, and no progress."""

    def run_phases(phases: Any, options: Any, reports: Path, *, on_line: Any, **more: Any) -> None:
        for line in PYTEST.splitlines():
            on_line(line)

    monkeypatch.setattr(test_command, "run_phases", run_phases)
    result = run("--phase", "e2e", "--controller", "hpc", *words)
    lines = PYTEST.splitlines()
    expected = [lines[one] if isinstance(one, int) else one for one in shown]
    assert [line for line in result.stdout.splitlines() if not line.startswith("report: ")] == expected
