"""Facts: the questions that status, verify and the suites ask, and the answers that may not be wrong."""

from __future__ import annotations

from typing import Any

import pytest

from pytest_hpcregistry import facts
from pytest_hpcregistry.catalog import Catalog
from pytest_hpcregistry.errors import HpcRegistryError
from pytest_hpcregistry.facts import DIFFERS, MISSING, PRESENT, UNMANAGED, UNREACHABLE, Machine

from .fake_facts import CATALOG, DIGEST, NAME, OTHER, REGISTRY, entry, gathered, image, machine


@pytest.mark.parametrize(
    ("found", "state"),
    [
        (image(), PRESENT),
        (image(sha256=DIGEST), PRESENT),
        (image(digest=OTHER), DIFFERS),
        (image(digest=None), DIFFERS),  # a file of the right size that is no link to an object: nobody knows its bytes
        (image(digest=None, sha256=DIGEST), PRESENT),  # as above, but the bytes were read
        (image(digest=DIGEST, sha256=OTHER), DIFFERS),  # the link is right, the bytes have rotted
        (image(sha256="unreadable"), DIFFERS),
        (image(size=9), DIFFERS),
        (image(digest=None, type="link"), DIFFERS),
        (image("ml-frameworks/y.sif"), MISSING),
    ],
)
def test_state_of_an_image_in_the_catalog(found: dict[str, Any], state: str) -> None:
    assert Machine("c1", machine(found)).state_of(NAME, entry()) == state


def test_an_older_version_is_no_drift_wherever_it_is_or_is_not() -> None:
    catalog = Catalog().with_version(NAME, entry(OTHER), 2).with_version(NAME, entry(), 2)
    objects = {DIGEST: {"size": 10}, OTHER: {"size": 10}}
    nodes = {"c1": machine(image(), objects=objects), "c2": machine(image())}
    found = facts.read(gathered(nodes, images=catalog.images), REGISTRY)
    assert found.matrix() == {NAME: dict.fromkeys(("controller", "c1", "c2"), PRESENT)}


def test_state_of_an_image_that_is_not_in_the_catalog() -> None:
    assert Machine("c1", machine(image())).state_of(NAME, None) == UNMANAGED
    assert Machine("c1", machine()).state_of(NAME, None) == MISSING


def test_a_node_that_was_not_asked_has_no_other_state() -> None:
    node = Machine("c1", {}, "no route")
    assert {node.state_of(NAME, entry()), node.state_of(NAME, None)} == {UNREACHABLE}


def test_read() -> None:
    nodes = {"c1": machine(image()), "c2": {"unreachable": "no route"}, "c3": machine(image("base-images/mine.sif"))}
    found = facts.read(gathered(nodes), REGISTRY)
    assert found.catalog_problem is None
    assert found.unreachable == {"c2": "no route"}
    assert list(found.machines) == ["controller", "c1", "c2", "c3"]
    assert found.names() == ["base-images/mine.sif", NAME]
    assert found.matrix() == {
        "base-images/mine.sif": {"c2": UNREACHABLE, "c3": UNMANAGED},
        NAME: {"controller": PRESENT, "c1": PRESENT, "c2": UNREACHABLE, "c3": MISSING},
    }
    assert list(found.matrix([NAME])) == [NAME]


def test_files_in_flight_are_no_images() -> None:
    found = facts.read(gathered({"c1": machine(image("ml-frameworks/.x.sif.123"))}), REGISTRY)
    assert found.names() == [NAME]


@pytest.mark.parametrize("text", ["version: 7\n", "{", "version: 1\nimages: [a]\n", "version: 1\nimages: {x: y}\n"])
def test_a_broken_catalog_is_a_problem_and_no_traceback(text: str) -> None:
    found = facts.read(gathered({"c1": machine(image())}, catalog=text), REGISTRY)
    assert found.catalog_problem
    assert CATALOG in found.catalog_problem
    assert found.matrix()[NAME]["c1"] == UNMANAGED


def test_no_catalog_is_a_problem() -> None:
    data = gathered({"c1": machine()})
    data["controller"]["texts"] = {CATALOG: None}
    assert facts.read(data, REGISTRY).catalog_problem == f"{CATALOG} does not exist"


def test_paths_are_told_apart_from_paths_that_were_not_asked_for() -> None:
    here = Machine("c1", machine(paths={"/opt": {"type": "directory"}, "/opt/gone": None}))
    assert here.path("/opt/") == {"type": "directory"}
    assert here.path("/opt/gone") is None
    with pytest.raises(KeyError):
        here.path("/never-asked")


def test_a_cluster_without_nodes_proves_nothing() -> None:
    with pytest.raises(HpcRegistryError, match="no compute nodes"):
        facts.require_nodes(facts.read(gathered({}), REGISTRY))
    facts.require_nodes(facts.read(gathered({"c1": {"unreachable": "x"}}), REGISTRY))
