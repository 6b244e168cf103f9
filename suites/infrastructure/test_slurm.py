"""Slurm knows the nodes, and can run containers on each of them."""

from __future__ import annotations

import pytest

from pytest_hpcregistry.checks import Find, slurm
from pytest_hpcregistry.core.facts import Facts, Machine
from pytest_hpcregistry.core.model import Cluster

pytestmark = pytest.mark.hpc_infrastructure


def test_slurm_answers(controller: Machine, cluster_facts: Facts, cluster: Cluster) -> None:
    assert list(slurm.answers(controller, cluster_facts, cluster)) == []


def test_node_is_usable(find_on_nodes: Find) -> None:
    assert find_on_nodes(slurm.usable) == []


@pytest.fixture
def slurm_runs_images(cluster: Cluster) -> None:
    if not cluster.slurm.container:
        pytest.skip("slurm.container is false in the cluster file")


@pytest.mark.usefixtures("slurm_runs_images")
def test_slurm_is_new_enough_for_sif(find_on_machines: Find) -> None:
    assert find_on_machines(slurm.version) == []


@pytest.mark.usefixtures("slurm_runs_images")
def test_container_support_is_configured(find_on_machines: Find) -> None:
    assert find_on_machines(slurm.containers) == []


def test_jobs_can_start_an_image(find_on_nodes: Find) -> None:
    assert find_on_nodes(slurm.runtime) == []


def test_what_an_image_shall_see_is_there(find_on_nodes: Find) -> None:
    assert find_on_nodes(slurm.binds) == []
