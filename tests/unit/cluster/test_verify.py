"""Verify: what is found says what it is and what to do, and a sync that is under way is no alarm."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest

from pytest_hpcregistry.checks import images
from pytest_hpcregistry.cluster import verify
from pytest_hpcregistry.cluster.client import ControllerClient, Wait
from pytest_hpcregistry.cluster.verify import Reading
from pytest_hpcregistry.core.catalog import Catalog
from pytest_hpcregistry.core.errors import CheckFailed, HpcRegistryError, Unreachable
from pytest_hpcregistry.core.events import Event, Noticed
from pytest_hpcregistry.core.facts import Facts
from pytest_hpcregistry.core.machine import ImageFile, Question, Syncing
from pytest_hpcregistry.core.model import Cluster, Controller
from pytest_hpcregistry.testing.facts import DIGEST, NAME, OTHER, REGISTRY, entry, gathered, image, machine, stored

THIRD = "c" * 64
OBJECTS = f"{REGISTRY}/.registry/objects/sha256"
VERSIONS = Catalog().with_version(NAME, entry(OTHER), 2).with_version(NAME, entry(), 2).images
GOOD, OLDER = machine(image(sha256=DIGEST)), machine(image(digest=OTHER, sha256=OTHER))
ROTTEN = machine(image(sha256=THIRD))
QUIET = Syncing(catalog_age=1000.0)
BUSY = replace(QUIET, meanwhile=True)
JUST_PUBLISHED = replace(QUIET, catalog_age=1.0)


class FakeClient(ControllerClient):
    """A cluster of one node, which tells one *look* after the other, and the last for ever."""

    def __init__(self, *looks: tuple[Any, Any]) -> None:
        self.cluster = Cluster(controller=Controller(name="hpc", host="hpc"))
        self.looks = list(looks)
        self.waits: list[Any] = []

    def facts(self, question: Question | None = None, listener: Any = None, wait: Wait | None = None) -> Facts:
        assert question
        assert (question.content, question.host) == (True, False)
        self.waits.append(wait)
        node, sync = self.looks.pop(0) if len(self.looks) > 1 else self.looks[0]
        return gathered({"c1": node}, images=VERSIONS, controller=GOOD, syncing=sync)


def outcome(client: FakeClient, **how: Any) -> tuple[list[HpcRegistryError], list[str]]:
    events: list[Event] = []
    reading = verify.read_back(client, events.append, **how)
    found = verify.failures(reading, [NAME], client, lambda _: None, how.get("with_nodes", True))
    return found, [event.message for event in events if isinstance(event, Noticed)]


def look(nodes: dict[str, Any], catalog: str | None = None) -> Reading:
    found = gathered(nodes, images=None if catalog else VERSIONS, catalog=catalog)
    return Reading(found, False, frozenset(verify.find_damage(found, None, True)))


def failures(reading: Reading, names: Sequence[str] = (NAME,)) -> list[HpcRegistryError]:
    return verify.failures(reading, names, FakeClient(), lambda _: None)


# --- what is found


def test_each_state_has_its_nodes_and_what_to_do() -> None:
    nodes = {
        "c1": ROTTEN,
        "c2": ROTTEN,
        "c3": machine(),
        "c4": "x",
        "c5": OLDER,
        "c6": machine(image(digest=None, sha256=THIRD)),
        "c7": machine(image(digest=OTHER, sha256=THIRD)),
        "c8": GOOD,
    }
    found = failures(look(nodes))
    repair = f"hpc-container-manager sync --repair {NAME}"
    assert [(type(error), str(error), error.hint) for error in found] == [
        (CheckFailed, f"c[1-2]: {NAME} damaged: {OBJECTS}/{DIGEST}", repair),
        (CheckFailed, f"c7: {NAME} damaged: {OBJECTS}/{OTHER}", repair),
        (CheckFailed, f"c6: {NAME} differs", images.HINTS["differs"]),
        (CheckFailed, f"c3: {NAME} missing", "hpc-container-manager sync"),
        (CheckFailed, f"c5: {NAME} older version", "hpc-container-manager sync"),
        (Unreachable, f"c4: {NAME} unreachable", "see: hpc-container-manager status"),
    ]
    assert [error for error in found if "repair" in error.hint and "damaged" not in str(error)] == []


@pytest.mark.parametrize("own", [[], [image(digest=OTHER, sha256=OTHER)]])
def test_a_sync_lets_the_controllers_name_follow_its_catalog(own: list[ImageFile]) -> None:
    """Its bytes are there: a publish was killed half-way, or somebody removed the name."""
    here = machine(*own, objects={DIGEST: stored(10), OTHER: stored(10)})
    found = gathered({"c1": GOOD}, images=VERSIONS, controller=here)
    (error,) = failures(Reading(found, False, frozenset(verify.find_damage(found, None, True))))
    assert error.hint == "hpc-container-manager sync"


@pytest.mark.parametrize("own", [[], [image(sha256=THIRD)], [image(digest=None, sha256=THIRD)]])
def test_a_sync_alone_does_not_mend_the_controller(own: list[ImageFile]) -> None:
    found = gathered({"c1": GOOD}, controller=machine(*own))
    (error,) = failures(Reading(found, False, frozenset(verify.find_damage(found, None, True))))
    assert error.hint == f"hpc-container-manager sync --repair {NAME}"


def test_an_owner_or_a_mode_that_somebody_changed_is_found() -> None:
    found = failures(look({"c1": GOOD, "c2": machine(image(sha256=DIGEST, mode="0644"))}))
    assert [(type(error), str(error)) for error in found] == [
        (CheckFailed, f"c2: {NAME} file 0644 root:slurm, should be file 0755 root:slurm"),
    ]
    assert "hpc-container-manager sync" in found[0].hint


@pytest.mark.parametrize("with_nodes", [True, False])
def test_a_name_that_is_nowhere_is_no_success(with_nodes: bool) -> None:
    """A deploy whose image somebody took out of the catalog before it was read back."""
    reading = look({"c1": GOOD})
    (error,) = verify.failures(reading, ["ml-frameworks/gone.sif"], FakeClient(), lambda _: None, with_nodes)
    assert (type(error), str(error)) == (CheckFailed, "ml-frameworks/gone.sif is not in the catalog")


def test_damage_that_one_look_has_seen_on_another_node_is_not_certain() -> None:
    found = gathered({"c1": ROTTEN, "c2": ROTTEN}, images=VERSIONS)
    reading = Reading(found, unsettled=True, damaged=frozenset([(NAME, "c1", DIGEST)]))
    sure, unsure = (error for error in failures(reading) if "controller" not in str(error))
    assert (type(sure), str(sure)) == (CheckFailed, f"c1: {NAME} damaged: {OBJECTS}/{DIGEST}")
    assert (type(unsure), str(unsure).split(",")[0]) == (Unreachable, f"c2: {NAME} damaged: {OBJECTS}/{DIGEST}")


def test_a_file_of_nobody_is_left_to_its_owner() -> None:
    (error,) = failures(look({"c1": machine(*GOOD.images, image("base-images/mine.sif"))}), ["base-images/mine.sif"])
    assert (str(error), error.hint) == ("c1: base-images/mine.sif unmanaged", images.HINTS["unmanaged"])


def test_it_is_never_content_with_a_broken_catalog() -> None:
    broken = look({"c1": GOOD}, catalog="version: 9\n")
    for names in ([NAME], []):
        (error,) = failures(broken, names)
        assert "version" in str(error)
        assert error.hint == ""  # above all, not to remove what such a catalog does not know


# --- syncs meanwhile


@pytest.mark.parametrize("node", [GOOD, OLDER, ROTTEN, machine()])
def test_without_a_sync_one_look_is_enough(node: Any) -> None:
    client = FakeClient((node, QUIET))
    found, said = outcome(client)
    assert (bool(found), said, len(client.waits)) == (node is not GOOD, [], 1)
    assert client.waits[0].for_sync == 0
    assert client.waits[0].for_end == pytest.approx(client.cluster.sync.timeout, abs=1)


def test_all_well_is_all_well_while_a_sync_runs_too() -> None:
    client = FakeClient((GOOD, BUSY))
    assert outcome(client) == ([], [])
    assert len(client.waits) == 1


@pytest.mark.parametrize("node", [OLDER, machine(), machine(image(digest=None, sha256=THIRD)), ROTTEN])
def test_what_a_sync_explains_is_looked_at_again(node: Any) -> None:
    client = FakeClient((node, BUSY), (GOOD, QUIET))
    assert outcome(client) == ([], ["a sync began meanwhile: looking again"])
    client = FakeClient((node, JUST_PUBLISHED), (GOOD, BUSY))
    assert outcome(client) == ([], ["the catalog has just changed: looking again after its sync, or in 14 s"])
    assert client.waits[1].for_sync == pytest.approx(14.0)


def test_what_stays_when_all_is_quiet_is_drift() -> None:
    client = FakeClient((OLDER, JUST_PUBLISHED), (OLDER, BUSY), (OLDER, QUIET))
    found, _ = outcome(client)
    assert [(type(error), str(error)) for error in found] == [(CheckFailed, f"c1: {NAME} older version")]


@pytest.mark.parametrize("sync", [BUSY, JUST_PUBLISHED])
@pytest.mark.parametrize("node", [OLDER, machine()])
def test_syncs_that_never_end_are_no_drift(node: Any, sync: Any) -> None:
    client = FakeClient((node, sync))
    found, said = outcome(client)
    assert [(type(error), error.exit_code) for error in found] == [(Unreachable, 3)]
    assert "while syncs went on" in str(found[0])
    assert (len(said), len(client.waits)) == (3, 4)


def test_damage_is_damage_though_syncs_never_end() -> None:
    client = FakeClient((ROTTEN, BUSY))
    found, _ = outcome(client)
    assert [(type(error), str(error)) for error in found] == [
        (CheckFailed, f"c1: {NAME} damaged: {OBJECTS}/{DIGEST}"),
    ]
    assert len(client.waits) == 2  # nothing more can be learned


def test_damage_that_one_look_of_many_sees_is_not_taken_for_it() -> None:
    client = FakeClient((OLDER, BUSY), (OLDER, BUSY), (OLDER, BUSY), (ROTTEN, BUSY))
    found, _ = outcome(client)
    assert [type(error) for error in found] == [Unreachable]


def test_the_controller_alone_waits_for_no_sync() -> None:
    client = FakeClient((OLDER, BUSY))
    assert outcome(client, with_nodes=False) == ([], [])
    assert client.waits == [Wait(0.0, 0.0)]


def test_waiting_has_an_end(monkeypatch: pytest.MonkeyPatch) -> None:
    now = iter(range(0, 100_000, 1500))
    monkeypatch.setattr("time.monotonic", lambda: next(now))
    client = FakeClient((OLDER, BUSY))
    outcome(client)
    assert [wait.for_end for wait in client.waits] == [2100, 600, 0, 0]


def test_right_bytes_that_are_no_object_are_noted() -> None:
    """`status`, which reads nothing, calls them other than the catalog's."""
    apart = machine(replace(image(sha256=DIGEST), object=None))
    reading, told = look({"c1": GOOD, "c2": apart, "c3": apart}), list[Event]()
    assert reading.facts.controller.state_of(NAME, VERSIONS[NAME]) == "present"
    assert verify.failures(reading, [NAME], FakeClient((GOOD, QUIET)), told.append) == []
    noticed = [event.message for event in told if isinstance(event, Noticed)]
    text = "has the catalog's bytes, but is no link to an object: status calls that other than the catalog's"
    assert noticed == [f"c[2-3]: {NAME} {text}"]
