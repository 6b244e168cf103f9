"""One trip: the main process asks the cluster once, one login for each node."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from ..cluster import verify
from ..cluster.client import ControllerClient, open_client
from ..cluster.phases import PHASES
from ..config.load import load_cluster
from ..config.options import CLUSTER_OPTIONS
from ..core import facts
from ..core.errors import HpcRegistryError, Unreachable
from ..core.events import Event, Failed, Noticed
from ..core.facts import Facts
from ..core.model import Cluster
from ..core.names import printable
from ..core.wire import to_line

FACTS = pytest.StashKey[Facts]()
OPTIONS = {
    **{option.name: option.help for option in CLUSTER_OPTIONS},
    "image": "Check only this image of the catalog [default: $TEST_IMAGE, or all].",
}


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


def belongs_to_a_phase(item: pytest.Item) -> bool:
    return any(mark.name in PHASES for mark in item.iter_markers())


def gather(config: pytest.Config) -> Facts:
    """Ask the cluster. Ends the session with the library's exit code when it can't be asked.

    The error then also goes as an event into --hpc-error-file, for the program that has started this session.
    """
    try:
        with open_client(load(config)) as client:
            content = selected_phases(config) != ["infrastructure"]
            found = read_back(client, config) if content else client.facts(client.question(host=True))
        facts.require_nodes(found)
    except HpcRegistryError as error:
        if path := config.getoption("hpc_error_file"):
            Path(path).write_text(to_line(Failed.of(error)), encoding="utf-8")
        hint = f"\nhint: {error.hint}" if error.hint else ""
        pytest.exit(printable(f"{error}{hint}"), returncode=error.exit_code)
    return found


def read_back(client: ControllerClient, config: pytest.Config) -> Facts:
    """What is on the disks when no sync changes it; says when it waits. Raises Unreachable when syncs never end."""
    terminal = config.pluginmanager.get_plugin("terminalreporter")

    def listen(event: Event) -> None:
        if terminal and isinstance(event, Noticed):
            terminal.write_line(printable(event.message))

    reading = verify.read_back(client, listen, for_suites=True)
    if reading.unsettled and not reading.damaged:
        raise Unreachable("syncs went on all the while", hint="run the tests again when no sync is under way")
    return reading.facts
