"""A sync with repair, by the real agent: every copy is read, and what is damaged is replaced and reported."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import pytest

from pytest_hpcregistry import agent
from pytest_hpcregistry.controller import publish, repair
from pytest_hpcregistry.controller.session import NodeSession
from pytest_hpcregistry.controller.sync import plan, sync
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


def registry_of(nodes: FakeNodes, machine: str) -> Path:
    return nodes.registry if machine == "controller" else nodes.root / machine / "registry"


@pytest.mark.parametrize("machine", ["c2", "controller"])
def test_every_name_of_damaged_bytes_gets_good_ones(nodes: FakeNodes, machine: str) -> None:
    """Also one that nobody has named; one that was removed goes, as its file has."""
    second, third, other = "base-images/second.sif", "base-images/third.sif", "base-images/other.sif"
    nodes.publish(second)
    nodes.publish(third)
    nodes.publish(other, b"quite another")
    run(nodes)
    digest = rot(nodes, machine, NAME)
    catalog = nodes.catalog().with_removed([third], now="2026-01-02T03:04:05Z", by="me", until="2027-01-02T03:04:05Z")
    (nodes.registry / agent.CATALOG).write_text(catalog.to_text())
    rot(nodes, "c1", other)
    states, noticed = run(nodes, NAME, repair=True)
    assert states["c2"] == "synced"
    assert f"{second}: repaired too, as bytes of it are those of {NAME}" in noticed
    for one in (NAME, second):
        assert is_sound(nodes, machine, one)
    assert not (registry_of(nodes, machine) / third).exists()
    assert not is_sound(nodes, "c1", other), "it was neither named, nor are its bytes those"
    assert digest in {path.name for path in (registry_of(nodes, machine) / agent.QUARANTINE).iterdir()}


def put_in_the_place(path: Path, kind: str) -> None:
    path.unlink(missing_ok=True)
    if kind == "directory":
        path.mkdir()
        (path / "file").write_text("in it")
    elif kind == "link":
        path.symlink_to("/etc/passwd")
    else:
        os.mkfifo(path)


@pytest.mark.parametrize("kind", ["directory", "link", "pipe"])
@pytest.mark.parametrize("machine", ["c2", "controller"])
def test_what_is_no_file_in_the_place_of_an_object_is_put_away(nodes: FakeNodes, machine: str, kind: str) -> None:
    """Of an older version, too: a rollback could not bring that."""
    old = nodes.catalog().images[NAME].digest
    nodes.publish(NAME, b"new")
    run(nodes)
    new = nodes.catalog().images[NAME].digest
    objects = registry_of(nodes, machine) / agent.OBJECTS
    for digest in (old, new):
        put_in_the_place(objects / digest, kind)
    noticed = run(nodes, repair=True)[1]
    assert sum(line.startswith(f"{machine}: {NAME} damaged (unreadable, should be ") for line in noticed) == 2
    assert is_sound(nodes, machine, NAME)
    assert {path.name for path in (objects.parents[1] / "quarantine").iterdir()} == {old, new}
    assert run(nodes, repair=True)[1] == []
    put_in_the_place(
        objects / new, "link" if kind == "directory" else "directory"
    )  # in the place of that in quarantine
    run(nodes, repair=True)
    assert is_sound(nodes, machine, NAME)
    commands = publish.rollback(nodes.settings, NAME, old)
    assert commands[1].digest == old
    assert set(run(nodes)[0].values()) == {"synced"}


def test_a_sync_names_the_directory_in_the_place_of_an_object(nodes: FakeNodes) -> None:
    digest = nodes.catalog().images[NAME].digest
    put_in_the_place(registry_of(nodes, "c2") / agent.OBJECTS / digest, "directory")
    outcome = sync(nodes.settings, None, None, lambda event: None)["c2"]
    assert (outcome.state, outcome.message) == ("failed", f"a directory lies in the place of object {digest[:12]}")
    assert outcome.hint == "hpc-container-manager sync --repair moves it away"
    assert list((registry_of(nodes, "c2") / agent.STAGING).iterdir()) == []


def test_a_directory_in_the_place_of_one_name_keeps_no_other_back(nodes: FakeNodes) -> None:
    registry = registry_of(nodes, "c2")
    put_in_the_place(registry / NAME, "directory")
    (registry / OTHER).unlink()
    (registry / agent.CATALOG).unlink()
    for reads in (False, True):
        outcome = sync(nodes.settings, None, None, lambda event: None, repair=reads)["c2"]
        assert (outcome.state, outcome.message) == ("failed", f"{NAME} is a directory there: move it away")
        assert is_sound(nodes, "c2", OTHER)
        assert (registry / agent.CATALOG).read_bytes() == (nodes.registry / agent.CATALOG).read_bytes()
    (registry / OTHER).unlink()
    outcome = plan(nodes.settings, None, None, lambda event: None)["c2"]
    others = f"the sync would do the others: {OTHER}"
    assert (outcome.state, outcome.message) == ("failed", f"{NAME} is a directory there: move it away; {others}")
    put_in_the_place(nodes.registry / NAME, "directory")
    with pytest.raises(CommandFailed, match=f"^controller: {NAME} is a directory there: move it away$"):
        run(nodes, repair=True)
    assert is_sound(nodes, "c2", OTHER), "nor does one on the controller"


def test_what_the_controller_has_lost_is_named_and_keeps_nothing_else_back(nodes: FakeNodes) -> None:
    digest = nodes.catalog().images[NAME].digest
    os.truncate(nodes.registry / NAME, 10)
    for path in (NAME, f"{agent.OBJECTS}/{digest}", OTHER):
        (registry_of(nodes, "c1") / path).unlink()
    for work in (plan, sync):
        told: list[dict[str, Any]] = []
        with pytest.raises(CommandFailed) as caught:
            work(nodes.settings, None, None, recorder(told))
        lost = f"controller: the bytes of {NAME} are damaged or gone here, and no node can get them"
        assert (str(caught.value), caught.value.hint) == (lost, f"hpc-container-manager sync --repair {NAME}")
        assert told[-1]["states"]["c1"] == {plan: "planned", sync: "synced"}[work]
    assert is_sound(nodes, "c1", OTHER)
    assert run(nodes, repair=True)[0]["c1"] == "synced"
    assert is_sound(nodes, "c1", NAME)


def test_with_chosen_nodes_the_bytes_may_be_on_those_that_were_left_out(nodes: FakeNodes) -> None:
    rot(nodes, "controller", NAME)
    rot(nodes, "c1", NAME)
    rot(nodes, "c1", OTHER)
    few = replace(nodes.settings, nodes=("c1",))
    with pytest.raises(CommandFailed, match=f"and c1 could not give its bytes \\({NAME}\\)") as caught:
        sync(few, None, None, lambda event: None, repair=True, chosen=True)
    assert caught.value.hint == "the nodes that were left out may have them: sync --repair without -w and -x"
    assert is_sound(nodes, "c1", OTHER), "what there are bytes of is repaired all the same"
    run(nodes, repair=True)
    assert is_sound(nodes, "controller", NAME)


def test_a_dry_run_says_what_becomes_of_the_controllers_names(nodes: FakeNodes) -> None:
    (nodes.registry / NAME).unlink()
    told: list[dict[str, Any]] = []
    plan(nodes.settings, None, None, recorder(told))
    digest = nodes.catalog().images[NAME].digest[:12]
    said = [one["message"] for one in told if one["event"] == "planned"]
    assert said[:1] == [f"controller: {NAME} is not the catalog's version {digest}, and would be"]
    assert not (nodes.registry / NAME).exists()
    run(nodes)
    assert is_sound(nodes, "controller", NAME)
    catalog = nodes.catalog().with_removed([NAME], now="2026-01-02T03:04:05Z", by="me", until="2027-01-02T03:04:05Z")
    (nodes.registry / agent.CATALOG).write_text(catalog.to_text())
    told.clear()
    plan(nodes.settings, None, None, recorder(told))
    said = [one["message"] for one in told if one["event"] == "planned"]
    assert said[:1] == [f"controller: would lose the name {NAME}, as after a removal that was killed"]


def test_a_repair_says_which_of_the_controllers_names_it_has_mended(nodes: FakeNodes) -> None:
    (nodes.registry / NAME).unlink()
    (nodes.registry / NAME).symlink_to("/etc/passwd")
    (nodes.registry / OTHER).chmod(0)
    said = "was not the catalog's file, with its owner and mode: it is now"
    assert run(nodes, repair=True)[1] == [f"controller: {OTHER} {said}", f"controller: {NAME} {said}"]
    assert is_sound(nodes, "controller", NAME)
    assert (nodes.registry / OTHER).stat().st_mode & 0o7777 == 0o755
