"""The relay over nodes that are directories: real agents, real TLS on the loopback, nothing of ssh."""

from __future__ import annotations

import hashlib
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from pytest_hpcregistry import agent
from pytest_hpcregistry.controller.sync import sync

from .fake_nodes import FakeNodes

NAME, OTHER = "ml-frameworks/x.sif", "base-images/y.sif"
NODES = tuple(f"c{number}" for number in range(1, 7))


@pytest.fixture
def nodes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeNodes:
    found = FakeNodes(tmp_path, *NODES)
    found.use(monkeypatch)
    found.settings = replace(found.settings, method="relay")
    return found


def run(nodes: FakeNodes) -> tuple[dict[str, str], list[dict[str, Any]]]:
    told: list[dict[str, Any]] = []
    outcomes = sync(nodes.settings, None, None, told.append)
    return {node: outcome.message or outcome.state for node, outcome in outcomes.items()}, told


def test_every_node_gets_every_byte(nodes: FakeNodes) -> None:
    digest = nodes.publish(NAME, os.urandom(3 << 20))
    states, told = run(nodes)
    assert states == dict.fromkeys(NODES, "synced")
    for node in NODES:
        assert hashlib.sha256((nodes.root / node / "registry" / NAME).read_bytes()).hexdigest() == digest
        assert nodes.asked(node) == ["session"], "one login"
        assert list((nodes.root / node / "registry" / agent.STAGING).iterdir()) == []
    assert [event["engine"] for event in told if event["event"] == "transfer_started"] == ["relay"]


def test_several_images_at_once_and_only_what_is_lacking(nodes: FakeNodes) -> None:
    nodes.publish(NAME, os.urandom(200_000))
    run(nodes)
    nodes.publish(OTHER, os.urandom(300_001))
    (nodes.root / "c2" / "registry" / NAME).unlink()
    for path in (nodes.root / "c2" / "registry" / agent.OBJECTS).iterdir():
        path.unlink()
    states, _ = run(nodes)
    assert states == dict.fromkeys(NODES, "synced")
    assert all(nodes.files(node) == nodes.files("c1") for node in NODES)
