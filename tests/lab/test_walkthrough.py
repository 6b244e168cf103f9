"""The seed's workflow document, from its first command line to its last, on a real cluster.

The commands stand here as the document has them. What this project spells otherwise is in SPELLED_OTHERWISE, and
nowhere else; `ssh` gets the lab's ssh_config. The tests build upon each other: run the whole file.
"""

from __future__ import annotations

import re
import subprocess
import sys
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest

import pytest_hpcregistry
from pytest_hpcregistry import lab
from pytest_hpcregistry.core.digest import hash_file
from pytest_hpcregistry.core.pace import amount
from pytest_hpcregistry.transports import CommandResult
from pytest_hpcregistry.transports.process import run_process
from tests import ROOT

from .conftest import NAME

pytestmark = pytest.mark.lab
Shell = Callable[[str], CommandResult]

SPELLED_OTHERWISE = {
    "docker build": (
        "podman build",
        "the machine of these tests has no Docker daemon; `convert` reads either's images",
    ),
    "containers/scripts/convert-single.sh": ("hpc-container-manager convert single", "one program in place of scripts"),
    "containers/scripts/deploy-single.sh": ("hpc-container-manager deploy single", "one program in place of scripts"),
    "containers/scripts/deploy-all.sh": ("hpc-container-manager deploy all", "one program in place of scripts"),
    "tests/test-container-registry-framework.sh": ("hpc-container-manager test", "one program in place of scripts"),
    "tests/suites/container-registry/run-ansible-infrastructure-tests.sh": (
        "pytest suites -m infrastructure",
        "the suites are plain pytest; from an installed wheel: pytest --pyargs pytest_hpcregistry.suites",
    ),
    "import torch": ("import sys", "the small image of these tests holds Python, but no PyTorch"),
    "torch.__version__": ("sys.version", "the small image of these tests holds Python, but no PyTorch"),
}
IMAGE = "pytorch-cuda12.1-mpi4.1"
SIF = f"build/containers/apptainer/{IMAGE}.sif"
DEPLOYED = f"/opt/containers/ml-frameworks/{IMAGE}.sif"
LOG = "/var/log/container-registry-sync.log"
PACKER = """\
build {
  provisioner "ansible" {
    playbook_file   = "playbook-base.yml"
    extra_arguments = ["--extra-vars", "packer_build=true"]
  }
}
"""
# What these tests use of the demo image; a conversion of all of it takes five times as long.
KEPT = re.compile(
    r"(\./)?(etc/.*|usr/bin/(python3.*|bash|dash|env|cat|find|md5sum|sleep|test)"
    r"|usr/lib/python3[^/]*/(?!.*(__pycache__|pydoc_data|lib-dynload)).*"
    r"|usr/lib/[^/]*-linux-gnu/(ld-|lib(c|m|z|expat|tinfo|selinux|pcre2-8)\.so).*)"
)
TRAIN = """\
import os, sys
print("argv", *sys.argv)
print("in", os.environ["APPTAINER_CONTAINER"])
for name in ("SLURM_JOB_NUM_NODES", "SLURM_NTASKS_PER_NODE", "SLURM_GPUS_ON_NODE"):
    print(name, os.environ.get(name))
"""
BANNER = """\
╔═══════════════════════════════════════════════════════════╗
║                                                           ║
║  ✓✓✓ ALL CONTAINER REGISTRY TESTS PASSED ✓✓✓              ║
║                                                           ║
╚═══════════════════════════════════════════════════════════╝
"""
VENV = Path(sys.executable).parent  # holds the programs of this environment
used: set[str] = set()


def spell(commands: str) -> str:
    """The document's commands as this project spells them."""
    for word, (ours, _) in SPELLED_OTHERWISE.items():
        if word in commands:
            used.add(word)
            commands = commands.replace(word, ours)
    return commands


@pytest.fixture(scope="module")
def project(set_up_lab: lab.LabState, demo_directory: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The directory in which the document's commands are typed: its own paths, with what is needed at them."""
    root = tmp_path_factory.mktemp("project")
    playbooks = root / "ansible" / "playbooks"
    playbooks.parent.mkdir()
    playbooks.symlink_to(Path(pytest_hpcregistry.__file__).parent / "setup")
    (root / "suites").symlink_to(ROOT / "suites")
    (root / "packer").mkdir()
    (root / "packer" / "base.pkr.hcl").write_text(PACKER)
    nodes = "\n".join(set_up_lab.nodes)
    (root / "inventory.ini").write_text(
        f"[controller]\nhpc-controller\n[compute]\n{nodes}\n"
        f"[all:vars]\nansible_user=root\nansible_ssh_common_args=-F {set_up_lab.directory / 'ssh_config'}\n"
    )
    for name in ("pytorch", "my-custom"):
        write_recipe(root / "containers" / "images" / name, demo_directory / "rootfs.tar", "1")
    return root


def write_recipe(directory: Path, rootfs: Path, version: str) -> None:
    """A Containerfile that needs nothing from the network."""
    directory.mkdir(parents=True, exist_ok=True)
    label = f'LABEL org.opencontainers.image.version="{version}"'
    (directory / "Containerfile").write_text(f"FROM scratch\nADD rootfs.tar /\n{label}\n")
    if not (directory / "rootfs.tar").exists():
        with tarfile.open(rootfs) as whole, tarfile.open(directory / "rootfs.tar", "w") as part:
            for member in whole:
                if member.isdir() or member.issym() or KEPT.fullmatch(member.name):
                    part.addfile(member, whole.extractfile(member) if member.isreg() else None)


@pytest.fixture(scope="module")
def workstation(running_lab: lab.LabState, project: Path) -> Shell:
    """Bash on the workstation, in the project's directory, stopping at the first command that fails."""
    ssh = f'ssh() {{ command ssh -F "{running_lab.directory}/ssh_config" "$@"; }}\n'
    settings: dict[str, object] = {
        "HPC_CLUSTER": running_lab.cluster_file,
        "ANSIBLE_INVENTORY": project / "inventory.ini",
        "ANSIBLE_NOCOLOR": "1",
        "ANSIBLE_PIPELINING": "True",
        "LC_ALL": "C.UTF-8",
    }

    def run(commands: str) -> CommandResult:
        # As in one shell: TEST_IMAGE of step 2.5 is still set in all later ones.
        settings.update(re.findall(r"export (\w+)=(\S+)", commands))
        argv = ["env", "-C", str(project), *(f"{name}={value}" for name, value in settings.items())]
        script = f'set -euo pipefail\nPATH="{VENV}:$PATH"\n{ssh}{spell(commands)}\n'
        return run_process("workstation", [*argv, "bash", "-c", script], timeout=600)

    return run


@pytest.fixture(scope="module")
def controller() -> Shell:
    """The shell that `ssh hpc-controller` opens."""

    def run(commands: str) -> CommandResult:
        argv = [*lab.ssh_argv(NAME), f"set -e\n{spell(commands)}\n"]
        return run_process("hpc-controller", argv, timeout=300)

    return run


@pytest.fixture(scope="module", autouse=True)
def images_are_removed() -> object:
    yield
    names = [f"{IMAGE}:latest", "my-custom-image:latest"]
    subprocess.run(["podman", "rmi", "--force", *names], check=False, timeout=120, capture_output=True)


@pytest.fixture(scope="module")
def failed_before(request: pytest.FixtureRequest) -> int:
    return request.session.testsfailed


@pytest.fixture(autouse=True)
def in_order(request: pytest.FixtureRequest, failed_before: int) -> None:
    """After a step that failed there is nothing to be learned from the ones that build upon it."""
    if request.session.testsfailed > failed_before:
        pytest.skip("an earlier step failed")


def digests(machines: lab.LabState, path: str = DEPLOYED) -> set[str]:
    """The SHA-256 of a file on the controller and on every node, read there."""
    read = [
        run_process(machine, [*lab.ssh_argv(NAME, machine), "sha256sum", path], timeout=60).check().stdout.split()[0]
        for machine in machines.machines
    ]
    assert len(read) == 4
    return set(read)


def test_1_1_verify_packer_builds_skip_registry_setup(workstation: Shell, project: Path) -> None:
    assert "packer_build=true" in workstation('grep -r "packer_build" packer/').check().stdout
    workstation("hpc-container-manager registry check-packer packer/").check()
    forgetful = project / "packer" / "forgetful.pkr.hcl"
    forgetful.write_text(PACKER.replace("packer_build=true", "packer_build=false"))
    found = workstation("hpc-container-manager registry check-packer packer/")
    assert found.exit_code == 1
    assert "forgetful.pkr.hcl" in found.stderr
    forgetful.unlink()


def test_1_2_a_packer_build_changes_nothing(workstation: Shell) -> None:
    """The document's CRITICAL sentence, and its first troubleshooting's cause."""
    said = workstation(
        'ansible-playbook ansible/playbooks/playbook-container-registry.yml -e "packer_build=true"'
    ).check()
    assert re.findall(r"changed=(\d+)", said.stdout) == ["0"] * 4


def test_1_2_dry_run(workstation: Shell) -> None:
    said = workstation("ansible-playbook ansible/playbooks/playbook-container-registry.yml --check").check().stdout
    assert re.findall(r"unreachable=(\d+) +failed=(\d+)", said) == [("0", "0")] * 4


def test_1_2_deploy_registry_infrastructure(workstation: Shell) -> None:
    said = workstation("ansible-playbook ansible/playbooks/playbook-container-registry.yml").check().stdout
    assert "PLAY [Deploy Container Registry Infrastructure on HPC Cluster] ***" in said
    assert re.search(r"^TASK \[(\w+ : )?Verify not running in Packer build mode\] \*\*\*", said, re.MULTILINE)
    assert "ok: [hpc-controller] => {\n" in said
    assert '"changed": false,' in said
    assert '"msg": "Running in live VM deployment mode (packer_build=false) ✓"' in said
    assert "PLAY RECAP ***" in said
    assert re.search(r"^hpc-controller +: ok=\d+ +changed=\d+ +unreachable=0 +failed=0", said, re.MULTILINE)


def test_1_3_verify_registry_infrastructure(workstation: Shell) -> None:
    said = workstation(
        """
        export TEST_CONTROLLER=hpc-controller
        tests/test-container-registry-framework.sh --phase infrastructure
        """
    ).check()
    assert re.search(r"phase infrastructure: [1-9]\d+ passed, 0 failed, 0 skipped", said.stdout)


def test_1_3_or_run_directly(workstation: Shell) -> None:
    said = workstation("tests/suites/container-registry/run-ansible-infrastructure-tests.sh").check().stdout
    assert re.search(r"= [1-9]\d+ passed", said)


def test_2_1_build_image(workstation: Shell) -> None:
    workstation(
        """
        cd containers
        docker build -t pytorch-cuda12.1-mpi4.1:latest images/pytorch/
        """
    ).check()


def test_2_2_convert_to_apptainer(workstation: Shell, project: Path) -> None:
    said = workstation(
        r"""
        hpc-container-manager convert to-apptainer \
          pytorch-cuda12.1-mpi4.1:latest \
          build/containers/apptainer/pytorch-cuda12.1-mpi4.1.sif
        """
    ).check()
    assert said.stdout.startswith("Converting Docker image to Apptainer format...\n")
    assert "INFO:    Starting build...\n" in said.stdout
    assert f"\n✓ Successfully converted to {SIF}" in said.stdout
    assert (project / SIF).stat().st_size > 1 << 20


def test_2_2_or_the_conversion_script(workstation: Shell, project: Path) -> None:
    """The same words for the same file: it is there already, and nothing is overwritten that nobody meant to."""
    command = r"""
        containers/scripts/convert-single.sh \
          pytorch-cuda12.1-mpi4.1:latest \
          build/containers/apptainer/pytorch-cuda12.1-mpi4.1.sif
        """
    refused = workstation(command)
    assert refused.exit_code == 2
    assert "exists already" in refused.stderr
    (project / SIF).unlink()
    assert f"\n✓ Successfully converted to {SIF}" in workstation(command).check().stdout


def test_2_3_deploy_single(workstation: Shell, project: Path, running_lab: lab.LabState) -> None:
    workstation(
        r"""
        containers/scripts/deploy-single.sh \
          -s \
          -v \
          build/containers/apptainer/pytorch-cuda12.1-mpi4.1.sif
        """
    ).check()
    assert digests(running_lab) == {hash_file(project / SIF)}


def test_2_3_or_deploy_using_cli_directly(workstation: Shell, project: Path, running_lab: lab.LabState) -> None:
    said = workstation(
        r"""
        hpc-container-manager deploy to-cluster \
          build/containers/apptainer/pytorch-cuda12.1-mpi4.1.sif \
          /opt/containers/ml-frameworks/pytorch-cuda12.1-mpi4.1.sif \
          --controller hpc-controller \
          --sync-nodes \
          --verify
        """
    ).check()
    assert "already published there" in said.stdout
    assert digests(running_lab) == {hash_file(project / SIF)}


def test_2_3_custom_registry_path(workstation: Shell, controller: Shell) -> None:
    """The option `-r`, of the document's list of options; its bytes are on all machines already."""
    command = f"containers/scripts/deploy-single.sh -s -v -r /opt/containers/custom-images {SIF}"
    assert "the controller has its bytes" in workstation(command).check().stdout
    controller(f"test -s /opt/containers/custom-images/{IMAGE}.sif").check()


def test_2_4_deploy_multiple_images(workstation: Shell, project: Path, running_lab: lab.LabState) -> None:
    """The document's lines, the dry run first as it recommends, with a second image that is new."""
    image = project / "build" / "containers" / "apptainer" / "image.sif"
    image.write_bytes((project / SIF).read_bytes())
    with image.open("r+b") as file:
        file.seek(48)  # a SIF's UUID: with another one it is another image, and as sound
        file.write(b"another image...")
    said = workstation("containers/scripts/deploy-all.sh --dry-run").check().stdout
    assert f"would deploy {SIF} as ml-frameworks/{IMAGE}.sif, sending 0 B" in said
    assert f"image.sif as ml-frameworks/image.sif, sending {amount(image.stat().st_size)}" in said
    path = "/opt/containers/ml-frameworks/image.sif"
    assert run_process("hpc-controller", [*lab.ssh_argv(NAME), "test", "-e", path], timeout=60).exit_code == 1
    workstation("containers/scripts/deploy-all.sh --sync-nodes --verify").check()
    assert digests(running_lab, path) == {hash_file(image)}


def test_2_5_verify_image_deployment(workstation: Shell) -> None:
    said = workstation(
        """
        export TEST_CONTROLLER=hpc-controller
        export TEST_IMAGE=pytorch-cuda12.1-mpi4.1.sif
        tests/test-container-registry-framework.sh --phase deployment
        """
    ).check()
    assert re.search(r"phase deployment: [1-9]\d+ passed, 0 failed, 0 skipped", said.stdout)


def test_3_1_run_end_to_end_tests(workstation: Shell) -> None:
    said = workstation(
        """
        export TEST_CONTROLLER=hpc-controller
        tests/test-container-registry-framework.sh --phase e2e
        """
    ).check()
    assert re.search(r"phase e2e: [1-9]\d* passed, 0 failed", said.stdout)


def test_3_2_image_exists(controller: Shell) -> None:
    said = controller("ls -lh /opt/containers/ml-frameworks/pytorch-cuda12.1-mpi4.1.sif").check().stdout
    assert re.match(r"-rwxr-xr-x \d+ root slurm +[\d.]+M ", said)


def test_3_2_inspect_image(controller: Shell) -> None:
    said = controller("apptainer inspect /opt/containers/ml-frameworks/pytorch-cuda12.1-mpi4.1.sif").check()
    assert "org.opencontainers.image.version: 1\n" in said.stdout


def test_3_2_execution_directly(controller: Shell) -> None:
    said = controller(
        r"""
        apptainer exec /opt/containers/ml-frameworks/pytorch-cuda12.1-mpi4.1.sif \
          python3 -c 'import torch; print(f"PyTorch: {torch.__version__}")'
        """
    ).check()
    assert said.stdout.startswith("PyTorch: 3.")


def test_3_2_with_slurm(controller: Shell) -> None:
    said = controller(
        r"""
        srun --container=/opt/containers/ml-frameworks/pytorch-cuda12.1-mpi4.1.sif \
          python3 -c 'import torch; print(f"PyTorch: {torch.__version__}")'
        """
    ).check()
    assert said.stdout.startswith("PyTorch: 3.")


def test_3_3_run_full_test_suite(workstation: Shell, project: Path) -> None:
    said = workstation(
        """
        export TEST_CONTROLLER=hpc-controller
        tests/test-container-registry-framework.sh --all
        """
    ).check()
    assert said.stdout.endswith(BANNER)
    assert (project / "reports" / "junit.xml").exists()


def test_workflow_1_deploy_new_container(workstation: Shell) -> None:
    said = workstation(
        r"""
        cd containers
        docker build -t my-custom-image:latest images/my-custom/
        cd ..
        hpc-container-manager convert to-apptainer \
          my-custom-image:latest \
          build/containers/apptainer/my-custom-image.sif

        containers/scripts/deploy-single.sh \
          -s -v \
          build/containers/apptainer/my-custom-image.sif

        ssh hpc-controller "apptainer exec /opt/containers/ml-frameworks/my-custom-image.sif python3 --version"
        """
    ).check()
    assert said.stdout.splitlines()[-1].startswith("Python 3.")


def test_workflow_2_update_while_a_job_runs_from_the_old_image(
    workstation: Shell, controller: Shell, project: Path, demo_directory: Path, running_lab: lab.LabState
) -> None:
    old = digests(running_lab)
    write_recipe(project / "containers" / "images" / "pytorch", demo_directory / "rootfs.tar", "2")
    # It reads every file of its image when the update is done: /tmp is the node's own, in the image and outside.
    reads = "until test -e /tmp/updated; do sleep 0.2; done; find /usr -type f -exec cat {} + | md5sum && echo whole"
    controller(
        f"rm -f /root/job.out; srun -w c001 rm -f /tmp/updated; srun -J old -w c001 --container={DEPLOYED}"
        f" sh -c '{reads}' > /root/job.out 2>&1 < /dev/null & sleep 1; squeue -h -n old -o %T | grep RUNNING"
    ).check()
    said = workstation(
        r"""
        (cd containers && docker build -t pytorch-cuda12.1-mpi4.1:latest images/pytorch/)

        hpc-container-manager convert to-apptainer \
          pytorch-cuda12.1-mpi4.1:latest \
          build/containers/apptainer/pytorch-cuda12.1-mpi4.1.sif \
          --force

        containers/scripts/deploy-single.sh \
          -s -v \
          build/containers/apptainer/pytorch-cuda12.1-mpi4.1.sif

        ssh hpc-controller "apptainer exec /opt/containers/ml-frameworks/pytorch-cuda12.1-mpi4.1.sif python3 -c 'import torch; print(torch.__version__)'"
        """  # noqa: E501 - the document's own line
    ).check()
    assert said.stdout.splitlines()[-2].startswith("3.") or said.stdout.splitlines()[-1].startswith("3.")
    assert digests(running_lab) == {hash_file(project / SIF)} != old
    assert "org.opencontainers.image.version: 2\n" in controller(f"apptainer inspect {DEPLOYED}").check().stdout
    finished = controller(
        "srun -w c001 touch /tmp/updated; while squeue -h -n old | grep -q .; do sleep 0.2; done; cat /root/job.out"
    )
    assert "whole" in finished.check().stdout.split()


def test_workflow_3_manual_cross_node_sync(controller: Shell, running_lab: lab.LabState) -> None:
    """A node that has lost its image gets it back: by the sync of everything, and by that of one subdirectory."""
    wanted = digests(running_lab)
    lose = f"ssh c002 'rm {DEPLOYED}'"
    said = controller(f"{lose}\n/usr/local/bin/registry-sync-to-nodes.sh").check().stdout
    assert "SUCCESS: sync finished" in said
    assert digests(running_lab) == wanted
    controller(f"{lose}\n/usr/local/bin/registry-sync-to-nodes.sh ml-frameworks").check()
    assert digests(running_lab) == wanted
    # tail -f never ends by itself.
    log = controller(f"timeout 1 tail -f {LOG} || test $? = 124").check().stdout.splitlines()
    assert any("ml-frameworks" in line for line in log)
    assert any("SUCCESS" in line for line in log)
    assert any("c002" in line for line in log)
    assert all(re.match(r"\[?\d{4}-\d\d-\d\d[ T]\d\d:\d\d:\d\d", line) for line in log), log


def test_workflow_4_run_distributed_training_job(on: Callable[..., CommandResult]) -> None:
    """As an ordinary user, from her home directory, which holds train.py."""
    said = on(
        "alice@hpc-controller",
        f"""set -e
cat > train.py <<'EOF'
{TRAIN}EOF
rm -f slurm-*.out
cat > distributed_training.sh <<'EOF'
#!/bin/bash
#SBATCH --job-name=pytorch-distributed
#SBATCH --nodes=2
#SBATCH --ntasks-per-node=4
#SBATCH --gres=gpu:4
#SBATCH --container=/opt/containers/ml-frameworks/pytorch-cuda12.1-mpi4.1.sif

# Your training script
python3 train.py --distributed
EOF

# Submit job
sbatch distributed_training.sh

# Monitor job
squeue
while squeue -h | grep -q .; do sleep 0.2; done
cat slurm-*.out
""",
    ).check()
    lines = said.stdout.splitlines()
    assert lines[0].startswith("Submitted batch job ")
    assert lines[-5:] == [
        "argv train.py --distributed",
        f"in {DEPLOYED}",
        "SLURM_JOB_NUM_NODES 2",
        "SLURM_NTASKS_PER_NODE 4",
        "SLURM_GPUS_ON_NODE 4",
    ]


def test_troubleshooting_registry_not_deployed(workstation: Shell, controller: Shell) -> None:
    """Something is missing, and the solution's command brings it back."""
    controller("rm /opt/containers/README.md").check()
    said = workstation(
        r"""
        ansible-playbook ansible/playbooks/playbook-container-registry.yml \
          -e "packer_build=false"
        """
    ).check()
    assert re.findall(r"^(\S+) .*changed=([1-9]\d*)", said.stdout, re.MULTILINE) == [("hpc-controller", "1")]
    controller("test -s /opt/containers/README.md").check()


def test_troubleshooting_sync_fails_diagnosis(workstation: Shell, running_lab: lab.LabState) -> None:
    said = workstation(
        r"""
        ssh hpc-controller "
          for node in \$(sinfo -N -h -o '%N'); do
            echo \"Testing \$node...\"
            ssh -o ConnectTimeout=5 \$node hostname || echo \"FAILED: \$node\"
          done
        "
        """
    ).check()
    expected = [line for node in running_lab.nodes for line in (f"Testing {node}...", node)]
    assert said.stdout.splitlines() == expected


def test_troubleshooting_sync_fails_solution(workstation: Shell) -> None:
    keys = workstation('ssh hpc-controller "ls -la /root/.ssh/id_rsa_registry_sync*"').check().stdout.splitlines()
    assert [line.split()[-1] for line in keys] == [
        "/root/.ssh/id_rsa_registry_sync",
        "/root/.ssh/id_rsa_registry_sync.pub",
    ]
    assert keys[0].startswith("-rw------- 1 root root ")
    said = workstation('ssh hpc-controller "/usr/local/bin/registry-sync-to-nodes.sh"').check()
    assert "SUCCESS: sync finished" in said.stdout


def test_troubleshooting_slurm_cannot_execute_diagnosis(workstation: Shell) -> None:
    listed = workstation('ssh hpc-controller "ls -l /opt/containers/ml-frameworks/*.sif"').check().stdout.splitlines()
    assert {line[:10] for line in listed} == {"-rwxr-xr-x"}
    assert any(line.endswith(DEPLOYED) for line in listed)
    assert workstation('ssh hpc-controller "scontrol show config | grep -i container"').check().stdout
    version = workstation(
        'ssh hpc-controller "apptainer exec /opt/containers/ml-frameworks/pytorch-cuda12.1-mpi4.1.sif'
        ' python3 --version"'
    ).check()
    assert version.stdout.startswith("Python 3.")


def test_troubleshooting_slurm_cannot_execute_solution(workstation: Shell, on: Callable[..., CommandResult]) -> None:
    """An ordinary user, who could not read the image, can again."""
    starts = f"apptainer exec --userns {DEPLOYED} python3 --version"
    on("hpc-controller", f"chmod 700 {DEPLOYED}").check()
    assert on("alice@hpc-controller", starts).exit_code != 0
    workstation('ssh hpc-controller "chmod 755 /opt/containers/ml-frameworks/*.sif"').check()
    on("alice@hpc-controller", starts).check()
    assert re.match(r"\d+\.\d+", workstation('ssh hpc-controller "srun apptainer version"').check().stdout)


@pytest.mark.parametrize(
    "damage", ["truncate -s -4096", "dd conv=notrunc bs=1 seek=2000000 count=8 if=/dev/urandom of="]
)
def test_troubleshooting_integrity_check_fails(
    workstation: Shell, controller: Shell, running_lab: lab.LabState, damage: str
) -> None:
    """Half an image, and one of the right size with a few wrong bytes in its middle."""
    path = "/opt/containers/ml-frameworks/image.sif"
    controller(f"{damage}{'' if damage.endswith('=') else ' '}{path}").check()
    found = workstation("hpc-container-manager verify image.sif")
    assert found.exit_code == 1
    controller(f"mv {path} /opt/containers/ml-frameworks/corrupted-image.sif").check()
    said = workstation(
        """
        ssh hpc-controller "rm /opt/containers/ml-frameworks/corrupted-image.sif"
        containers/scripts/deploy-single.sh -s -v build/containers/apptainer/image.sif
        sha256sum build/containers/apptainer/image.sif
        ssh hpc-controller "sha256sum /opt/containers/ml-frameworks/image.sif"
        """
    ).check()
    here, there = (line.split()[0] for line in said.stdout.splitlines()[-2:])
    assert here == there
    assert digests(running_lab, path) == {here}


def test_nothing_is_spelled_otherwise_in_vain() -> None:
    assert used == set(SPELLED_OTHERWISE)
