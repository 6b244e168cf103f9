"""Facts: the questions that status, verify and the suites ask, and the answers that may not be wrong."""

from __future__ import annotations

from dataclasses import replace

import pytest

from pytest_hpcregistry.checks import images
from pytest_hpcregistry.core import facts
from pytest_hpcregistry.core.catalog import Catalog
from pytest_hpcregistry.core.errors import HpcRegistryError
from pytest_hpcregistry.core.events import Gathered
from pytest_hpcregistry.core.facts import (
    DAMAGED,
    DIFFERS,
    MISSING,
    OLDER,
    PRESENT,
    REMOVED,
    UNMANAGED,
    UNREACHABLE,
    Machine,
)
from pytest_hpcregistry.core.machine import ImageFile, MachineFacts, Syncing
from pytest_hpcregistry.core.model import Cluster, Controller
from pytest_hpcregistry.core.wire import from_line, to_line
from pytest_hpcregistry.testing.facts import (
    CATALOG,
    DIGEST,
    NAME,
    OTHER,
    REGISTRY,
    entry,
    events,
    file,
    gathered,
    host,
    image,
    machine,
    stored,
)

THIRD = "c" * 64
CLUSTER = Cluster(controller=Controller(name="ctl", host="ctl"))


@pytest.mark.parametrize(
    ("found", "state"),
    [
        (image(), REMOVED),
        (image(digest=OTHER), REMOVED),  # an older version
        (image(digest=THIRD), UNMANAGED),
        (image(digest=None, sha256=DIGEST), UNMANAGED),  # somebody's copy: no sync takes it away
    ],
)
def test_state_of_an_image_that_was_removed(found: ImageFile, state: str) -> None:
    before = Catalog().with_version(NAME, entry(OTHER), 2).with_version(NAME, entry(DIGEST), 2)
    gone = before.with_removed([NAME], now="2026-11-01T00:00:00Z", by="me@x", until="2026-11-15T00:00:00Z")
    there, nothing = machine(found), machine()
    told = gathered({"c1": there, "c2": nothing, "c3": "off"}, catalog=gone.to_text(), controller=nothing)
    assert told.names() == [NAME]
    assert told.row(NAME) == {"c1": state, "c3": UNREACHABLE}
    (finding,) = images.state(told.nodes["c1"], told, CLUSTER, NAME)
    assert finding.found.startswith(state)
    assert ("hpc-container-manager sync" in finding.hint) == (state == REMOVED)


@pytest.mark.parametrize(
    ("found", "state"),
    [
        (image(), PRESENT),
        (image(sha256=DIGEST), PRESENT),
        (image(digest=OTHER), DIFFERS),
        (image(digest=None), DIFFERS),  # a file of the right size that is no link to an object: nobody knows its bytes
        (image(digest=None, sha256=DIGEST), PRESENT),  # as above, but the bytes were read
        (image(digest=DIGEST, sha256=OTHER), DAMAGED),  # the link is right, the bytes have rotted
        (image(sha256="unreadable"), DAMAGED),
        (image(digest=OTHER, sha256=OTHER), DIFFERS),  # whole, and a version that the catalog has forgotten
        (image(digest=OTHER, sha256=THIRD), DAMAGED),
        (image(digest=None, sha256=OTHER), DIFFERS),  # somebody's own file
        (image(size=9), DIFFERS),
        (image(digest=None, type="link"), DIFFERS),
        (image("ml-frameworks/y.sif"), MISSING),
    ],
)
def test_state_of_an_image_in_the_catalog(found: ImageFile, state: str) -> None:
    assert Machine("c1", machine(found)).state_of(NAME, entry()) == state


@pytest.mark.parametrize(
    ("found", "state"),
    [
        (image(digest=OTHER, size=20), OLDER),
        (image(digest=OTHER, size=10), DIFFERS),  # a part of it
        (image(digest=OTHER, sha256=OTHER), OLDER),
        (image(digest=None, sha256=OTHER), OLDER),
        (image(digest=OTHER, sha256=THIRD), DAMAGED),
        (image(digest=OTHER, sha256=DIGEST), PRESENT),  # published between two looks at the name: stat, then bytes
        (image(digest=THIRD, sha256=OTHER), OLDER),
        (image(digest=THIRD, size=20), DIFFERS),
    ],
)
def test_state_of_an_image_that_has_an_older_version(found: ImageFile, state: str) -> None:
    known = Catalog().with_version(NAME, entry(OTHER, 20), 2).with_version(NAME, entry(), 2).images[NAME]
    assert Machine("c1", machine(found)).state_of(NAME, known) == state


def test_damage_is_named_by_its_object() -> None:
    known = Catalog().with_version(NAME, entry(OTHER), 2).with_version(NAME, entry(), 2).images[NAME]
    good, rotten = stored(sha256=DIGEST), stored(sha256=THIRD)
    for found, objects, damaged in (
        ([image(sha256=DIGEST)], {DIGEST: good}, []),
        ([image(digest=OTHER, sha256=THIRD)], {DIGEST: good}, [OTHER]),  # never the good one of the catalog
        ([image(digest=None, sha256=DIGEST)], {DIGEST: rotten}, [DIGEST]),  # the next sync would link the name to it
        ([], {DIGEST: rotten}, [DIGEST]),
        ([image(sha256=DIGEST)], {DIGEST: good, OTHER: rotten}, [OTHER]),  # a rollback would find it
        ([image(sha256=DIGEST)], {DIGEST: good, "d" * 64: rotten}, []),  # another image's
        ([image(digest=DIGEST)], {DIGEST: stored()}, []),  # nothing was read
    ):
        one = Machine("c1", machine(*found, objects=objects))
        assert one.damaged_objects(NAME, known) == damaged
        assert (one.state_of(NAME, known) == DAMAGED) == bool(damaged)


def test_an_older_version_is_no_drift_wherever_it_is_or_is_not() -> None:
    catalog = Catalog().with_version(NAME, entry(OTHER), 2).with_version(NAME, entry(), 2)
    objects = {DIGEST: stored(), OTHER: stored()}
    nodes = {"c1": machine(image(), objects=objects), "c2": machine(image())}
    found = gathered(nodes, images=catalog.images)
    assert found.matrix() == {NAME: dict.fromkeys(("controller", "c1", "c2"), PRESENT)}


def test_state_of_an_image_that_is_not_in_the_catalog() -> None:
    assert Machine("c1", machine(image())).state_of(NAME, None) == UNMANAGED
    assert Machine("c1", machine()).state_of(NAME, None) == MISSING


def test_a_node_that_was_not_asked_has_no_other_state() -> None:
    node = Machine("c1", None, "no route")
    assert {node.state_of(NAME, entry()), node.state_of(NAME, None)} == {UNREACHABLE}
    for ask in (lambda: node.facts, lambda: node.images, lambda: node.host, lambda: node.path("/")):
        with pytest.raises(LookupError, match="c1 could not be asked: no route"):
            ask()


def test_read() -> None:
    nodes: dict[str, MachineFacts | str] = {
        "c1": machine(image()),
        "c2": "no route",
        "c3": machine(image("base-images/mine.sif")),
    }
    found = gathered(nodes)
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
    found = gathered({"c1": machine(image("ml-frameworks/.x.sif.123"))})
    assert found.names() == [NAME]


@pytest.mark.parametrize("text", ["version: 7\n", "{", "version: 1\nimages: [a]\n", "version: 1\nimages: {x: y}\n"])
def test_a_broken_catalog_is_a_problem_and_no_traceback(text: str) -> None:
    found = gathered({"c1": machine(image())}, catalog=text)
    assert found.catalog_problem
    assert CATALOG in found.catalog_problem
    assert found.matrix()[NAME]["c1"] == UNMANAGED


def test_no_catalog_is_a_problem() -> None:
    node, _, end = events({"c1": machine()})
    assert isinstance(end, Gathered)
    found = facts.read([node, end], REGISTRY)
    assert found.catalog_problem == f"{CATALOG} does not exist"


def test_paths_are_told_apart_from_paths_that_were_not_asked_for() -> None:
    directory = file(type="directory")
    here = Machine("c1", machine(host=host(paths={"/opt": directory, "/opt/gone": None}, texts={"/x": "y"})))
    assert here.path("/opt/") == directory
    assert here.text("/x") == "y"
    assert here.path("/opt/gone") is None
    with pytest.raises(LookupError, match="c1 was not asked for /never-asked: name it in hpc_paths"):
        here.path("/never-asked")
    with pytest.raises(LookupError, match="c1 was not asked how it is set up"):
        Machine("c1", machine()).path("/opt")


def test_what_the_controller_saw_of_syncs() -> None:
    assert gathered({}).syncing == Syncing()
    assert gathered({}, syncing=Syncing(True, True, 0.5)).syncing == Syncing(True, True, 0.5)


def test_facts_that_are_not_whole_are_none() -> None:
    whole = events({"c1": machine(), "c2": "no route"})
    assert facts.read(map(from_line, map(to_line, whole)), REGISTRY).events == tuple(whole)  # type: ignore[arg-type]
    for part in (whole[:-1], whole[1:], []):
        with pytest.raises(HpcRegistryError, match="before it had given all facts"):
            facts.read(part, REGISTRY)


def test_a_cluster_without_nodes_proves_nothing() -> None:
    with pytest.raises(HpcRegistryError, match="no compute nodes"):
        facts.require_nodes(gathered({}))
    facts.require_nodes(gathered({"c1": "x"}))


def test_the_bytes_that_were_read_are_counted_once_for_each_file() -> None:
    read = replace(image(sha256=DIGEST), object=None)
    assert machine(read).bytes_read == read.size
    twice = machine(read, replace(read, name="base-images/same.sif"), replace(read, name="base-images/b.sif", inode=9))
    assert twice.bytes_read == 2 * read.size
    assert machine(replace(read, sha256="unreadable"), replace(read, sha256=None)).bytes_read == 0
