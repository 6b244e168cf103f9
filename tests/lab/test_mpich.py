"""An MPI program by MPICH in an image, started by Slurm through PMI; and started by what it does not understand."""

from __future__ import annotations

from pathlib import Path

import pytest

from pytest_hpcregistry import lab
from tests import ROOT

from .conftest import Cli
from .test_container_run import ALICE, srun

pytestmark = pytest.mark.lab
# What MPI_Init does, in the words that it sends (PMI-1). Debian 12's MPICH itself is not asked on two nodes: over TCP
# its MPI_Finalize now and then waits for ever, by its own mpiexec on one machine as well.
EXCHANGE = """
import os
stream = open(int(os.environ["PMI_FD"]), "r+b", buffering=0)
def ask(words):
    stream.write(("cmd=%s\\n" % words).encode())
    return dict(word.split("=", 1) for word in stream.readline().decode().split())
rank, size = int(os.environ["PMI_RANK"]), int(os.environ["PMI_SIZE"])
ask("init pmi_version=1 pmi_subversion=1")
space = ask("get_my_kvsname")["kvsname"]
ask("put kvsname=%s key=node%d value=%s" % (space, rank, os.environ["SLURMD_NODENAME"]))
ask("barrier_in")
print(rank, *[ask("get kvsname=%s key=node%d" % (space, other))["value"] for other in range(size)])
ask("finalize")
"""


@pytest.fixture(scope="module")
def image(set_up_lab: lab.LabState, mpich_sif: Path, cli: Cli) -> str:
    """The image on all machines."""
    cli("deploy", "single", "-s", mpich_sif).check()
    return f"/opt/containers/ml-frameworks/{mpich_sif.name}"


def test_its_own_check_passes_on_a_node(cli: Cli, image: str) -> None:
    """Two tasks, which share memory."""
    shown = cli("test", Path(image).name, "--on", "c001").check().stdout
    assert "two tasks are one program" in shown


def test_an_mpi_that_does_not_understand_the_clusters_pmi_is_found(cli: Cli, image: str, tmp_path: Path) -> None:
    """Each task is the only one of its program, and ends with 0: nobody else would notice."""
    text = (ROOT / "fixtures/images/mpich-base/image.yaml").read_text()
    checks = tmp_path / "checks.yaml"
    checks.write_text(text.replace("mpi: pmi2", "mpi: pmix"))
    assert checks.read_text() != text
    result = cli("test", Path(image).name, "--on", "c001", "--checks", checks)
    assert result.exit_code == 1
    said = result.stdout + result.stderr
    assert 'printed "one of 1' in said
    assert "srun --mpi=pmix, PMIx 5." in said
    assert "1.2.5, 2.0.3, or 2.1.1 and newer" in said


def test_the_tasks_of_two_nodes_find_each_other(on: Cli, image: str) -> None:
    words = srun(image, "python3", "-c", EXCHANGE, options="--mpi=pmi2 -N2 --ntasks-per-node=2 -w c001,c002")
    result = on(ALICE, f"timeout 60 {words}")
    assert (result.exit_code, result.stderr) == (0, "")
    assert sorted(result.stdout.splitlines()) == [f"{rank} c001 c001 c002 c002" for rank in range(4)]
