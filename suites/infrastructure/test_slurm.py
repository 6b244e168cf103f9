"""Slurm knows the nodes, and can run containers on each of them."""

from __future__ import annotations

import pytest

from pytest_hpcregistry.core.facts import Machine
from pytest_hpcregistry.core.model import Cluster

pytestmark = pytest.mark.infrastructure
USABLE = ("idle", "mixed", "allocated", "completing", "planned", "reserved")


def test_slurm_answers(controller: Machine) -> None:
    assert controller.facts["slurm"]["error"] is None
    assert controller.facts["slurm"]["nodes"]


def test_node_is_usable(node: Machine, controller: Machine) -> None:
    states = controller.facts["slurm"]["nodes"]
    assert node.name in states, f"Slurm does not know {node.name}"
    assert states[node.name].rstrip("*~#!%$@^-+") in USABLE, f"Slurm says {states[node.name]}"


def test_slurm_is_new_enough_for_sif(machine: Machine) -> None:
    """IgnoreFileConfigJson, without which a SIF can't be a --container, came with 23.02."""
    version = machine.facts["programs"]["srun"]
    assert version, "srun is not installed"
    assert tuple(int(part) for part in version.split(".")[:2]) >= (23, 2)


def test_container_support_is_configured(machine: Machine, controller: Machine, cluster: Cluster) -> None:
    """Without oci.conf a step with --container runs on the host, and exits with 0."""
    if not cluster.slurm.container:
        pytest.skip("slurm.container is false in the cluster file")
    path = f"{cluster.slurm.conf_dir}/oci.conf"
    text = machine.facts["texts"][path]
    assert text is not None, f"{path} does not exist"
    assert "IgnoreFileConfigJson=true" in text
    assert text == controller.facts["texts"][path]
