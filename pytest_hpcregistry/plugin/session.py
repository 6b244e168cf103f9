"""What this session was told: options, ini file, marks; and which tests ask for what this plugin has."""

from __future__ import annotations

import ast
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

from ..cluster.phases import PHASES
from ..config.load import load_cluster
from ..config.options import CLUSTER_OPTIONS
from ..core.model import Cluster
from ..core.nodeset import Choice

CLUSTER = pytest.StashKey[Cluster]()
FIXTURES = f"{__package__}.fixtures"
MARKS = (*PHASES, "changes")
"""Our marks by their short names; each is hpc_NAME as well."""
FACTS_FIXTURES = ("cluster_facts", "hpc_cluster_facts")
OPTIONS = {
    **{option.name: option.help for option in CLUSTER_OPTIONS},
    "nodes": "Only these nodes: c[001-010], or @gpu, a group of the controller's ClusterShell.",
    "exclude": "All nodes but these.",
    "require": "So many nodes, or such a share of all (95%), must be asked; else no test runs [default: 1 node].",
    "image": "Check only this image of the catalog [default: $TEST_IMAGE, or all].",
}
CHOICES = {
    "grain": (
        ("auto", "cell", "image", "node"),
        "The suites' cases: for each image on each machine, each image or each machine [default: auto, by size].",
    ),
    "gather": (("auto", "never"), "Whether the cluster may be asked for what tests need [default: auto]."),
}
LISTS = {
    "paths": "Paths on every machine that tests of your own look at, one a line.",
    "commands": "Commands that tests of your own want run on every machine, as root and by no shell, one a line.",
}


def option(config: pytest.Config, name: str) -> str | None:
    """Command line, then ini file."""
    value = config.getoption(f"hpc_{name}") or config.getini(f"hpc_{name}")
    return str(value) if value else None


def choice(config: pytest.Config, name: str) -> str:
    """As `option`, one of CHOICES; the first by default. Raises pytest.UsageError."""
    allowed, _ = CHOICES[name]
    chosen = option(config, name) or allowed[0]
    if chosen not in allowed:
        raise pytest.UsageError(f"hpc_{name}: {chosen!r} is none of {', '.join(allowed)}")
    return chosen


def chosen(config: pytest.Config) -> Choice:
    """The nodes that are meant. Raises pytest.UsageError for an empty text, as of a variable that is not set."""
    for name in ("nodes", "exclude"):
        given = config.getoption(f"hpc_{name}")
        if given is not None and not given.strip():
            raise pytest.UsageError(f"--hpc-{name} names no node")
    return Choice(option(config, "nodes") or "", option(config, "exclude") or "")


def wanted_image(config: pytest.Config) -> str | None:
    """The image of --hpc-image, if it is only about one."""
    return option(config, "image") or os.environ.get("TEST_IMAGE")


def is_image(name: str, wanted: str) -> bool:
    """Whether the catalog's *name* is what was asked for, by its full or its file name."""
    return wanted in (name, name.partition("/")[2])


def changes_are_allowed(config: pytest.Config) -> bool:
    return bool(config.getoption("hpc_allow_changes") or config.getini("hpc_allow_changes"))


def load(config: pytest.Config) -> Cluster:
    """The cluster of the options, or of the environment as load_cluster reads it; the same in all of a session."""
    if CLUSTER not in config.stash:
        path = option(config, "cluster")
        config.stash[CLUSTER] = load_cluster(
            Path(path) if path else None,
            controller=option(config, "controller"),
            user=option(config, "user"),
            key=option(config, "key"),
        )
    return config.stash[CLUSTER]


def is_worker(config: pytest.Config) -> bool:
    """Whether this is one of xdist's processes, and another one the main process."""
    return hasattr(config, "workerinput")


def worker_input(config: pytest.Config) -> dict[str, Any]:
    """What xdist's main process has handed to this worker; nothing in the main process."""
    return getattr(config, "workerinput", {})


def selected_phases(config: pytest.Config) -> list[str]:
    """The phases that `-m` asks for by name; none for `-m "not slow"`, so that other projects are left in peace."""
    expression = config.getoption("markexpr")
    if not expression or selects(expression):
        return []
    return [
        phase
        for phase in PHASES
        if any(selects(expression, *with_aliases(config, names)) for names in ({phase}, {phase, "changes"}))
    ]


def selects(expression: str, *markers: str, doubt: bool = False) -> bool:
    """Whether `-m expression` takes a test that has just these markers; *doubt* for one that only pytest can read."""
    plain = (ast.Expression, ast.BoolOp, ast.boolop, ast.UnaryOp, ast.Not, ast.Name, ast.Load)

    def holds(node: ast.expr) -> bool:
        if isinstance(node, ast.BoolOp):
            combine = all if isinstance(node.op, ast.And) else any
            return combine(holds(value) for value in node.values)
        if isinstance(node, ast.UnaryOp):
            return not holds(node.operand)
        return isinstance(node, ast.Name) and node.id in markers

    try:
        tree = ast.parse(expression, mode="eval")
    except SyntaxError:
        return doubt  # pytest itself explains what is wrong with the expression
    return holds(tree.body) if all(isinstance(node, plain) for node in ast.walk(tree)) else doubt


def is_deselected(item: pytest.Item) -> bool:
    """Whether `-m` leaves a test out, which pytest itself does only after all have been collected."""
    expression = item.config.getoption("markexpr")
    return bool(expression) and not selects(expression, *marks_of(item), doubt=True)


def belongs_to_a_phase(item: pytest.Item) -> bool:
    return bool(phases_of([item]))


def phases_of(items: Iterable[pytest.Item]) -> list[str]:
    """The phases whose marks these tests have."""
    marks = set[str]().union(*map(marks_of, items))
    return [phase for phase in PHASES if f"hpc_{phase}" in marks]


def marks_of(item: pytest.Item) -> set[str]:
    """The names of a test's marks; of ours both."""
    return with_aliases(item.config, {mark.name for mark in item.iter_markers()})


def with_aliases(config: pytest.Config, names: set[str]) -> set[str]:
    """The names of marks, and what else they are called. Short ones are another project's where it says so."""
    if not config.getini("hpc_short_names"):
        return names
    of_ours = {name for name in MARKS if name in names or f"hpc_{name}" in names}
    return names | of_ours | {f"hpc_{name}" for name in of_ours}


def asks_for(item: pytest.Item, *names: str) -> bool:
    """Whether a test gets one of our fixtures of these *names*, and not one of its own project's that has the name."""
    return any(is_ours(item, name) for name in names)


def is_ours(item: pytest.Item, name: str) -> bool:
    # No public name says where a fixture comes from: this is what pytest and its plugins go by.
    info: Any = getattr(item, "_fixtureinfo", None)
    definitions = info.name2fixturedefs.get(name, ()) if info else ()
    for one in reversed(definitions):
        if one.func.__module__ == FIXTURES:
            return True
        if name not in one.argnames:  # it does without the one that it overrides
            return False
    return False
