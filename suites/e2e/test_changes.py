"""New images can be deployed, deployed ones updated while jobs run from them, and a subdirectory synced by hand.

These tests deploy one small image of their own, custom-images/hpcregistry-selftest.sif, and leave it there.
"""

from __future__ import annotations

import shlex
import uuid
from pathlib import Path

import pytest

from pytest_hpcregistry.cluster import deploy as deploying
from pytest_hpcregistry.cluster.client import ControllerClient
from pytest_hpcregistry.cluster.jobs import Slurm
from pytest_hpcregistry.core.catalog import Catalog
from pytest_hpcregistry.core.digest import hash_file
from pytest_hpcregistry.core.facts import PRESENT, Facts
from pytest_hpcregistry.core.layout import LAUNCHER
from pytest_hpcregistry.core.model import Registry

pytestmark = [pytest.mark.hpc_e2e, pytest.mark.hpc_changes]
FILE_NAME = "hpcregistry-selftest.sif"
UUID_AT = 48  # where a SIF's header has its UUID: another one makes another digest of the same sound image
READ_ALL = "echo started; sleep 6; find / -xdev -type f -exec cat {} + > /dev/null && echo read everything"


@pytest.fixture(scope="session")
def own_image(tmp_path_factory: pytest.TempPathFactory, hpc_client: ControllerClient, catalog: Catalog) -> Path:
    """The smallest image of the catalog, fetched to be deployed again under another name."""
    name, _ = min(catalog.images.items(), key=lambda item: item[1].size)
    path = tmp_path_factory.mktemp("image") / FILE_NAME
    with path.open("wb") as copy:
        argv = ["cat", f"{hpc_client.cluster.registry.path}/{name}"]
        hpc_client.transport.run(hpc_client.program.as_root(argv), stdout=copy, timeout=600).check()
    return path


def renew(path: Path) -> str:
    """Make it another image: returns the new digest."""
    with path.open("r+b") as file:
        file.seek(UUID_AT)
        file.write(uuid.uuid4().bytes)
    return hash_file(path)


def deploy(path: Path, directory: str, client: ControllerClient) -> str:
    name = f"{directory}/{FILE_NAME}"
    image = deploying.check(path, name, client)
    deploying.deploy([image], client, lambda event: None, sync_nodes=True, verify=True)
    return name


def states(found: Facts, name: str) -> set[str]:
    """Those of an image on all machines but nodes that are not counted."""
    return {state for machine, state in found.row(name).items() if machine not in found.not_counted}


def test_deploy_update_and_running_jobs(
    own_image: Path, hpc_client: ControllerClient, slurm: Slurm, registry: Registry
) -> None:
    """A job that started from the old image reads all of it to the end; afterwards every machine has the new one."""
    directory = registry.directories[min(1, len(registry.directories) - 1)]
    renew(own_image)
    name = deploy(own_image, directory, hpc_client)
    path = f"{registry.path}/{name}"
    assert slurm.srun(*slurm.in_image(path, ["/bin/sh", "-c", "echo runs"])).check().stdout == "runs\n"

    wrap = shlex.join(["srun", *slurm.in_image(path, ["/bin/sh", "-c", READ_ALL])])
    job = slurm.submit(f"#!/bin/sh\n{wrap}\n")
    slurm.wait_for_output(job, "started")
    new_digest = renew(own_image)
    deploy(own_image, directory, hpc_client)
    finished = slurm.wait(job)

    assert "read everything" in finished.output, f"{finished.state}: {finished.output}"
    found = hpc_client.facts(hpc_client.question(content=True, names=[name]))
    assert found.catalog.images[name].digest == new_digest
    assert states(found, name) == {PRESENT}


def test_manual_sync_of_one_subdirectory(hpc_client: ControllerClient, registry: Registry, catalog: Catalog) -> None:
    """As an operator on the controller: it brings that directory, to its own place, and nothing to the root."""
    name = next(iter(catalog.images))
    directory = name.partition("/")[0]
    result = hpc_client.transport.run(hpc_client.program.as_root([LAUNCHER, directory]), timeout=600).check()
    assert "SUCCESS: sync finished" in result.stdout
    found = hpc_client.facts()
    assert states(found, name) == {PRESENT}
    strays = [one for node in found.asked for one in found.nodes[node].images]
    assert set(strays) <= set(found.catalog.images) | {s for s in strays if found.controller.image(s)}
