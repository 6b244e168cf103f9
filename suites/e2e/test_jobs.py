"""Images run as users run them: by hand, by srun and by sbatch. Where a step ran is proven, not assumed."""

from __future__ import annotations

import pytest

from pytest_hpcregistry.cluster.jobs import Slurm
from pytest_hpcregistry.core.catalog import Entry
from pytest_hpcregistry.core.facts import Machine
from pytest_hpcregistry.core.model import Registry
from pytest_hpcregistry.core.nodeset import fold

pytestmark = pytest.mark.e2e
Sif = tuple[str, Entry]
# Apptainer and SingularityCE set SINGULARITY_CONTAINER to the image's path, and only an image has /.singularity.d.
WHERE = 'test -d /.singularity.d && echo "$SLURMD_NODENAME $SINGULARITY_CONTAINER" || echo "$SLURMD_NODENAME the host"'
BY_HAND = 'program=$(command -v apptainer || command -v singularity) && exec "$program" exec "$@"'
DISTRIBUTED = """\
#!/bin/bash
#SBATCH --job-name=hpcregistry-distributed
#SBATCH --nodes={nodes}
#SBATCH --ntasks-per-node=4
#SBATCH --container={image}
echo "script on $SLURMD_NODENAME in $SINGULARITY_CONTAINER"
echo "nodes $SLURM_JOB_NUM_NODES tasks $SLURM_NTASKS_PER_NODE job $SLURM_JOB_ID"
"""


def test_apptainer_exec_on_every_node(slurm: Slurm, sif: Sif, nodes: dict[str, Machine], registry: Registry) -> None:
    path = f"{registry.path}/{sif[0]}"
    words = ["/bin/sh", "-c", BY_HAND, "by-hand", path, "/bin/sh", "-c", WHERE]
    result = slurm.srun(f"--nodelist={fold(nodes)}", f"--nodes={len(nodes)}", "--ntasks-per-node=1", *words).check()
    assert sorted(result.stdout.splitlines()) == [f"{name} {path}" for name in sorted(nodes)]


def test_srun_container_on_every_node(slurm: Slurm, sif: Sif, nodes: dict[str, Machine], registry: Registry) -> None:
    path = f"{registry.path}/{sif[0]}"
    words = [f"--container={path}", "/bin/sh", "-c", WHERE]
    result = slurm.srun(f"--nodelist={fold(nodes)}", f"--nodes={len(nodes)}", "--ntasks-per-node=1", *words).check()
    assert sorted(result.stdout.splitlines()) == [f"{name} {path}" for name in sorted(nodes)]


def test_job_environment_is_inside(slurm: Slurm, sif: Sif, registry: Registry) -> None:
    """Training jobs find their rank by SLURM_PROCID: each task has its own."""
    path = f"{registry.path}/{sif[0]}"
    words = ["/bin/sh", "-c", 'echo "$SLURM_PROCID of $SLURM_NTASKS in $SINGULARITY_CONTAINER"']
    result = slurm.srun("--nodes=1", "--ntasks=4", f"--container={path}", *words).check()
    assert sorted(result.stdout.splitlines()) == [f"{rank} of 4 in {path}" for rank in range(4)]


def test_exit_code_of_the_step_is_passed_on(slurm: Slurm, sif: Sif, registry: Registry) -> None:
    result = slurm.srun("--nodes=1", f"--container={registry.path}/{sif[0]}", "/bin/sh", "-c", "exit 7")
    assert result.exit_code == 7


def test_sbatch_container(slurm: Slurm, sif: Sif, nodes: dict[str, Machine], registry: Registry) -> None:
    path = f"{registry.path}/{sif[0]}"
    count = min(2, len(nodes))
    job = slurm.sbatch(DISTRIBUTED.format(nodes=count, image=path))
    assert (job.state, job.exit_code) == ("COMPLETED", "0:0"), job.output
    # bash warns first of a locale of the submitting user that the image does not have.
    first, second = job.output.splitlines()[-2:]
    assert first.endswith(f"in {path}")
    assert f"nodes {count} tasks 4 job " in second
