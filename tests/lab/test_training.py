"""The seed's Operational Workflows with a real image: PyTorch, deployed, and a training job of two nodes on it.

`make demo-ml` runs them, `make lab-test` does not: building and converting such an image takes minutes.
"""

from __future__ import annotations

import json
import re
import shlex
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pytest_hpcregistry import lab
from pytest_hpcregistry.core.digest import hash_file
from pytest_hpcregistry.images.definitions.definition import find_definitions
from pytest_hpcregistry.images.making.convert import default_output
from pytest_hpcregistry.images.making.current import is_current
from pytest_hpcregistry.lab.podman import podman
from tests import ROOT
from tests.fakes.osv import osv_server
from tests.fakes.signer import Signer

from .conftest import IMAGES, Cli
from .machines import Machines, edit_cluster
from .test_container_run import ALICE, srun

pytestmark = pytest.mark.ml
TRAINING = ROOT / "examples" / "training"
NAME = "ml-frameworks/pytorch-cpu.sif"
IMAGE = f"/opt/containers/{NAME}"
STEPS = 200
SHOW = """python3 -c 'import torch; print(f"PyTorch: {torch.__version__}")'"""
SAME = 1e-9  # relative: what another order of additions in float64 may come to after so many steps
Record = Callable[[str, object], None]


@pytest.fixture(scope="module")
def sif(running_lab: lab.LabState, cli: Cli) -> Path:
    """The image, built of its definition and converted where it has changed."""
    (definition,) = find_definitions(IMAGES, "pytorch-cpu")
    path = ROOT / default_output(definition.image)
    cli("image", "build", definition.name, "--definitions", IMAGES, timeout=1200).check()
    if not is_current(path, definition):
        cli("convert", "to-apptainer", definition.image, path, "--force", timeout=1200).check()
    return path


@pytest.fixture(scope="module")
def deployed(set_up_lab: lab.LabState, sif: Path, cli: Cli) -> str:
    """The image on all machines, by its path there."""
    cli("deploy", "single", "-s", "-v", sif, timeout=900).check()
    return IMAGE


@pytest.fixture(scope="module")
def alone(deployed: str, on: Cli) -> dict[str, Any]:
    """What one process computes."""
    text = (TRAINING / "train.py").read_text()
    on(ALICE, f"rm -rf ~/training && mkdir ~/training && printf %s {shlex.quote(text)} > ~/training/train.py").check()
    words = srun(deployed, "python3", "train.py", f"--steps={STEPS}", options="-n1")
    return last_line(on(ALICE, f"cd ~/training && {words}", timeout=300).check().stdout)


def last_line(output: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(output.splitlines()[-1])
    return found


def render(cli: Cli, on: Cli, **values: str) -> None:
    """The seed's script, as ~/training/distributed_training.sh."""
    values = {"nodes": "2", "ntasks_per_node": "4", "gres": "gpu:4", "script": "train.py", **values}
    words = [word for key, value in values.items() for word in ("--set", f"{key}={value}")]
    template = TRAINING / "distributed_training.sh.j2"
    script = cli("job", "render", template, "--image", "pytorch-cpu.sif", *words).check().stdout
    assert f"srun --container={IMAGE} " in script
    on(ALICE, f"printf %s {shlex.quote(script)} > ~/training/distributed_training.sh").check()


def wait_for(on: Cli, script: str, seconds: float) -> str:
    """What *script* prints as soon as it ends well. Raises CommandFailed with its last words after so many seconds."""
    deadline = time.monotonic() + seconds
    while (result := on(ALICE, script)).exit_code != 0:
        if time.monotonic() > deadline:
            result.check()
        time.sleep(1)
    return result.stdout


def test_workflow_1_deploy_new_container(
    deployed: str, sif: Path, on: Cli, machines: Machines, record_property: Record
) -> None:
    """Built and converted by the fixture `sif`, deployed by `deployed`."""
    assert on("hpc-controller", f"apptainer exec {deployed} python3 --version").check().stdout.startswith("Python 3.11")
    digests = {
        "sif": hash_file(sif),
        **{machine: machines.digest(machine, NAME) for machine in machines.state.machines},
    }
    for place, digest in digests.items():
        record_property(f"digests {place}", digest)
    assert len(digests) == 5
    assert set(digests.values()) == {hash_file(sif)}


def test_step_3_2_manual_verification(deployed: str, on: Cli) -> None:
    assert "io.hpcregistry.definition: " in on("hpc-controller", f"apptainer inspect {deployed}").check().stdout
    for user, command in (
        ("hpc-controller", f"apptainer exec {deployed} {SHOW}"),
        (ALICE, f"srun --container={deployed} {SHOW}"),
    ):
        assert re.fullmatch(r"PyTorch: 2\.13\.0\S*\n", on(user, command).check().stdout)


def test_workflow_3_manual_cross_node_sync(deployed: str, sif: Path, on: Cli, machines: Machines) -> None:
    for subdirectory in ("", " ml-frameworks"):
        on("c002", f"rm {deployed}").check()
        said = on("hpc-controller", f"/usr/local/bin/registry-sync-to-nodes.sh{subdirectory}", timeout=300).check()
        assert "SUCCESS: sync finished" in said.stdout
        assert machines.digest("c002", NAME) == hash_file(sif)


def test_best_practices_security_access_control(deployed: str, machines: Machines) -> None:
    shown = machines.everywhere(f"stat -c '%U:%G %a' {deployed}")
    assert shown == dict.fromkeys(machines.state.machines, "root:slurm 755\n")


def test_best_practices_security_ssh_key_management(deployed: str, machines: Machines) -> None:
    for node in ("c001", "c002", "c003"):
        (line,) = machines.tell(node, "grep hpcregistry-sync /root/.ssh/authorized_keys").splitlines()
        assert re.match(r'restrict,from="[^"]+",command="/usr/bin/python3 -I [^"]+/agent\.pyz serve --registry ', line)


def test_best_practices_security_image_scanning(
    deployed: str, sif: Path, cli: Cli, running_lab: lab.LabState, tmp_path: Path
) -> None:
    """By pip-audit, with a database on this machine that knows of one vulnerability, and then with that one waived."""
    known = {("torch", version): "PYSEC-2026-1" for version in ("2.13.0", "2.13.0+cpu")}
    with osv_server(known) as (url, asked):
        command = [sys.executable, "-m", "pip_audit", "--path", "{root}/usr/local/lib/python3.11/dist-packages"]
        command += ["--format", "cyclonedx-json", "--cache-dir", str(tmp_path / "cache"), "--progress-spinner", "off"]
        command += ["--vulnerability-service", "osv", "--osv-url", url]
        scan: dict[str, Any] = {"command": command, "exit_codes": ["0", "1"]}
        scanning = edit_cluster(running_lab.cluster_file, tmp_path / "scanning.yaml", scan=scan)
        refused = cli("deploy", "single", sif, cluster=scanning, timeout=900)
        assert refused.exit_code == 1
        assert "the scanner found 1 vulnerability that blocks it: PYSEC-2026-1" in refused.stderr
        waiver = {"id": "PYSEC-2026-1", "until": "9999-12-31", "reason": "made up"}
        waiving = edit_cluster(scanning, tmp_path / "waiving.yaml", scan={"waivers": [waiver]})
        passed = cli("deploy", "single", sif, cluster=waiving, timeout=900).check()
    assert "1 waived" in passed.stdout
    assert "numpy" in dict(asked)


def test_the_image_is_signed(deployed: str, sif: Path, cli: Cli, running_lab: lab.LabState, tmp_path: Path) -> None:
    signer = Signer(tmp_path, "alice@site")
    signed = {"signatures": "warn", "signers": [signer.line], "signing_key": str(signer.key)}
    signing = edit_cluster(running_lab.cluster_file, tmp_path / "signing.yaml", registry=signed)
    assert "pytorch-cpu.sif: is not signed" in cli("verify", "pytorch-cpu.sif", cluster=signing).check().stdout
    cli("deploy", "single", "-s", sif, cluster=signing, timeout=900).check()
    assert "signed by: alice@site" in cli("catalog", "show", "pytorch-cpu.sif", cluster=signing).check().stdout
    assert "not signed" not in cli("verify", "pytorch-cpu.sif", cluster=signing).check().stdout


def test_the_image_passes_its_own_checks_on_a_node(deployed: str, cli: Cli) -> None:
    said = cli("test", "pytorch-cpu.sif", "--on", "c002", timeout=900).check().stdout
    assert "pytorch-cpu.sif: import torch, numpy, mpi4py (" in said
    assert "on c002: 3 checks passed, 0 skipped" in said


def test_best_practices_performance_parallel_deployment(
    deployed: str, sif: Path, demo_sif: Path, cli: Cli, machines: Machines, tmp_path: Path
) -> None:
    """Two images at once, of which one has its bytes there already."""
    for image in (sif, demo_sif):
        (tmp_path / image.name).hardlink_to(image)
    said = cli("deploy", "all", tmp_path, "--sync-nodes", "--parallel", "2", timeout=600).check()
    assert "the controller has its bytes" in said.stdout
    assert machines.digests("ml-frameworks/demo.sif") == {hash_file(demo_sif)}


def test_best_practices_performance_caching(sif: Path, cli: Cli) -> None:
    said = cli("image", "build", "pytorch-cpu", "--definitions", IMAGES).check()
    assert "pytorch-cpu:2.13.0: up to date" in said.stdout


def test_best_practices_maintenance_regular_testing(deployed: str, cli: Cli, tmp_path: Path) -> None:
    said = cli("test", "--all", "--allow-changes", "--reports", tmp_path, timeout=900).check()
    assert "ALL CONTAINER REGISTRY TESTS PASSED" in said.stdout


def test_best_practices_maintenance_catalog_and_log(deployed: str, sif: Path, cli: Cli, on: Cli) -> None:
    shown = json.loads(cli("catalog", "show", "pytorch-cpu.sif", "--json").check().stdout)
    assert (shown["digest"], shown["size"]) == (hash_file(sif), sif.stat().st_size)
    log = on("hpc-controller", "tail -n 50 /var/log/container-registry-sync.log").check().stdout
    assert "SUCCESS" in log
    assert "ml-frameworks" in log


def test_workflow_4_run_training_on_one_process(alone: dict[str, Any], record_property: Record) -> None:
    record_property("loss one_process", alone["loss"])
    assert (alone["processes"], alone["steps"], alone["resumed_from"]) == (1, STEPS, 0)
    assert 0 < alone["loss"] < 0.1, "it has learned: the targets' own variance is a half"


def test_workflow_4_run_distributed_training_job(
    cli: Cli, on: Cli, alone: dict[str, Any], record_property: Record
) -> None:
    render(cli, on, arguments=f"--steps {STEPS}")
    on(ALICE, "cd ~/training && rm -f *.out && sbatch --wait distributed_training.sh && squeue", timeout=300).check()
    found = last_line(on(ALICE, "cat ~/training/pytorch-distributed-*.out").check().stdout)
    record_property("loss distributed", found["loss"])
    assert (found["processes"], found["nodes"], found["gpus"]) == (8, "c[001-002]", "4")
    assert found["loss"] == pytest.approx(alone["loss"], rel=SAME)


def test_workflow_4_goes_on_from_its_checkpoint_when_a_node_is_killed(
    cli: Cli, on: Cli, alone: dict[str, Any], running_lab: lab.LabState, record_property: Record
) -> None:
    """Half-way. Slurm finds the node gone after SlurmdTimeout, queues the job again, and gives it another node.

    It lets such a job wait for two minutes, of which its owner may relieve it.
    """
    render(cli, on, arguments=f"--steps {STEPS} --checkpoint run.pt --every 10 --pause 0.1", job_name="resumed")
    number = on(ALICE, "cd ~/training && sbatch --parsable distributed_training.sh").check().stdout.strip()
    output = f"~/training/resumed-{number}.out"
    wait_for(on, f"grep 'checkpoint at step {STEPS // 2}' {output}", 180)
    victim = running_lab.container("c002")
    podman("kill", "--signal", "KILL", victim).check()
    try:
        wait_for(on, f"squeue -h -j {number} -o %T,%r | grep -x PENDING,BeginTime", 180)
        on(ALICE, f"scontrol update jobid={number} starttime=now").check()
        wait_for(on, f"grep '\"loss\"' {output} || {{ tail -n 5 {output}; squeue; sinfo; false; }}", 300)
    finally:
        podman("start", victim).check()
        wait_for(on, 'test "$(sinfo -h -n c002 -o %T)" = idle || { sinfo; false; }', 180)
    shown = on(ALICE, f"cat {output}").check().stdout
    begins = [int(step) for step in re.findall(r"^8 processes, from step (\d+)", shown, re.MULTILINE)]
    found = last_line(shown)
    record_property("loss resumed", found["loss"])
    assert begins == [0, found["resumed_from"]]
    assert STEPS // 2 <= found["resumed_from"] < STEPS
    assert found["nodes"] == "c[001,003]"
    assert found["loss"] == pytest.approx(alone["loss"], rel=SAME)


def test_workflow_2_update_existing_container(
    deployed: str, sif: Path, cli: Cli, on: Cli, machines: Machines, tmp_path: Path
) -> None:
    """And, beyond the document, back: the older version's bytes are still there."""
    (tmp_path / "Dockerfile").write_text('FROM pytorch-cpu:2.13.0\nLABEL org.opencontainers.image.version="updated"\n')
    podman("build", "--quiet", "--tag", "pytorch-cpu:updated", str(tmp_path), timeout=600).check()
    try:
        updated = tmp_path / sif.name
        cli("convert", "to-apptainer", "pytorch-cpu:updated", updated, "--force", timeout=1200).check()
    finally:
        podman("rmi", "pytorch-cpu:updated").check()
    cli("deploy", "single", "-s", "-v", updated, timeout=900).check()
    assert machines.digests(NAME) == {hash_file(updated)} != {hash_file(sif)}
    assert "PyTorch: 2.13.0" in on("hpc-controller", f"apptainer exec {deployed} {SHOW}").check().stdout
    assert "org.opencontainers.image.version: updated\n" in on("c001", f"apptainer inspect {deployed}").check().stdout
    cli("rollback", "pytorch-cpu.sif", timeout=300).check()
    assert machines.digests(NAME) == {hash_file(sif)}
