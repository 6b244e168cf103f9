"""A step in an image gets the driver of the GPUs that Slurm gave it, and no other step does. The driver is made up."""

from __future__ import annotations

import shlex
from collections.abc import Iterator

import pytest

from pytest_hpcregistry import lab

from .conftest import Cli
from .machines import edit_cluster
from .test_container_run import ALICE, srun

pytestmark = pytest.mark.lab
NODE = "c001"
# What Apptainer's --nv looks for: a library that ldconfig knows by that name, a program, and a device.
DRIVER = """
set -e
python3 - <<'PYTHON'
library = open("/usr/lib/x86_64-linux-gnu/libmunge.so.2", "rb").read()
open("/usr/lib/x86_64-linux-gnu/libcuda.so.1", "wb").write(library.replace(b"libmunge.so.2\\0", b"libcuda.so.1\\0\\0"))
PYTHON
ldconfig
printf '#!/bin/sh\\necho GPU ${CUDA_VISIBLE_DEVICES:-of every number}\\n' > /usr/bin/nvidia-smi
chmod 755 /usr/bin/nvidia-smi
mknod -m 666 /dev/nvidiactl c 1 3
"""
NO_DRIVER = "rm -f /usr/bin/nvidia-smi /dev/nvidiactl /usr/lib/x86_64-linux-gnu/libcuda.so.1; ldconfig"
LOOK = ["/bin/sh", "-c", "nvidia-smi; ls /.singularity.d/libs"]


@pytest.fixture(scope="module")
def image(deployed: str, on: Cli) -> Iterator[str]:
    """An image, and a node with a driver."""
    on(NODE, DRIVER).check()
    yield f"/opt/containers/{deployed}"
    on(NODE, NO_DRIVER).check()


@pytest.mark.parametrize(("given", "numbers"), [("gpu:1", {"0", "1", "2", "3"}), ("gpu:4", {"0,1,2,3"})])
def test_a_step_with_gpus_sees_the_driver_and_its_own_gpus(on: Cli, image: str, given: str, numbers: set[str]) -> None:
    shown = on(ALICE, srun(image, *LOOK, options=f"-w {NODE} --gres={given}")).check().stdout.splitlines()
    assert shown[0].removeprefix("GPU ") in numbers
    assert "libcuda.so.1" in shown


def test_a_step_without_gpus_sees_no_driver(on: Cli, image: str) -> None:
    result = on(ALICE, srun(image, *LOOK, options=f"-w {NODE}"))
    assert "nvidia-smi: not found" in result.stderr
    assert result.stdout == ""


def test_a_batch_script_and_its_steps(on: Cli, image: str) -> None:
    """The script runs on the host, as most do; each of its steps gets what it asks for."""
    step = f"srun --exact --gres=$given --container={image} /bin/sh -c 'nvidia-smi || echo no GPU'"
    lines = ["#!/bin/sh", f"for given in gpu:1 gpu:2 none; do {step}; done", ""]
    script = (
        f"cd ~; printf %s {shlex.quote(chr(10).join(lines))} > gpus.sh; "
        f"sbatch --wait -w {NODE} --gres=gpu:2 -o gpus.out gpus.sh; grep GPU gpus.out"
    )
    shown = on(ALICE, script).check().stdout.splitlines()[1:]
    assert shown[0] in ("GPU 0", "GPU 1")
    assert shown[1:] == ["GPU 0,1", "no GPU"]


def test_a_batch_script_in_the_image(on: Cli, image: str) -> None:
    lines = ["#!/bin/sh", f"#SBATCH --container={image}", "nvidia-smi", ""]
    script = (
        f"cd ~; printf %s {shlex.quote(chr(10).join(lines))} > gpus.sh; "
        f"sbatch --wait -w {NODE} --gres=gpu:2 -o gpus.out gpus.sh; cat gpus.out"
    )
    assert on(ALICE, script).check().stdout.splitlines()[-1] == "GPU 0,1"


def test_what_the_cluster_file_says_of_every_step(
    on: Cli, cli: Cli, image: str, running_lab: lab.LabState, tmp_path_factory: pytest.TempPathFactory
) -> None:
    runtime: dict[str, str | list[str]] = {
        "gpus": "none",
        "binds": ["/srv", "/etc/slurm:/site:ro"],
        "environment": ["SITE=here", "MINE=theirs"],
        "options": ["--pwd=/var"],
    }
    target = tmp_path_factory.mktemp("runtime") / "cluster.yaml"
    cluster = edit_cluster(running_lab.cluster_file, target, runtime=runtime)
    try:
        cli("registry", "setup", cluster=cluster).check()
        look = "command -v nvidia-smi; echo $SITE $MINE $PWD; ls -d /srv /site/slurm.conf; touch /site/x"
        result = on(ALICE, "MINE=mine " + srun(image, "/bin/sh", "-c", look, options=f"-w {NODE} --gres=gpu:1"))
        assert result.stdout.splitlines() == ["here mine /var", "/site/slurm.conf", "/srv"]
        assert "Read-only file system" in result.stderr
        assert cli("test", "--phase", "infrastructure", cluster=cluster).exit_code == 0
        assert "slurm.containers" not in cli("sync").stderr
    finally:
        cli("registry", "setup").check()
