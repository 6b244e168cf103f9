"""Fixtures for authors of tests: the cluster as it was at the start of the session."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from ..cluster.client import ControllerClient, open_client
from ..cluster.jobs import Slurm
from ..core.catalog import Catalog, Entry
from ..core.facts import Facts, Machine
from ..core.model import Cluster, Registry
from .session import FACTS, load


@pytest.fixture(scope="session")
def cluster_facts(pytestconfig: pytest.Config) -> Facts:
    """The facts of all machines, as they were at the start of the session."""
    if FACTS not in pytestconfig.stash:
        pytest.fail("select the suites by -m infrastructure, -m deployment or -m e2e", pytrace=False)
    return pytestconfig.stash[FACTS]


@pytest.fixture(scope="session")
def cluster(pytestconfig: pytest.Config) -> Cluster:
    """The cluster file."""
    return load(pytestconfig)


@pytest.fixture(scope="session")
def registry(cluster: Cluster) -> Registry:
    """Path, owner, group, modes and directories that the registry shall have."""
    return cluster.registry


@pytest.fixture(scope="session")
def controller(cluster_facts: Facts) -> Machine:
    """The controller's facts."""
    return cluster_facts.controller


@pytest.fixture(scope="session")
def nodes(cluster_facts: Facts) -> dict[str, Machine]:
    """The facts of every node that could be asked, by name."""
    return {name: node for name, node in cluster_facts.nodes.items() if node.unreachable is None}


@pytest.fixture
def node_name(request: pytest.FixtureRequest, cluster_facts: Facts) -> str:
    """Each compute node's name in turn, also of those that could not be asked."""
    if request.param is None:
        pytest.fail("there is no node to check", pytrace=False)
    return str(request.param)


@pytest.fixture
def node(request: pytest.FixtureRequest, cluster_facts: Facts) -> Machine:
    """Each compute node's facts in turn."""
    return reachable(cluster_facts, request.param)


@pytest.fixture
def machine(request: pytest.FixtureRequest, cluster_facts: Facts) -> Machine:
    """The controller's and each compute node's facts in turn."""
    return reachable(cluster_facts, request.param)


def reachable(cluster_facts: Facts, name: str | None) -> Machine:
    if name is None:
        pytest.fail("there is no node to check", pytrace=False)
    found = cluster_facts.machines[name]
    if found.unreachable is not None:
        pytest.skip(f"{name} is unreachable, see test_node_is_reachable[{name}]")
    return found


@pytest.fixture(scope="session")
def catalog(cluster_facts: Facts) -> Catalog:
    """The controller's catalog."""
    if cluster_facts.catalog_problem:
        pytest.fail(cluster_facts.catalog_problem, pytrace=False)
    return cluster_facts.catalog


@pytest.fixture
def sif(request: pytest.FixtureRequest, catalog: Catalog) -> tuple[str, Entry]:
    """Each image of the catalog in turn: its name and its entry."""
    if request.param is None:
        pytest.fail("there is no such image in the catalog: deploy one first", pytrace=False)
    return request.param, catalog.images[request.param]


@pytest.fixture(scope="session")
def hpc_client(cluster: Cluster) -> Iterator[ControllerClient]:
    """A connection to the controller, for tests that run or change something."""
    with open_client(cluster) as client:
        yield client


@pytest.fixture(scope="session")
def slurm(hpc_client: ControllerClient) -> Slurm:
    """srun and sbatch from the controller, as the cluster file's ordinary user."""
    return Slurm(hpc_client)
