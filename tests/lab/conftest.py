"""One lab for the session, with phase 1 done and one image deployed; and the image, which is built once and kept."""

from __future__ import annotations

import os
import shutil
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from pytest_hpcregistry import lab
from pytest_hpcregistry.cluster.client import ControllerClient
from pytest_hpcregistry.config.load import load_cluster
from pytest_hpcregistry.core.cache import cache_directory, only_one
from pytest_hpcregistry.core.model import Cluster
from pytest_hpcregistry.images.definitions.definition import find_definitions
from pytest_hpcregistry.lab.podman import podman
from pytest_hpcregistry.testing.sif import Sif, system_partition
from pytest_hpcregistry.transports import CommandResult, open_transport
from pytest_hpcregistry.transports.process import run_process
from tests import ROOT
from tests.fakes.signer import alice  # noqa: F401 - a fixture

from .machines import CONFIG, REGISTRY, Machines, edit_cluster

# Two people can test side by side, and so can xdist's workers, each on a lab of its own.
NAME = "-".join([os.environ.get("HPCREG_TEST_LAB", "tests"), os.environ.get("PYTEST_XDIST_WORKER", "main")])
KEEP = "HPCREG_KEEP_LAB" in os.environ  # while tests are written: use the lab that runs, and let it run
NODES = 3
IMAGES = ROOT / "fixtures" / "images"
WEEK = 7 * 86400.0
Cli = Callable[..., CommandResult]


@pytest.fixture(scope="session")
def running_lab() -> Iterator[lab.LabState]:
    """The session's lab. It is always fresh, and gone afterwards."""
    if not KEEP:
        lab.down(NAME)
    yield lab.up(NAME, NODES, on_step=lambda *_: None)
    if not KEEP:
        lab.down(NAME)


@pytest.fixture(scope="session")
def cli(running_lab: lab.LabState) -> Cli:
    """`hpc-container-manager WORDS` as a user runs it, on the session's lab. Never raises for an exit code."""

    def run(*words: str | Path, cluster: Path | None = None, timeout: float = 900, cwd: Path = ROOT) -> CommandResult:
        program = str(Path(sys.executable).parent / "hpc-container-manager")
        # Podman's own runtime does not start everywhere, and a RUN in a Dockerfile needs none then.
        environment = [f"HPC_CLUSTER={cluster or running_lab.cluster_file}", "PYTHONWARNINGS=error"]
        environment.append("BUILDAH_ISOLATION=chroot")
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
def lab_after_phase_1(running_lab: lab.LabState, cli: Cli) -> lab.LabState:
    cli("registry", "setup").check()
    return running_lab


@pytest.fixture(scope="module")
def set_up_lab(lab_after_phase_1: lab.LabState) -> Iterator[lab.LabState]:
    """The lab after phase 1. Each module finds the registries without images, whichever ran before it."""
    machines = Machines(lab_after_phase_1)
    machines.everywhere(f"rm -rf {REGISTRY}.kept && cp -al {REGISTRY} {REGISTRY}.kept")
    yield lab_after_phase_1
    machines.everywhere(f"rm -rf {REGISTRY} && mv {REGISTRY}.kept {REGISTRY}")


@pytest.fixture(scope="session")
def cluster(running_lab: lab.LabState) -> Cluster:
    return load_cluster(running_lab.cluster_file, environ={})


@pytest.fixture
def client(cluster: Cluster, set_up_lab: lab.LabState) -> Iterator[ControllerClient]:
    transport = open_transport(cluster)
    yield ControllerClient(cluster, transport)
    transport.close()


@pytest.fixture(scope="session")
def demo_image(running_lab: lab.LabState, cli: Cli) -> str:
    """The demo's image in the local Podman, by its name. After the lab, as in `make demo`."""
    with only_one("demo"):
        cli("image", "build", "python-base", "--definitions", IMAGES, timeout=600).check()
    return "python-base:1.0"


def keep(image: str) -> Path:
    """A directory for what is made of this revision of an image; those of others go after a week without a session."""
    kept = cache_directory() / f"{image}-{find_definitions(IMAGES, image)[0].revision()[:12]}"
    kept.mkdir(parents=True, exist_ok=True)
    os.utime(kept)
    for other in cache_directory().glob(f"{image}-{'?' * 12}"):
        if time.time() - other.stat().st_mtime > WEEK:
            shutil.rmtree(other)
    return kept


@pytest.fixture(scope="session")
def demo_directory(demo_image: str) -> Path:
    """Where what is made of the demo's image is kept from one session to the next: rootfs.tar, demo.sif."""
    kept = keep("python-base")
    with only_one("demo"):
        if not (kept / "rootfs.tar").exists():
            container = podman("create", demo_image).check().stdout.strip()
            podman("export", "--output", str(kept / "new.tar"), container).check()
            podman("rm", container).check()
            (kept / "new.tar").rename(kept / "rootfs.tar")
    return kept


@pytest.fixture(scope="session")
def demo_sif(demo_image: str, demo_directory: Path, running_lab: lab.LabState, cli: Cli) -> Path:
    """A real SIF file, converted from the demo image, once: test_walkthrough.py converts anew in every session."""
    path = demo_directory / "demo.sif"
    with only_one("demo"):
        if not path.exists():
            cli("convert", "to-apptainer", demo_image, path, timeout=600).check()
    return path


@pytest.fixture(scope="session")
def mpi_sif(running_lab: lab.LabState, cli: Cli) -> Path:
    """Debian with Open MPI, built of its definition and converted, once."""
    return convert_once("mpi-base", cli)


@pytest.fixture(scope="session")
def mpich_sif(running_lab: lab.LabState, cli: Cli) -> Path:
    """Debian with MPICH, likewise."""
    return convert_once("mpich-base", cli)


def convert_once(image: str, cli: Cli) -> Path:
    path = keep(image) / f"{image}.sif"
    with only_one(image):
        if not path.exists():
            cli("image", "build", image, "--definitions", IMAGES, timeout=900).check()
            cli("convert", "to-apptainer", f"{image}:1.0", path, timeout=900).check()
    return path


@pytest.fixture(scope="module")
def deployed(set_up_lab: lab.LabState, demo_sif: Path, cli: Cli) -> str:
    """The name of an image that is deployed on all machines."""
    cli("deploy", "single", "-s", "-v", demo_sif).check()
    return "ml-frameworks/demo.sif"


# --- for tests that break things: their images are no real ones ----------------------------------------------------


@pytest.fixture(scope="module")
def machines(set_up_lab: lab.LabState) -> Machines:
    """Shell scripts on all machines."""
    return Machines(set_up_lab)


@pytest.fixture(scope="session")
def sif(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """`sif("name", kilobytes)`: a small SIF, sound for all checks without Apptainer, with bytes that no other has."""

    def make(name: str, kilobytes: int = 64, directory: Path | None = None) -> Path:
        path = (directory or tmp_path_factory.mktemp("sif")) / f"{name}.sif"
        path.write_bytes(Sif((system_partition(content=os.urandom(kilobytes * 1024)),)).to_bytes())
        return path

    return make


@pytest.fixture(scope="module")
def edited(set_up_lab: lab.LabState, tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """`edited(controller={"port": "1"})`: an impatient copy of the lab's cluster file with these changes."""

    def write(**sections: dict[str, str]) -> Path:
        target = tmp_path_factory.mktemp("cluster") / "cluster.yaml"
        impatient = edit_cluster(
            set_up_lab.cluster_file, target, sync={"connect_timeout": "2"}, ssh={"connect_timeout": "3"}
        )
        return edit_cluster(impatient, target, **sections)

    return write


@pytest.fixture(scope="module")
def tool(cli: Cli, edited: Callable[..., Path], machines: Machines) -> Cli:
    """The command line with an impatient cluster file, and a controller as impatient: waiting is not the point."""
    impatient = edited()
    machines.everywhere(f"sed -i 's/connect_timeout: 10$/connect_timeout: 2/' {CONFIG}; grep -q 't: 2$' {CONFIG}")

    def run(*words: str | Path, cluster: Path = impatient, timeout: float = 300) -> CommandResult:
        return cli(*words, cluster=cluster, timeout=timeout)

    return run


@pytest.fixture(scope="module")
def kept(tool: Cli, sif: Callable[..., Path]) -> str:
    """An image that is on all machines."""
    tool("deploy", "single", "-s", sif("kept")).check()
    return "ml-frameworks/kept.sif"


@pytest.fixture
def untouched(machines: Machines, kept: str) -> Iterator[None]:
    """The registry is the same on every machine after the test as before it."""
    before = machines.trees()
    yield
    assert machines.trees() == before
    assert all(kept in tree for tree in before.values())
