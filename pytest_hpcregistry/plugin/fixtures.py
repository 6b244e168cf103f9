"""Fixtures for authors of tests: the cluster as it was when it was asked.

Each has two names, as `hpc_node` and `node`: a project may have a `node` of its own. So none asks for another one by
its short name.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from types import ModuleType
from typing import Any, Literal

import pytest

from .. import checks
from ..checks import Find
from ..cluster.client import ControllerClient, open_client
from ..cluster.jobs import Slurm
from ..cluster.kinds import Prover
from ..core.catalog import Catalog, Entry
from ..core.errors import HpcRegistryError
from ..core.facts import Facts, Machine
from ..core.model import Cluster, Registry
from ..core.names import printable
from . import asking
from .asking import Names
from .cases import chosen_images
from .session import chosen, load

NO_NODE = "there is no node to check"
NO_IMAGE = "there is no such image in the catalog: deploy one first"
Scope = Literal["session", "function"]
SHORT = ModuleType("short_names")
"""The fixtures by their short names: a plugin of pytest, unless hpc_short_names is false."""


def two_names(scope: Scope = "function") -> Callable[[Callable[..., Any]], Any]:
    """A fixture hpc_NAME, which is NAME in SHORT."""

    def decorate(function: Callable[..., Any]) -> Any:
        setattr(SHORT, function.__name__, pytest.fixture(scope=scope)(function))
        return pytest.fixture(scope=scope, name=f"hpc_{function.__name__}")(function)

    return decorate


@two_names("session")
def cluster_facts(request: pytest.FixtureRequest) -> Facts:
    """The facts of all machines, asked for once in a session."""
    try:
        return asking.get_facts(request.config, request.session.items)
    except HpcRegistryError as error:
        pytest.fail(printable(f"the cluster could not be asked: {asking.with_hint(error)}"), pytrace=False)


@two_names("session")
def cluster(pytestconfig: pytest.Config) -> Cluster:
    """The cluster file."""
    try:
        return load(pytestconfig)
    except HpcRegistryError as error:
        pytest.fail(printable(asking.with_hint(error)), pytrace=False)


@two_names("session")
def registry(hpc_cluster: Cluster) -> Registry:
    """Path, owner, group, modes and directories that the registry shall have."""
    return hpc_cluster.registry


@two_names("session")
def controller(hpc_cluster_facts: Facts) -> Machine:
    """The controller's facts."""
    return hpc_cluster_facts.controller


@two_names("session")
def nodes(hpc_cluster_facts: Facts) -> dict[str, Machine]:
    """The facts of every node that could be asked, by name."""
    return {name: node for name, node in hpc_cluster_facts.nodes.items() if node.unreachable is None}


@two_names()
def node_name(request: pytest.FixtureRequest, hpc_cluster_facts: Facts) -> str:
    """Each compute node's name in turn, also of those that could not be asked."""
    if request.param is None:
        pytest.fail(NO_NODE, pytrace=False)
    return str(request.param)


@two_names()
def node(request: pytest.FixtureRequest, hpc_cluster_facts: Facts) -> Machine:
    """Each compute node's facts in turn."""
    return reachable(hpc_cluster_facts, request.param)


@two_names()
def machine(request: pytest.FixtureRequest, hpc_cluster_facts: Facts) -> Machine:
    """The controller's and each compute node's facts in turn."""
    return reachable(hpc_cluster_facts, request.param)


def reachable(cluster_facts: Facts, name: str | None) -> Machine:
    """A machine by its name. Skips the test when it could not be asked: that is one finding, not one for each test."""
    if name is None:
        pytest.fail(NO_NODE, pytrace=False)
    if name not in cluster_facts.machines:
        pytest.fail(f"{name} is no machine of this cluster", pytrace=False)
    found = cluster_facts.machines[name]
    if found.not_counted:
        pytest.skip(printable(f"the node is not counted: {found.out_of_service}"))
    if found.unreachable is not None:
        pytest.skip("the node could not be asked: see test_node_is_reachable")
    return found


@two_names("session")
def catalog(hpc_cluster_facts: Facts) -> Catalog:
    """The controller's catalog."""
    if hpc_cluster_facts.catalog_problem:
        pytest.fail(hpc_cluster_facts.catalog_problem, pytrace=False)
    return hpc_cluster_facts.catalog


@two_names()
def sif(request: pytest.FixtureRequest, hpc_catalog: Catalog) -> tuple[str, Entry]:
    """Each image of the catalog in turn: its name and its entry."""
    name = request.param
    if name is None or name not in hpc_catalog.images:
        pytest.fail(NO_IMAGE, pytrace=False)
    return name, hpc_catalog.images[name]


@two_names()
def find_on_nodes(request: pytest.FixtureRequest, hpc_cluster_facts: Facts, hpc_cluster: Cluster) -> Find:
    """`find_on_nodes(CHECK, …)`: the findings of checks on one node or, by the grain, on all that could be asked."""
    chosen = chosen_machines(request, hpc_cluster_facts, list(hpc_cluster_facts.nodes))
    return partial(checks.on_machines, chosen, hpc_cluster_facts, hpc_cluster)


@two_names()
def find_on_machines(request: pytest.FixtureRequest, hpc_cluster_facts: Facts, hpc_cluster: Cluster) -> Find:
    """As `find_on_nodes`, with the controller among them."""
    chosen = chosen_machines(request, hpc_cluster_facts, list(hpc_cluster_facts.machines))
    return partial(checks.on_machines, chosen, hpc_cluster_facts, hpc_cluster)


def chosen_machines(request: pytest.FixtureRequest, cluster_facts: Facts, names: list[str]) -> list[Machine]:
    """The machine of this case, or all of *names* that could be asked."""
    if hasattr(request, "param"):
        return [reachable(cluster_facts, request.param)]
    known = cluster_facts.machines
    return [known[name] for name in names if known[name].unreachable is None] or [reachable(cluster_facts, names[0])]


@two_names()
def find_in_images(
    request: pytest.FixtureRequest, hpc_cluster_facts: Facts, hpc_catalog: Catalog, hpc_cluster: Cluster
) -> Find:
    """`find_in_images(CHECK, …)`: the findings of checks of an image on a machine or, by the grain, of one of the two
    with all of the other."""
    if request.param is None:
        pytest.fail(NO_IMAGE, pytrace=False)
    image, machine = request.param
    names = chosen_images(request.config, Names.of((), hpc_catalog.images)) if image is None else [image]
    known = hpc_cluster_facts.machines
    machines = list(known.values()) if machine is None else [reachable(hpc_cluster_facts, machine)]
    return partial(checks.in_images, machines, names, hpc_cluster_facts, hpc_cluster)


@pytest.fixture
def hpc_property(request: pytest.FixtureRequest) -> Callable[[str, object], None]:
    """`hpc_property(NAME, VALUE)`: into the test's properties in JUnit.

    pytest's own fixture belongs to a plugin that may be off, and warns of the family of JUnit that is its default.
    """

    def note(name: str, value: object) -> None:
        request.node.user_properties.append((name, value))

    return note


@pytest.fixture(scope="session")
def hpc_client(hpc_cluster: Cluster, pytestconfig: pytest.Config) -> Iterator[ControllerClient]:
    """A connection to the controller, for tests that run or change something."""
    with open_client(hpc_cluster, chosen(pytestconfig)) as client:
        yield client


@two_names("session")
def prover(hpc_slurm: Slurm, hpc_cluster_facts: Facts) -> Prover:
    """`with prover.jobs(seconds=60) as jobs`: a job on an idle node of each kind of node, node -> its number."""
    try:
        return Prover(hpc_slurm, hpc_cluster_facts.asked)
    except HpcRegistryError as error:
        pytest.fail(printable(asking.with_hint(error)), pytrace=False)


@two_names("session")
def slurm(hpc_client: ControllerClient) -> Slurm:
    """srun and sbatch from the controller, as the cluster file's ordinary user."""
    return Slurm(hpc_client)
