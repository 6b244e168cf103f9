"""The pytest plugin: options, markers, fixtures and parametrisation, each a thin front over the library. Runs on the
workstation; Python 3.11.

The cluster is asked once, one login for each node, by the main process or, where only the tests themselves show that
they need it, by one of xdist's workers for all; a test is an assertion over those facts. Unreachable nodes are reported
once each, by suites/test_reachable.py.
"""

from __future__ import annotations

import argparse
from contextlib import suppress
from typing import Any

import pytest

from ..core.errors import HpcRegistryError
from . import asking, cases, evidence, fixtures, questions
from .findings import Findings
from .junit import JUnit
from .proofs import NotProven
from .session import (
    CHOICES,
    FACTS_FIXTURES,
    LISTS,
    OPTIONS,
    asks_for,
    belongs_to_a_phase,
    changes_are_allowed,
    chosen,
    is_worker,
    marks_of,
    with_aliases,
)

MEANINGS = {
    "infrastructure": "phase 1, the registry is set up on every machine",
    "deployment": "phase 2, every image is the same on every machine",
    "e2e": "phase 3, images run through Slurm, new ones can be deployed",
    "changes": "deploys images; needs --hpc-allow-changes",
}


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("hpcregistry", "container registry of an HPC cluster")
    for name, text in OPTIONS.items():
        group.addoption(f"--hpc-{name}", help=text.replace("%", "%%"))
        parser.addini(f"hpc_{name}", text)
    for name, (allowed, text) in CHOICES.items():
        group.addoption(f"--hpc-{name}", choices=allowed, help=text)
        parser.addini(f"hpc_{name}", text)
    for name, text in LISTS.items():
        parser.addini(f"hpc_{name}", text, type="linelist")
    text = "Also run tests that deploy images."
    group.addoption("--hpc-allow-changes", action="store_true", help=text)
    parser.addini("hpc_allow_changes", text, type="bool")
    text = "Whether marks and fixtures of this plugin have short names too: node beside hpc_node [default: true]."
    parser.addini("hpc_short_names", text, type="bool", default=True)
    group.addoption("--hpc-error-file", help=argparse.SUPPRESS)  # of cluster/phases.py


def pytest_addhooks(pluginmanager: pytest.PytestPluginManager) -> None:
    pluginmanager.add_hookspecs(questions)


def pytest_configure(config: pytest.Config) -> None:
    chosen(config)  # what is wrong with it ends the session before anybody is asked
    config.pluginmanager.register(fixtures, "hpcregistry-fixtures")
    if config.getini("hpc_short_names"):
        config.pluginmanager.register(fixtures.SHORT, "hpcregistry-short-names")
    config.pluginmanager.register(evidence, "hpcregistry-reports")
    for name, meaning in MEANINGS.items():
        for mark in sorted(with_aliases(config, {f"hpc_{name}"}), key=len):
            config.addinivalue_line("markers", f"{mark}: {meaning}")
    if not is_worker(config):
        config.pluginmanager.register(evidence.Evidence(config), "hpcregistry-evidence")
        config.pluginmanager.register(Findings(), "hpcregistry-findings")
        config.pluginmanager.register(NotProven(), "hpcregistry-not-proven")
        config.pluginmanager.register(JUnit(config), "hpcregistry-junit")


@pytest.hookimpl(tryfirst=True)
def pytest_sessionstart(session: pytest.Session) -> None:
    asking.prepare(session.config)


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node: Any) -> None:
    """xdist: tell a worker, before it starts, where the answers of the cluster are."""
    node.workerinput["hpc_shared"] = asking.share(node.config)


@pytest.hookimpl(trylast=True)
def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """`node`, `machine`, `sif` and others: one case for each."""
    cases.parametrize(metafunc)


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Before pytest itself reads `-m`: it shall find each of our marks by both names."""
    for item in items:
        for name in sorted(marks_of(item) - {mark.name for mark in item.iter_markers()}):
            item.add_marker(name)
    if not changes_are_allowed(config):
        refuse = pytest.mark.skip(reason="deploys an image: give --allow-changes (pytest: --hpc-allow-changes)")
        for item in items:
            if item.get_closest_marker("hpc_changes") and belongs_to_a_phase(item):
                item.add_marker(refuse)


@pytest.hookimpl(tryfirst=True)
def pytest_collection_finish(session: pytest.Session) -> None:
    """Ask before the first test, which otherwise would seem to take that long, when one that will be run needs it."""
    needed = any(asks_for(item, *FACTS_FIXTURES) for item in session.items)
    if needed and not session.config.option.collectonly:
        with suppress(HpcRegistryError):  # each test that needs the facts fails by it
            asking.get_facts(session.config, session.items)
    if needed and not is_worker(session.config):
        asking.refuse_choice(session.config, session.config.stash.get(asking.PROBLEM, None))


def pytest_report_collectionfinish(config: pytest.Config) -> list[str]:
    return asking.describe(config)
