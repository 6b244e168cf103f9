"""In pytest's JUnit file: class names of the suites that are the same wherever they lie and from wherever they are run,
and of which cluster, when and by what all of it was found.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from .. import __version__
from ..cluster.phases import suites_directory
from ..core.facts import Facts
from ..core.model import Cluster
from ..core.names import printable
from . import asking
from .asking import Names
from .cases import choose_grain
from .session import load


class JUnit:
    """In the main process, which writes the file."""

    def __init__(self, config: pytest.Config) -> None:
        self.config = config

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        xml = find_xml(self.config) if report.when == "setup" else None
        # Not the path in its nodeid: from outside of the suites pytest leaves out the directories there.
        if xml and (place := place_of(self.config.rootpath / report.location[0])):
            classes = report.nodeid.split("::")[1:-1]
            parts = [xml.prefix, "hpcregistry", *place.with_suffix("").parts, *classes]
            case = xml.node_reporter(report)
            case.add_attribute("classname", ".".join(filter(None, parts)))
            case.add_attribute("file", str("suites" / place))

    @pytest.hookimpl(tryfirst=True)
    def pytest_sessionfinish(self) -> None:
        xml, found = find_xml(self.config), asking.known_facts(self.config)
        if xml and found:
            grain = choose_grain(self.config, Names.of(found.nodes, found.catalog.images))
            for name, value in [*properties(found, load(self.config)), ("hpc.grain", grain)]:
                xml.add_global_property(name, printable(value))


def find_xml(config: pytest.Config) -> Any:
    """pytest's writer of JUnit files; None without --junitxml. It has no public name."""
    plugins = config.pluginmanager.get_plugins()
    return next((one for one in plugins if type(one).__name__ == "LogXML"), None)


@cache
def place_of(path: Path) -> Path | None:
    """Where a file lies in the suites; None for one of somebody else."""
    suites = suites_directory().resolve()
    found = path.resolve()
    return found.relative_to(suites) if found.is_relative_to(suites) else None


def properties(found: Facts, cluster: Cluster) -> Iterator[tuple[str, str]]:
    yield "hpc.cluster", cluster.controller.name
    yield "hpc.registry", cluster.registry.path
    yield "hpc.nodes", str(len(found.nodes))
    yield "hpc.unreachable", str(len(found.unreachable))
    yield "hpc.images", str(len(found.catalog.images))
    yield "hpc.version", __version__
    host = found.controller.facts.host
    if host is None:
        return
    yield "hpc.asked", datetime.fromtimestamp(host.time, UTC).isoformat(timespec="seconds")
    for program in ("srun", "apptainer"):
        yield f"hpc.controller.{program}", host.programs.get(program) or ""
