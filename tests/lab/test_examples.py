"""Every script in examples/ runs as it is, submitted by an ordinary user."""

from __future__ import annotations

import re
import shlex
import shutil
from pathlib import Path

import pytest

from pytest_hpcregistry import lab
from tests import ROOT

from .conftest import Cli
from .test_container_run import ALICE

pytestmark = pytest.mark.lab
EXAMPLES = ROOT / "examples"
# Script -> what its output files hold, each by its own name.
EXPECTED = {
    "hello.sh": {"hello.out": r"Python 3\.[0-9.]* from /opt/containers/ml-frameworks/python-base.sif"},
    "steps.sh": {"steps.out": "prepared on c00.\n(task [0-3] of 4\n){4}steps ended with 0"},
    "array.sh": {f"array-{number}.out": f"{number} squared is {number**2}" for number in (1, 2, 3)},
    "gpu.sh": {"gpu.out": "GPUs [0-3],[0-3]"},
    "mpi.sh": {"mpi.out": "the ranks of 4 tasks add up to 6"},
    "checkpoint.sh": {"checkpoint.out": "saved at step ([0-9]+)\n(.*\n)*done after 20 steps"},
}

# Slurm itself would send the signal after nine minutes, and lets a job that is queued again wait for two.
CHECKPOINT = """
    job=$(sbatch --parsable checkpoint.sh)
    state() { squeue -h -j "$job" -o %T,%r; }
    until state | grep -q ^RUNNING; do sleep 0.5; done
    sleep 4
    scancel --batch --signal=USR1 "$job"
    until state | grep -qx PENDING,BeginTime; do sleep 0.5; done
    scontrol update jobid="$job" starttime=now
    while state | grep -q .; do sleep 0.5; done
"""


@pytest.fixture(scope="module", autouse=True)
def images(
    set_up_lab: lab.LabState, demo_sif: Path, mpi_sif: Path, cli: Cli, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """The two images that the scripts name."""
    base = tmp_path_factory.mktemp("images") / "python-base.sif"
    shutil.copy(demo_sif, base)
    for path in (base, mpi_sif):
        cli("deploy", "single", "-s", path).check()


def submit(on: Cli, name: str) -> None:
    text = shlex.quote((EXAMPLES / name).read_text())
    on(ALICE, f"rm -rf ~/{name}.d && mkdir ~/{name}.d && printf %s {text} > ~/{name}.d/{name}").check()


def test_no_example_is_left_out() -> None:
    """training/ has a test of its own: test_training.py."""
    assert {path.name for path in EXAMPLES.iterdir() if path.is_file()} == set(EXPECTED)


@pytest.mark.parametrize("name", sorted(EXPECTED))
def test_an_example_runs(on: Cli, name: str) -> None:
    submit(on, name)
    wait = f"sbatch --wait {name}"
    if name == "checkpoint.sh":
        wait = CHECKPOINT
    on(ALICE, f"cd ~/{name}.d && {{ {wait}\n}}", timeout=180).check()
    for file, pattern in EXPECTED[name].items():
        shown = on(ALICE, f"cat ~/{name}.d/{file}").check().stdout
        assert re.fullmatch(pattern, shown.strip()), shown
