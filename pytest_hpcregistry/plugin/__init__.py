"""The pytest plugin: options, markers, fixtures and parametrisation, each a thin front over the library. Runs on the
workstation; Python 3.11.

The main process asks the cluster once, one login for each node, and hands the facts to xdist's workers; a test is an
assertion over those facts. Unreachable nodes are reported once each, by suites/test_reachable.py.
"""

from __future__ import annotations

import argparse
import os
from typing import Any

import pytest

from ..core import facts
from ..core.facts import Facts
from ..core.wire import from_line, to_line
from . import evidence, fixtures
from .session import FACTS, OPTIONS, belongs_to_a_phase, gather, load, option, selected_phases


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("hpcregistry", "container registry of an HPC cluster")
    for name, text in OPTIONS.items():
        group.addoption(f"--hpc-{name}", help=text)
        parser.addini(f"hpc_{name}", text)
    group.addoption("--hpc-allow-changes", action="store_true", help="also run tests that deploy images")
    group.addoption("--hpc-error-file", help=argparse.SUPPRESS)  # of cluster/phases.py


def pytest_configure(config: pytest.Config) -> None:
    config.pluginmanager.register(fixtures, "hpcregistry-fixtures")
    config.pluginmanager.register(evidence, "hpcregistry-reports")
    config.addinivalue_line("markers", "infrastructure: phase 1, the registry is set up on every machine")
    config.addinivalue_line("markers", "deployment: phase 2, every image is the same on every machine")
    config.addinivalue_line("markers", "e2e: phase 3, images run through Slurm, new ones can be deployed")
    config.addinivalue_line("markers", "changes: deploys images; needs --hpc-allow-changes")
    if selected_phases(config) and not hasattr(config, "workerinput"):
        config.pluginmanager.register(evidence.Evidence(), "hpcregistry-evidence")


@pytest.hookimpl(tryfirst=True)
def pytest_sessionstart(session: pytest.Session) -> None:
    config = session.config
    if hasattr(config, "workerinput"):
        handed = config.workerinput.get("hpc_facts")
        if handed:
            config.stash[FACTS] = facts.read(filter(None, map(from_line, handed)), load(config).registry.path)
    elif selected_phases(config):
        config.stash[FACTS] = gather(config)


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node: Any) -> None:
    """xdist: hand the facts to a worker before it starts."""
    if FACTS in node.config.stash:
        node.workerinput["hpc_facts"] = [to_line(event) for event in node.config.stash[FACTS].events]


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
    own = {name for mark in metafunc.definition.iter_markers("parametrize") for name in argument_names(mark)}
    for fixture in ("sif", "node", "node_name", "machine"):
        if fixture in metafunc.fixturenames and fixture not in own:
            metafunc.parametrize(fixture, names[fixture] or [None], ids=names[fixture] or ["none"], indirect=True)


def argument_names(mark: pytest.Mark) -> list[str]:
    """The names that a test's own parametrize gives."""
    names = mark.args[0] if mark.args else mark.kwargs["argnames"]
    return [name.strip() for name in names.split(",")] if isinstance(names, str) else list(names)


def chosen_images(config: pytest.Config, known: Facts) -> list[str]:
    """The catalog's images, or the one of --hpc-image, by its full or its file name."""
    image = option(config, "image") or os.environ.get("TEST_IMAGE")
    return [name for name in sorted(known.catalog.images) if image in (None, name, name.partition("/")[2])]


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if not config.getoption("hpc_allow_changes"):
        refuse = pytest.mark.skip(reason="deploys an image: give --allow-changes (pytest: --hpc-allow-changes)")
        for item in items:
            if item.get_closest_marker("changes") and belongs_to_a_phase(item):
                item.add_marker(refuse)
