"""One lab for the session, with phase 1 done and one image deployed; and the image, which is built once and kept."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from pytest_hpcregistry import lab
from pytest_hpcregistry.client import ControllerClient
from pytest_hpcregistry.config import load_cluster
from pytest_hpcregistry.lab.podman import cache_directory
from pytest_hpcregistry.model import Cluster
from pytest_hpcregistry.transports import CommandResult, open_transport
from pytest_hpcregistry.transports.local import run_process

NAME = os.environ.get("HPCREG_TEST_LAB", "tests")  # two people can test side by side
NODES = 3
ROOT = Path(__file__).parents[2]
DEMO = ROOT / "fixtures" / "images" / "demo"
Cli = Callable[..., CommandResult]


@pytest.fixture(scope="session")
def running_lab() -> Iterator[lab.LabState]:
    """The session's lab. It is always fresh, and gone afterwards."""
    lab.down(NAME)
    yield lab.up(NAME, NODES, on_step=lambda *_: None)
    lab.down(NAME)


@pytest.fixture(scope="session")
def cli(running_lab: lab.LabState) -> Cli:
    """`hpc-container-manager WORDS` as a user runs it, on the session's lab. Never raises for an exit code."""

    def run(*words: str | Path, cluster: Path | None = None, timeout: float = 300, cwd: Path = ROOT) -> CommandResult:
        program = str(Path(sys.executable).parent / "hpc-container-manager")
        environment = [f"HPC_CLUSTER={cluster or running_lab.cluster_file}", "PYTHONWARNINGS=error"]
        argv = ["env", "-C", str(cwd), *environment, program, *map(str, words)]
        return run_process("workstation", argv, timeout=timeout)

    return run


@pytest.fixture(scope="session")
def on(running_lab: lab.LabState) -> Cli:
    """A shell script on a machine of the lab, by ssh: `on("c001", "id -u")`, or `on("alice@hpc-controller", …)`."""

    def run(machine: str, script: str, timeout: float = 120) -> CommandResult:
        return run_process(machine, [*lab.ssh_argv(NAME, machine), script], timeout=timeout)

    return run


@pytest.fixture(scope="session")
def set_up_lab(running_lab: lab.LabState, cli: Cli) -> lab.LabState:
    """The lab after phase 1."""
    cli("registry", "setup").check()
    return running_lab


@pytest.fixture(scope="session")
def cluster(running_lab: lab.LabState) -> Cluster:
    return load_cluster(running_lab.cluster_file, environ={})


@pytest.fixture
def client(cluster: Cluster, set_up_lab: lab.LabState) -> Iterator[ControllerClient]:
    transport = open_transport(cluster)
    yield ControllerClient(cluster, transport)
    transport.close()


@pytest.fixture(scope="session")
def demo_directory() -> Path:
    """Where what is made of the demo image's recipe is kept from one session to the next: rootfs.tar, demo.sif."""
    recipe = b"".join(path.read_bytes() for path in sorted(DEMO.iterdir()))
    kept = cache_directory() / f"demo-{hashlib.sha256(recipe).hexdigest()[:12]}"
    if not (kept / "rootfs.tar").exists():
        subprocess.run([DEMO / "make-rootfs.sh", kept / "rootfs.tar"], check=True, timeout=600)
    return kept


@pytest.fixture(scope="session")
def demo_image(demo_directory: Path) -> str:
    """The demo image in the local Podman, by its name."""
    name = "hpc-demo:1.0"
    if subprocess.run(["podman", "image", "exists", name], check=False, timeout=60).returncode != 0:
        argv = ["podman", "build", "--quiet", "--tag", name, "--file", str(DEMO / "Containerfile"), str(demo_directory)]
        subprocess.run(argv, check=True, timeout=600, env={**os.environ})
    return name


@pytest.fixture(scope="session")
def demo_sif(demo_image: str, demo_directory: Path, running_lab: lab.LabState, cli: Cli) -> Path:
    """A real SIF file, converted from the demo image, once: test_walkthrough.py converts anew in every session."""
    path = demo_directory / "demo.sif"
    if not path.exists():
        cli("convert", "to-apptainer", demo_image, path, timeout=600).check()
    return path


@pytest.fixture(scope="session")
def deployed(set_up_lab: lab.LabState, demo_sif: Path, cli: Cli) -> str:
    """The name of an image that is deployed on all machines."""
    cli("deploy", "single", "-s", "-v", demo_sif).check()
    return "ml-frameworks/demo.sif"
