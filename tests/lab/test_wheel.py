"""The wheel alone is enough: installed into an empty environment it runs every command and the suites.

What it depends on comes in the locked versions, so that a new release somewhere else breaks no test here.
"""

from __future__ import annotations

import re
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from pytest_hpcregistry import lab
from pytest_hpcregistry.transports import CommandResult
from pytest_hpcregistry.transports.process import run_process
from tests import ROOT

pytestmark = pytest.mark.lab
Installed = Callable[..., CommandResult]
INSTALL_TIMEOUT = 600  # seconds; all dependencies are fetched, or taken from pip's cache
EXPECTED = (
    "py.typed",
    "agent/facts.py",
    "controller/__main__.py",
    "cluster/releases.json",
    "setup/playbook-container-registry.yml",
    "setup/playbook-container-registry-remove.yml",
    "setup/roles/container_registry/files/ours.sh",
    "setup/roles/container_registry/tasks/main.yml",
    "setup/callback_plugins/hpcregistry_events.py",
    "setup/roles/container_registry/templates/oci.conf.j2",
    "setup/roles/container_registry/files/container-run",
    "lab/files/init.sh",
    "lab/templates/slurm.conf",
    "suites/test_reachable.py",
)


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("wheel")
    pip = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation"]
    argv = [*pip, "--wheel-dir", str(directory), str(ROOT)]
    run_process("this machine", argv, timeout=INSTALL_TIMEOUT).check()
    (built,) = directory.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Installed:
    """`installed("PROGRAM", WORDS…)`: a program of an environment that holds the wheel and nothing of the checkout."""
    home = tmp_path_factory.mktemp("installed")
    run_process("this machine", [sys.executable, "-m", "venv", str(home / "venv")], timeout=120).check()
    locked = re.findall(r"^\S+==.*?(?= \\$)", (ROOT / "requirements" / "development.txt").read_text(), re.MULTILINE)
    (home / "constraints.txt").write_text("\n".join(locked))
    pip = [str(home / "venv" / "bin" / "pip"), "install", "--quiet", "--disable-pip-version-check"]
    argv = [*pip, "--constraint", str(home / "constraints.txt"), str(wheel)]
    run_process("this machine", argv, timeout=INSTALL_TIMEOUT).check()

    def run(program: str, *words: str | Path) -> CommandResult:
        clean = ["env", "-C", str(home), "-u", "PYTHONPATH", "-u", "HPC_CLUSTER"]
        argv = [*clean, str(home / "venv" / "bin" / program), *map(str, words)]
        return run_process("workstation", argv, timeout=300)

    return run


def test_everything_is_in_the_wheel(wheel: Path) -> None:
    names = set(zipfile.ZipFile(wheel).namelist())
    assert [path for path in EXPECTED if f"pytest_hpcregistry/{path}" not in names] == []
    listed = run_process(
        "this machine", ["git", "-C", str(ROOT), "ls-files", "suites", "pytest_hpcregistry"], timeout=30
    )
    tracked = {
        path if path.startswith("pytest_hpcregistry/") else f"pytest_hpcregistry/{path}"
        for path in listed.check().stdout.splitlines()
    }
    assert len(tracked) > 60
    assert tracked - names == set()


def test_it_is_what_runs(installed: Installed) -> None:
    said = installed("python", "-c", "import pytest_hpcregistry; print(pytest_hpcregistry.__file__)").check().stdout
    assert "site-packages" in said
    assert str(ROOT) not in said


def test_help(installed: Installed) -> None:
    said = installed("hpc-container-manager", "--help").check().stdout
    assert "registry" in said
    assert "deploy" in said


def test_registry_setup_check(installed: Installed, set_up_lab: lab.LabState) -> None:
    """The playbook and the role of the wheel, and the ansible-playbook that was installed with it: nothing to do."""
    said = installed("hpc-container-manager", "registry", "setup", "--check", "--cluster", set_up_lab.cluster_file)
    assert said.check().stdout.count("changed=0 ") == len(set_up_lab.machines)


def test_status(installed: Installed, set_up_lab: lab.LabState, deployed: str) -> None:
    said = installed("hpc-container-manager", "status", "--cluster", set_up_lab.cluster_file).check()
    assert deployed in said.stdout


def test_the_suites_by_plain_pytest(installed: Installed, set_up_lab: lab.LabState) -> None:
    cluster = f"--hpc-cluster={set_up_lab.cluster_file}"
    said = installed("pytest", "--pyargs", "pytest_hpcregistry.suites", "-m", "infrastructure", cluster).check().stdout
    assert " passed" in said
    assert "failed" not in said


def test_the_suites_by_the_command_line(installed: Installed, set_up_lab: lab.LabState, deployed: str) -> None:
    words = ("--phase", "deployment", "--cluster", set_up_lab.cluster_file)
    said = installed("hpc-container-manager", "test", *words).check().stdout
    assert deployed in said or "phase deployment: " in said
    assert ", 0 failed, 0 skipped" in said
