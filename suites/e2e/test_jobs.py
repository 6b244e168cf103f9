"""Images run as users run them: by hand, by srun and by sbatch. Where a step ran is proven, not assumed."""

from __future__ import annotations

from collections.abc import Callable, Collection

import pytest

from pytest_hpcregistry import checks
from pytest_hpcregistry.checks import images
from pytest_hpcregistry.cluster.image_checks import step
from pytest_hpcregistry.cluster.jobs import BY_HAND, Slurm
from pytest_hpcregistry.cluster.kinds import NOT_PROVEN, Prover
from pytest_hpcregistry.core.catalog import Entry
from pytest_hpcregistry.core.facts import Facts, Machine
from pytest_hpcregistry.core.model import Cluster, Registry
from pytest_hpcregistry.core.nodeset import fold

pytestmark = pytest.mark.hpc_e2e
Sif = tuple[str, Entry]
Say = Callable[[Collection[str]], None]
STEP = 60  # seconds in which an image starts, and says where it runs
# Apptainer and SingularityCE set SINGULARITY_CONTAINER to the image's path, and only an image has /.singularity.d.
WHERE = 'test -d /.singularity.d && echo "$SLURMD_NODENAME $SINGULARITY_CONTAINER" || echo "$SLURMD_NODENAME the host"'
DISTRIBUTED = """\
#!/bin/bash
#SBATCH --job-name=hpcregistry-distributed
#SBATCH --nodes={nodes}
#SBATCH --ntasks-per-node=4
#SBATCH --container={image}
echo "script on $SLURMD_NODENAME in $SINGULARITY_CONTAINER"
echo "nodes $SLURM_JOB_NUM_NODES tasks $SLURM_NTASKS_PER_NODE job $SLURM_JOB_ID"
"""


@pytest.fixture
def slurm_runs_images(cluster: Cluster) -> None:
    if not cluster.slurm.container:
        pytest.skip("slurm.container is false in the cluster file: jobs start images by apptainer exec")


@pytest.fixture
def say(
    prover: Prover, sif: Sif, cluster_facts: Facts, cluster: Cluster, hpc_property: Callable[[str, object], None]
) -> Callable[[Collection[str]], None]:
    """Note what jobs on these nodes do not prove."""
    nodes = cluster_facts.nodes.items()
    started = [name for name, node in nodes if images.is_started(node, cluster_facts, cluster, sif[0])]

    def note(proven: Collection[str]) -> None:
        for line in prover.not_proven(proven, started):
            hpc_property(NOT_PROVEN, line)

    return note


def test_apptainer_exec_on_a_node_of_each_kind(
    slurm: Slurm, sif: Sif, prover: Prover, registry: Registry, say: Say
) -> None:
    path = f"{registry.path}/{sif[0]}"
    words = ["/bin/sh", "-c", BY_HAND, "by-hand", path, "/bin/sh", "-c", WHERE]
    with prover.jobs(seconds=STEP) as jobs:
        said = {node: step(slurm, job, words, STEP).check().stdout for node, job in jobs.items()}
    say(said)
    assert said == {node: f"{node} {path}\n" for node in said}


def test_apptainer_exec_without_a_job(
    sif: Sif,
    nodes: dict[str, Machine],
    cluster_facts: Facts,
    cluster: Cluster,
    hpc_property: Callable[[str, object], None],
) -> None:
    """On every node that counts, by the ordinary user, in the login that gathered the facts."""
    tried = [name for name, node in nodes.items() if node.facts.host and sif[0] in node.facts.host.starts]
    if not tried:
        pytest.skip("no image was started without a job: slurm.run_as names no ordinary user, or no node counts")
    hpc_property("started on", fold(tried))
    assert checks.in_images(nodes.values(), [sif[0]], cluster_facts, cluster, images.starts) == []


@pytest.mark.usefixtures("slurm_runs_images")
def test_srun_container_on_a_node_of_each_kind(
    slurm: Slurm, sif: Sif, prover: Prover, registry: Registry, say: Say
) -> None:
    path = f"{registry.path}/{sif[0]}"
    words = [f"--container={path}", "/bin/sh", "-c", WHERE]
    with prover.jobs(seconds=STEP) as jobs:
        said = {node: step(slurm, job, words, STEP).check().stdout for node, job in jobs.items()}
    say(said)
    assert said == {node: f"{node} {path}\n" for node in said}


def test_job_environment_is_inside(slurm: Slurm, sif: Sif, registry: Registry) -> None:
    """Training jobs find their rank by SLURM_PROCID: each task has its own."""
    path = f"{registry.path}/{sif[0]}"
    words = ["/bin/sh", "-c", 'echo "$SLURM_PROCID of $SLURM_NTASKS in $SINGULARITY_CONTAINER"']
    result = slurm.srun("--nodes=1", "--ntasks=4", *slurm.in_image(path, words)).check()
    assert sorted(result.stdout.splitlines()) == [f"{rank} of 4 in {path}" for rank in range(4)]


def test_exit_code_of_the_step_is_passed_on(slurm: Slurm, sif: Sif, registry: Registry) -> None:
    words = slurm.in_image(f"{registry.path}/{sif[0]}", ["/bin/sh", "-c", "exit 7"])
    result = slurm.srun("--nodes=1", *words)
    assert result.exit_code == 7


@pytest.mark.usefixtures("slurm_runs_images")
def test_sbatch_container(slurm: Slurm, sif: Sif, prover: Prover, registry: Registry) -> None:
    """On two nodes, where as many are idle."""
    path = f"{registry.path}/{sif[0]}"
    count = 2 if prover.idle() > 1 else 1
    job = slurm.sbatch(DISTRIBUTED.format(nodes=count, image=path))
    assert (job.state, job.exit_code) == ("COMPLETED", "0:0"), job.output
    # bash warns first of a locale of the submitting user that the image does not have.
    first, second = job.output.splitlines()[-2:]
    assert first.endswith(f"in {path}")
    assert f"nodes {count} tasks 4 job " in second
