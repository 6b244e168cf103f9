"""A registry on a file system that the nodes share with the controller: nothing moves, and every node must see it."""

from __future__ import annotations

import shutil
import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from pytest_hpcregistry import agent
from pytest_hpcregistry.controller import rollout
from pytest_hpcregistry.controller.engines import shared
from pytest_hpcregistry.controller.probe import probing
from pytest_hpcregistry.controller.sync import sync
from pytest_hpcregistry.core import layout
from pytest_hpcregistry.core.errors import CommandFailed
from pytest_hpcregistry.testing.listener import recorder
from tests.fakes.nodes import FakeNodes
from tests.fakes.settings import change
from tests.unit.controller.engines.test_star import job

NAME = "ml-frameworks/x.sif"


@pytest.fixture
def nodes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeNodes:
    """c1 and c2 have the controller's own registry mounted, c3 has one of its own."""
    found = FakeNodes(tmp_path, "c1", "c2", "c3")
    found.use(monkeypatch)
    for node in ("c1", "c2"):
        shutil.rmtree(tmp_path / node / "registry")
        (tmp_path / node / "registry").symlink_to(found.registry)
    found.publish(NAME)
    return found


def run(nodes: FakeNodes, **settings: Any) -> tuple[dict[str, str], list[str]]:
    told: list[dict[str, Any]] = []
    outcomes = sync(change(nodes.settings, **settings), None, None, recorder(told))
    engines = [event["engine"] for event in told if event["event"] == "transfer_started"]
    return {node: outcome.message or outcome.state for node, outcome in outcomes.items()}, engines


def test_it_is_detected_and_the_others_are_brought_their_bytes(nodes: FakeNodes) -> None:
    before = set(nodes.registry.rglob("*"))
    states, engines = run(nodes)
    assert states == {"c1": "unchanged", "c2": "unchanged", "c3": "synced"}
    assert sorted(set(engines)) == ["shared", "star"]
    assert not (nodes.root / "c1" / "rsynced").exists()
    assert {path for path in nodes.registry.rglob("*") if not path.name.startswith("sync")} == before


def test_the_probe_needs_no_room_and_cannot_be_guessed(nodes: FakeNodes) -> None:
    seen = set()
    for _ in range(3):
        with probing(str(nodes.registry)) as probe:
            paths = [nodes.registry / place / probe.name for place in (layout.METADATA, layout.STAGING)]
            assert [path.stat().st_size for path in paths] == [0, 0]
            assert {path.stat().st_mtime for path in paths} == {probe.modified}
            assert probe.is_seen({"probe": probe.modified})
            assert not probe.is_seen({"probe": None})
            seen.add(probe.modified)
        assert not any(path.exists() for path in paths)
    assert len(seen) == 3


def test_a_node_with_a_directory_of_its_own_is_named(nodes: FakeNodes) -> None:
    states, _ = run(nodes, method="shared")
    assert (states["c1"], states["c2"]) == ("unchanged", "unchanged")
    assert states["c3"].startswith("has a ")
    assert "of its own" in states["c3"]
    assert NAME not in nodes.files("c3")


def test_a_node_that_does_not_show_what_was_published_is_named(
    nodes: FakeNodes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As through a stale handle: the probe is seen, the image's name means nothing."""
    monkeypatch.setattr(rollout, "SEEN_WITHIN", 0)
    (nodes.registry / NAME).unlink()
    (nodes.registry / NAME).write_text("somebody's own, which no sync replaces here")
    nodes.settings = change(nodes.settings, nodes=("c1",))
    states, _ = run(nodes)
    assert states["c1"] == f"does not show {NAME} as the controller has it"
    assert (nodes.registry / agent.CATALOG).exists()


def test_a_node_is_left_when_it_has_been_looked_at(nodes: FakeNodes, monkeypatch: pytest.MonkeyPatch) -> None:
    done: list[str] = []

    def arrived(node: str) -> str:
        done.append(f"looked at {node}")
        if node == "c2":
            raise CommandFailed("c2: no")
        return node

    nodes.settings = change(nodes.settings, window=1)
    found = shared.distribute(job(nodes, {"c1": [], "c2": [], "c3": []}, arrived, left=done))
    assert (found["c1"], str(found["c2"]), found["c3"]) == ("c1", "c2: no", "c3")
    assert done == ["looked at c1", "c1", "looked at c2", "c2", "looked at c3", "c3"]


def test_a_failure_is_told_before_the_others_have_ended(nodes: FakeNodes) -> None:
    failed = threading.Event()

    def arrived(node: str) -> str:
        if node == "c1":
            raise CommandFailed("no", where="c1")
        assert failed.wait(20)
        return node

    work = replace(job(nodes, {"c1": [], "c2": []}, arrived), failed=lambda node, error: failed.set())
    assert shared.distribute(work)["c2"] == "c2"
