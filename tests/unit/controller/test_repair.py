"""A sync with repair, by the real agent: every copy is read, and what is damaged is replaced and reported."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

import pytest

from pytest_hpcregistry import agent
from pytest_hpcregistry.controller import repair
from pytest_hpcregistry.controller.session import NodeSession
from pytest_hpcregistry.controller.sync import sync
from pytest_hpcregistry.core.errors import CommandFailed
from pytest_hpcregistry.core.events import DamageFound, Event
from pytest_hpcregistry.core.messages import describe_damage
from pytest_hpcregistry.testing.facts import DIGEST, entry
from pytest_hpcregistry.testing.facts import OTHER as OTHER_DIGEST
from pytest_hpcregistry.testing.listener import recorder
from tests.fakes.nodes import FakeNodes

NAME, OTHER = "ml-frameworks/x.sif", "base-images/y.sif"


@pytest.fixture
def nodes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeNodes:
    """Three nodes that have two images."""
    found = FakeNodes(tmp_path, "c1", "c2", "c3")
    found.use(monkeypatch)
    found.publish(NAME)
    found.publish(OTHER, b"2")
    run(found)
    return found


def run(nodes: FakeNodes, *names: str, repair: bool = False) -> tuple[dict[str, str], list[str]]:
    """What became of each node, and what was noticed."""
    told: list[Event] = []
    outcomes = sync(nodes.settings, None, names or None, told.append, repair=repair)
    return {node: one.state for node, one in outcomes.items()}, [line for line in map(notice, told) if line]


def notice(event: Event) -> str:
    return describe_damage(event) if isinstance(event, DamageFound) else getattr(event, "message", "")


def rot(nodes: FakeNodes, machine: str, name: str) -> str:
    """Change a byte of the image on a machine; returns its digest, as it should be."""
    digest = nodes.catalog().images[name].digest
    registry = nodes.registry if machine == "controller" else nodes.root / machine / "registry"
    with (registry / agent.OBJECTS / digest).open("r+b") as file:
        file.write(b"X")
    return digest


def is_sound(nodes: FakeNodes, machine: str, name: str) -> bool:
    registry = nodes.registry if machine == "controller" else nodes.root / machine / "registry"
    digest = nodes.catalog().images[name].digest
    both = (registry / name, registry / agent.OBJECTS / digest)
    return {agent.hash_file(str(path)) for path in both} == {digest}


def test_a_damaged_copy_of_a_node_is_replaced_and_reported(nodes: FakeNodes) -> None:
    digest = rot(nodes, "c2", NAME)
    assert run(nodes)[0] == dict.fromkeys(("c1", "c2", "c3"), "unchanged"), "a sync alone reads nothing"
    states, noticed = run(nodes, repair=True)
    assert states == {"c1": "unchanged", "c2": "synced", "c3": "unchanged"}
    (said,) = noticed
    assert said.startswith(f"c2: {NAME} damaged (")
    assert f", should be {digest[:12]}): what was there is in .registry/quarantine now" in said
    assert is_sound(nodes, "c2", NAME)
    assert f".registry/quarantine/{digest}" in nodes.files("c2")
    assert run(nodes, repair=True) == (dict.fromkeys(("c1", "c2", "c3"), "unchanged"), [])


def test_only_what_is_named_is_read(nodes: FakeNodes) -> None:
    rot(nodes, "c1", NAME)
    rot(nodes, "c1", OTHER)
    assert run(nodes, OTHER, repair=True)[0]["c1"] == "synced"
    assert (is_sound(nodes, "c1", NAME), is_sound(nodes, "c1", OTHER)) == (False, True)


def test_the_controllers_copy_comes_from_a_node_that_has_its_bytes(nodes: FakeNodes) -> None:
    """Not from c1, which has other bytes, nor from c2, which cannot be reached."""
    rot(nodes, "controller", NAME)
    rot(nodes, "c1", NAME)
    nodes.trouble("c2", "refused")
    states, noticed = run(nodes, NAME, repair=True)
    assert f"controller: {NAME} fetched from c3" in noticed
    assert states == {"c1": "synced", "c2": "unreachable", "c3": "unchanged"}
    assert is_sound(nodes, "controller", NAME)
    assert is_sound(nodes, "c1", NAME)
    assert list((nodes.registry / agent.STAGING).iterdir()) == []


def test_older_versions_are_repaired_too_and_are_no_reason_to_stop(nodes: FakeNodes) -> None:
    """A rollback needs them. Where a node's is damaged it goes, as the controller's is there."""
    old = rot(nodes, "c1", NAME)
    nodes.publish(NAME, b"new")
    run(nodes)
    states, noticed = run(nodes, NAME, repair=True)
    assert states == dict.fromkeys(("c1", "c2", "c3"), "unchanged")
    assert [line.partition(" (")[0] for line in noticed] == [f"c1: {NAME} damaged"]
    assert f".registry/objects/sha256/{old}" not in nodes.files("c1")
    (nodes.registry / agent.OBJECTS / old).write_bytes(b"rotten")
    assert f"controller: {NAME} fetched from c2" in run(nodes, NAME, repair=True)[1]
    assert agent.hash_file(str(nodes.registry / agent.OBJECTS / old)) == old
    for node in ("c2", "c3"):
        (nodes.root / node / "registry" / agent.OBJECTS / old).unlink()
    (nodes.registry / agent.OBJECTS / old).unlink()
    states, noticed = run(nodes, NAME, repair=True)
    assert states == dict.fromkeys(("c1", "c2", "c3"), "unchanged")
    assert noticed[0].endswith(f"could not give its bytes: there is no way back to that version of {NAME}")


def test_what_has_gone_from_the_controller_comes_back_with_its_name(nodes: FakeNodes) -> None:
    (nodes.registry / agent.OBJECTS / nodes.catalog().images[NAME].digest).unlink()
    (nodes.registry / NAME).unlink()
    assert f"controller: {NAME} fetched from c1" in run(nodes, NAME, repair=True)[1]
    assert is_sound(nodes, "controller", NAME)


def test_where_no_node_has_the_bytes_a_deploy_is_needed(nodes: FakeNodes) -> None:
    for machine in ("controller", "c1", "c2"):
        rot(nodes, machine, NAME)
    nodes.trouble("c3", "refused")
    with pytest.raises(CommandFailed, match=r"damaged or gone here, and c\[1-3\] could not give its bytes") as caught:
        run(nodes, NAME, repair=True)
    assert caught.value.hint == "deploy the image again"
    sent = (nodes.root / "c1" / "rsynced").read_text()
    assert sent.count(nodes.catalog().images[NAME].digest) == 1, "as the fixture did, and nothing since"
    assert list((nodes.registry / agent.STAGING).iterdir()) == []


def test_a_node_tells_only_of_what_it_was_asked_for() -> None:
    class Liar:
        node = "c1"

        def ask(self, verb: str, request: dict[str, Any], *, timeout: float) -> dict[str, Any]:
            return {"damaged": {OTHER_DIGEST: DIGEST, DIGEST: OTHER_DIGEST}}

    told: list[dict[str, Any]] = []
    wanted = {NAME: entry(DIGEST)}
    found = repair.repair_node(cast("NodeSession", Liar()), {DIGEST: 1, OTHER_DIGEST: 1}, wanted, recorder(told))
    assert found == {DIGEST}
    assert len(told) == 1


def test_a_node_that_sends_without_end_is_left(nodes: FakeNodes, monkeypatch: pytest.MonkeyPatch) -> None:
    rot(nodes, "controller", NAME)
    endless = nodes.root / "bin" / "cat"
    endless.write_text("#!/bin/sh\nexec yes\n")
    monkeypatch.setattr(repair, "MOST_ASKED", 1)
    endless.chmod(0o755)
    with pytest.raises(CommandFailed, match="c1 could not give its bytes"):
        entry = nodes.catalog().images[NAME]
        repair.fetch_from_any(nodes.settings, entry.digest, entry.size, ["c1", "c2"])
    assert list((nodes.registry / agent.STAGING).iterdir()) == []
