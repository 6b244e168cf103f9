"""What phase 1 installs, and what it needs: programs, agent, log."""

from __future__ import annotations

import pytest

from pytest_hpcregistry.core.facts import Machine
from pytest_hpcregistry.core.layout import AGENT, LAUNCHER, PROGRAM
from pytest_hpcregistry.core.model import Cluster

pytestmark = pytest.mark.infrastructure
EXPECTED = {LAUNCHER: "0755", PROGRAM: "0644"}


@pytest.mark.parametrize("path", list(EXPECTED))
def test_sync_program_is_on_the_controller(controller: Machine, path: str) -> None:
    found = controller.path(path)
    assert found is not None, f"{path} does not exist"
    assert (found["type"], found["mode"], found["owner"]) == ("file", EXPECTED[path], "root")


def test_agent_is_installed(machine: Machine, controller: Machine) -> None:
    found, own = machine.path(AGENT), controller.path(AGENT)
    assert found is not None, f"{AGENT} does not exist"
    assert own is not None, f"{AGENT} does not exist on the controller"
    assert found["owner"] == "root"
    assert int(found["mode"], 8) & 0o022 == 0, "others could change what runs as root"
    assert found["size"] == own["size"]


@pytest.mark.parametrize("program", ["python3", "rsync", "apptainer"])
def test_program(machine: Machine, program: str) -> None:
    assert machine.facts["programs"][program], f"{program} is not installed"


def test_sync_log(controller: Machine, cluster: Cluster) -> None:
    found = controller.path(cluster.sync.log)
    assert found is not None, f"{cluster.sync.log} does not exist"
    assert (found["type"], found["mode"], found["owner"]) == ("file", "0640", "root")
