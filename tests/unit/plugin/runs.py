"""Whole pytest runs with the plugin, over facts that were written by hand: what the tests of this folder share."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from typing import Any

import pytest

from pytest_hpcregistry.cluster.client import ControllerClient
from pytest_hpcregistry.core.catalog import Catalog
from pytest_hpcregistry.core.facts import Facts
from pytest_hpcregistry.core.machine import MachineFacts, Question
from pytest_hpcregistry.testing.facts import image, machine

THREE: dict[str, MachineFacts | str] = {"c2": machine(image()), "c1": machine(image()), "c3": "no route"}
ONE_OF_EACH = """\
import pytest
pytestmark = pytest.mark.infrastructure
def test_node(node): assert node.name.startswith("c")
def test_machine(machine): assert machine.facts
def test_sif(sif): assert sif[1].size == 10
"""


def answer(monkeypatch: pytest.MonkeyPatch, data: Facts | Exception) -> list[dict[str, Any]]:
    """A cluster of which this is known: every trip to its nodes, with what was asked for."""
    trips: list[dict[str, Any]] = []

    def facts(client: ControllerClient, question: Question, *_: Any) -> Facts:
        trips.append({"question": question, "cluster": client.cluster, "choice": client.choice})
        if isinstance(data, Exception):
            raise data
        return data

    def list_nodes(client: ControllerClient) -> list[str]:
        if isinstance(data, Exception):
            raise data
        return list(data.nodes)

    def catalog(client: ControllerClient) -> Catalog:
        assert isinstance(data, Facts)
        return data.catalog

    monkeypatch.setattr(ControllerClient, "facts", facts)
    monkeypatch.setattr(ControllerClient, "list_nodes", list_nodes)
    monkeypatch.setattr(ControllerClient, "catalog", catalog)
    return trips


def run(pytester: pytest.Pytester, *words: str, source: str = ONE_OF_EACH) -> pytest.RunResult:
    pytester.makepyfile(test_it=source)
    return pytester.runpytest_inprocess("-p", "no:cacheprovider", "--strict-markers", *words)


def phase(pytester: pytest.Pytester, *words: str, source: str = ONE_OF_EACH) -> pytest.RunResult:
    return run(pytester, "-m", "infrastructure", "--hpc-controller=hpc", *words, source=source)


def cases_of(file: str = "x.xml") -> list[ET.Element]:
    """The cases of a JUnit file that our own pytest wrote a moment ago."""
    return list(ET.parse(file).iter("testcase"))  # noqa: S314


def properties_of(element: ET.Element) -> dict[str | None, str | None]:
    """Those of a case or of a suite, without those of its cases."""
    return {one.get("name"): one.get("value") for one in element.findall("properties/property")}
