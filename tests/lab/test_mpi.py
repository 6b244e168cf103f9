"""An MPI program from inside an image: Debian's Open MPI, started by Slurm through PMIx, on two nodes."""

from __future__ import annotations

from pathlib import Path

import pytest

from pytest_hpcregistry import lab

from .conftest import Cli
from .test_container_run import ALICE, srun

pytestmark = pytest.mark.lab
SUM = (
    "from mpi4py import MPI; all = MPI.COMM_WORLD; "
    "print(all.rank, all.size, all.allreduce(all.rank), MPI.Get_processor_name())"
)


@pytest.fixture(scope="module")
def image(set_up_lab: lab.LabState, mpi_sif: Path, cli: Cli) -> str:
    """The image on all machines."""
    cli("deploy", "single", "-s", mpi_sif).check()
    return f"/opt/containers/ml-frameworks/{mpi_sif.name}"


def test_the_tasks_of_two_nodes_are_one_program(on: Cli, image: str) -> None:
    result = on(ALICE, srun(image, "python3", "-c", SUM, options="--mpi=pmix -N2 --ntasks-per-node=2")).check()
    lines = sorted(result.stdout.splitlines())
    assert [line.split()[:3] for line in lines] == [[str(rank), "4", "6"] for rank in range(4)]
    assert len({line.split()[3] for line in lines}) == 2
    assert result.stderr == "", "no word about memory that cannot be shared"


def test_without_mpi_no_task_begins(on: Cli, image: str) -> None:
    """What the test above would see if the image did not reach Slurm's PMIx: Open MPI ends each task, and says why."""
    result = on(ALICE, srun(image, "python3", "-c", SUM, options="--mpi=none -N2 --ntasks-per-node=2"))
    assert result.exit_code != 0
    assert result.stdout == ""
    assert 'direct launched using "srun"' in result.stderr
