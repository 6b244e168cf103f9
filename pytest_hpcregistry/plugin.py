"""The pytest plugin: options, markers, fixtures and parametrisation, each a thin front over the library.

The main process asks the cluster once, one login for each node, and hands the facts to xdist's workers; a test is an
assertion over those facts. What a node that could not be asked is, is told once, by suites/test_reachable.py.
"""

from __future__ import annotations

import ast
import json
import os
from collections.abc import Generator, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from .cluster import verify
from .cluster.client import ControllerClient
from .cluster.jobs import Slurm
from .cluster.phases import PHASES
from .config.load import load_cluster
from .core import facts
from .core.catalog import Catalog, Entry
from .core.errors import HpcRegistryError, Unreachable
from .core.events import Event
from .core.facts import Facts, Machine
from .core.model import Cluster, Registry
from .core.names import printable
from .transports import open_transport

GATHERED = pytest.StashKey[Mapping[str, Any]]()
FACTS = pytest.StashKey[Facts]()
OPTIONS = {
    "cluster": "the cluster file [default: $HPC_CLUSTER]",
    "controller": "the controller, when not the cluster file's [default: $TEST_CONTROLLER]",
    "user": "log in as this user",
    "key": "log in with this private key",
    "image": "check only this image of the catalog [default: $TEST_IMAGE, or all]",
}


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("hpcregistry", "container registry of an HPC cluster")
    for name, text in OPTIONS.items():
        group.addoption(f"--hpc-{name}", help=text)
        parser.addini(f"hpc_{name}", text)
    group.addoption("--hpc-allow-changes", action="store_true", help="also run tests that deploy images")


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "infrastructure: phase 1, the registry is set up on every machine")
    config.addinivalue_line("markers", "deployment: phase 2, every image is the same on every machine")
    config.addinivalue_line("markers", "e2e: phase 3, images run through Slurm, new ones can be deployed")
    config.addinivalue_line("markers", "changes: deploys images; needs --hpc-allow-changes")
    if selected_phases(config) and not hasattr(config, "workerinput"):
        config.pluginmanager.register(Evidence(), "hpcregistry-evidence")


def option(config: pytest.Config, name: str) -> str | None:
    """Command line, then ini file."""
    value = config.getoption(f"hpc_{name}") or config.getini(f"hpc_{name}")
    return str(value) if value else None


def load(config: pytest.Config) -> Cluster:
    """The cluster of the options, or of the environment as load_cluster reads it."""
    path = option(config, "cluster")
    return load_cluster(
        Path(path) if path else None,
        controller=option(config, "controller"),
        user=option(config, "user"),
        key=option(config, "key"),
    )


def selected_phases(config: pytest.Config) -> list[str]:
    """The phases that `-m` asks for by name; none for `-m "not slow"`, so that other projects are left in peace."""
    expression = config.getoption("markexpr")
    if not expression or selects(expression):
        return []
    return [phase for phase in PHASES if selects(expression, phase) or selects(expression, phase, "changes")]


def selects(expression: str, *markers: str) -> bool:
    """Whether `-m expression` takes a test that has just these markers."""

    def holds(node: ast.expr) -> bool:
        if isinstance(node, ast.BoolOp):
            combine = all if isinstance(node.op, ast.And) else any
            return combine(holds(value) for value in node.values)
        if isinstance(node, ast.UnaryOp):
            return not holds(node.operand)
        return isinstance(node, ast.Name) and node.id in markers

    try:
        return holds(ast.parse(expression, mode="eval").body)
    except SyntaxError:
        return False  # pytest itself explains what is wrong with the expression


# --- one trip ----------------------------------------------------------------------------------------------------


@pytest.hookimpl(tryfirst=True)
def pytest_sessionstart(session: pytest.Session) -> None:
    config = session.config
    if hasattr(config, "workerinput"):
        handed = config.workerinput.get("hpc_facts")
        gathered = json.loads(handed) if handed else None
    else:
        gathered = gather(config) if selected_phases(config) else None
    if gathered is not None:
        config.stash[GATHERED] = gathered
        config.stash[FACTS] = facts.read(gathered, load(config).registry.path)


def gather(config: pytest.Config) -> Mapping[str, Any]:
    """Ask the cluster. Ends the session with the library's exit code when it can't be asked."""
    try:
        client = open_client(load(config))
        try:
            content = selected_phases(config) != ["infrastructure"]
            gathered = read_back(client, config) if content else client.gather()
        finally:
            client.transport.close()
        facts.require_nodes(facts.read(gathered, client.cluster.registry.path))
    except HpcRegistryError as error:
        hint = f"\nhint: {error.hint}" if error.hint else ""
        pytest.exit(printable(f"{error}{hint}"), returncode=error.exit_code)
    return gathered


def read_back(client: ControllerClient, config: pytest.Config) -> Mapping[str, Any]:
    """What is on the disks when no sync changes it; says when it waits. Raises Unreachable when syncs never end."""
    terminal = config.pluginmanager.get_plugin("terminalreporter")

    def listen(event: Event) -> None:
        if terminal and event["event"] == "noticed":
            terminal.write_line(printable(event["message"]))

    reading = verify.read_back(client, listen, inspect=True)
    if reading.unsettled and not reading.damaged:
        raise Unreachable("syncs went on all the while", hint="run the tests again when no sync is under way")
    return reading.data


def open_client(cluster: Cluster) -> ControllerClient:
    return ControllerClient(cluster, open_transport(cluster))


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node: Any) -> None:
    """xdist: hand the facts to a worker before it starts."""
    if GATHERED in node.config.stash:
        node.workerinput["hpc_facts"] = json.dumps(node.config.stash[GATHERED])


# --- parametrisation ---------------------------------------------------------------------------------------------


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """`node`, `machine` and `sif`: one case for each; with none to be had, one case that fails and says so."""
    known = metafunc.config.stash.get(FACTS, None)
    if not known and not belongs_to_a_phase(metafunc.definition):
        return  # another project's tests may have fixtures of these names
    names = {
        "node": sorted(known.nodes) if known else [],
        "node_name": sorted(known.nodes) if known else [],
        "machine": sorted(known.machines) if known else [],
        "sif": chosen_images(metafunc.config, known) if known else [],
    }
    for fixture in ("sif", "node", "node_name", "machine"):
        if fixture in metafunc.fixturenames:
            metafunc.parametrize(fixture, names[fixture] or [None], ids=names[fixture] or ["none"], indirect=True)


def belongs_to_a_phase(item: pytest.Item) -> bool:
    return any(mark.name in PHASES for mark in item.iter_markers())


def chosen_images(config: pytest.Config, known: Facts) -> list[str]:
    """The catalog's images, or the one of --hpc-image, by its full or its file name."""
    image = option(config, "image") or os.environ.get("TEST_IMAGE")
    return [name for name in sorted(known.catalog.images) if image in (None, name, name.partition("/")[2])]


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if not config.getoption("hpc_allow_changes"):
        refuse = pytest.mark.skip(reason="deploys an image: give --hpc-allow-changes")
        for item in items:
            if item.get_closest_marker("changes") and belongs_to_a_phase(item):
                item.add_marker(refuse)


# --- fixtures ----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="session")
def cluster_facts(pytestconfig: pytest.Config) -> Facts:
    """Everything that the cluster told of itself at the start of the session."""
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
    client = open_client(cluster)
    yield client
    client.transport.close()


@pytest.fixture(scope="session")
def slurm(hpc_client: ControllerClient) -> Slurm:
    """srun and sbatch from the controller, as the cluster file's ordinary user."""
    return Slurm(hpc_client)


# --- evidence ----------------------------------------------------------------------------------------------------


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Write into JUnit what a case speaks about."""
    marks = {mark.name for mark in item.iter_markers()}
    phase = next((name for name in selected_phases(item.config) or PHASES if name in marks), None)
    if phase is None:
        return
    # Not the environment's PYTEST_XDIST_WORKER: that may be of a session which has started this one.
    worker = item.config.workerinput["workerid"] if hasattr(item.config, "workerinput") else "main"
    properties: dict[str, object] = {"phase": phase, "worker": worker}
    parameters: dict[str, Any] = item.callspec.params if hasattr(item, "callspec") else {}
    properties["node"] = next((parameters[key] for key in ("node", "node_name", "machine") if key in parameters), None)
    known, image = item.config.stash.get(FACTS, None), parameters.get("sif")
    if known and image:
        properties.update(image=image, digest="sha256:" + known.catalog.images[image].digest)
    item.user_properties += [(key, value) for key, value in properties.items() if value]


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """What a machine says may be in every message of a suite: none of it reaches a terminal or JUnit unescaped."""
    report = yield
    if belongs_to_a_phase(item):
        make_printable(report)
    return report


def make_printable(report: pytest.TestReport) -> None:
    report.user_properties = [(key, printable(str(value))) for key, value in report.user_properties]
    report.sections = [(name, printable(text)) for name, text in report.sections]
    said: Any = report.longrepr
    if isinstance(said, tuple):  # a skipped test: file, line, reason
        report.longrepr = (*said[:2], printable(said[2]))
    elif printable(report.longreprtext) != report.longreprtext:
        # Text in place of pytest's own pieces. What comes first is what its summary shows.
        crash = getattr(said, "reprcrash", None)
        texts = [*([crash.message] if crash else []), report.longreprtext]
        report.longrepr = "\n\n".join(map(printable, texts))


class Evidence:
    """Suites of which every test was skipped have proven nothing: that is not success."""

    def __init__(self) -> None:
        self.passed = 0

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        self.passed += report.when == "call" and report.passed

    @pytest.hookimpl(trylast=True)
    def pytest_sessionfinish(self, session: pytest.Session, exitstatus: int) -> None:
        if exitstatus == pytest.ExitCode.OK and self.passed == 0:
            session.exitstatus = pytest.ExitCode.TESTS_FAILED
