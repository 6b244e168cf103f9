"""Where signatures are required: what the controller refuses, and what a node refuses whatever the controller says."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from pytest_hpcregistry import agent
from pytest_hpcregistry.agent import signatures
from pytest_hpcregistry.controller import publish as registry
from pytest_hpcregistry.controller.outcome import Outcome
from pytest_hpcregistry.controller.sync import sync
from pytest_hpcregistry.core.catalog import Catalog
from pytest_hpcregistry.core.errors import CheckFailed, UsageError
from pytest_hpcregistry.core.signatures import allowed_signers
from pytest_hpcregistry.testing.listener import recorder
from tests.fakes.nodes import FakeNodes, send
from tests.fakes.signer import REQUIRE, Signer

NAME, OTHER = "ml-frameworks/x.sif", "ml-frameworks/y.sif"


@pytest.fixture
def nodes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, alice: Signer) -> FakeNodes:
    found = FakeNodes(tmp_path, "c1", "c2")
    found.use(monkeypatch)
    for top in (found.registry, tmp_path / "c1/registry", tmp_path / "c2/registry"):
        (top / agent.SIGNERS).write_text(allowed_signers([alice.line]))
    return found


def require(nodes: FakeNodes, *machines: str) -> None:
    for machine in machines:
        top = nodes.registry if machine == "controller" else nodes.root / machine / "registry"
        (top / signatures.CONFIG).write_text(REQUIRE)


def run(nodes: FakeNodes) -> dict[str, Outcome]:
    return sync(nodes.settings, None, None, recorder([]))


def change_catalog(nodes: FakeNodes, **fields: Any) -> None:
    """As whoever holds the controller can."""
    catalog = nodes.catalog()
    images = {name: replace(entry, **fields) for name, entry in catalog.images.items()}
    (nodes.registry / agent.CATALOG).write_text(Catalog(images).to_text())


def test_a_signed_image_reaches_every_node(nodes: FakeNodes, alice: Signer) -> None:
    require(nodes, "controller", "c1", "c2")
    nodes.publish(NAME, signer=alice)
    assert {node: one.state for node, one in run(nodes).items()} == {"c1": "synced", "c2": "synced"}
    assert {node: one.state for node, one in run(nodes).items()} == {"c1": "unchanged", "c2": "unchanged"}
    entry = nodes.catalog().images[NAME]
    assert entry.signed
    assert entry.signature.startswith("-----BEGIN SSH SIGNATURE-----\n")


@pytest.mark.parametrize("who", ["nobody", "mallory"])
def test_the_controller_refuses_and_keeps_nothing(nodes: FakeNodes, mallory: Signer, who: str) -> None:
    require(nodes, "controller")
    with pytest.raises(CheckFailed, match=f"^controller: {NAME} is (not signed|signed by no signer)"):
        nodes.publish(NAME, signer=mallory if who == "mallory" else None)
    assert nodes.catalog().images == {}
    assert list((nodes.registry / agent.OBJECTS).iterdir()) == list((nodes.registry / agent.STAGING).iterdir()) == []


@pytest.mark.parametrize("who", ["nobody", "mallory"])
def test_a_node_refuses_what_a_controller_takes_that_somebody_else_holds(
    nodes: FakeNodes, mallory: Signer, who: str
) -> None:
    require(nodes, "c1")
    nodes.publish(NAME, signer=mallory if who == "mallory" else None)
    outcomes = run(nodes)
    assert {node: one.state for node, one in outcomes.items()} == {"c1": "failed", "c2": "synced"}
    assert "signed" in outcomes["c1"].message
    assert "hpc-container-manager sign" in outcomes["c1"].hint
    assert NAME not in nodes.files("c1")


def test_a_catalog_of_yesterday_brings_no_node_its_version_back(nodes: FakeNodes, alice: Signer) -> None:
    require(nodes, "controller", "c1", "c2")
    old = nodes.publish(NAME, b"1", alice)
    run(nodes)
    catalog = (nodes.registry / agent.CATALOG).read_text()
    new = nodes.publish(NAME, b"2", alice)
    run(nodes)
    (nodes.registry / agent.CATALOG).write_text(catalog)
    outcomes = run(nodes)
    assert all("does not bring it back" in one.message for one in outcomes.values())
    meant = (nodes.root / "c1/registry" / NAME).stat().st_ino
    objects = nodes.root / "c1/registry" / agent.OBJECTS
    assert ((objects / new).stat().st_ino, (objects / old).stat().st_ino != meant) == (meant, True)


def test_a_signature_for_other_bytes_does_not_count(nodes: FakeNodes, alice: Signer) -> None:
    nodes.publish(NAME, b"1", alice)
    first = nodes.catalog().images[NAME]
    nodes.publish(NAME, b"2", alice)
    change_catalog(nodes, signed=first.signed, signature=first.signature)
    require(nodes, "c1", "c2")
    assert all("is signed by no signer" in one.message for one in run(nodes).values())


def test_the_same_bytes_are_signed_again(nodes: FakeNodes, alice: Signer, mallory: Signer) -> None:
    nodes.publish(NAME, b"1", mallory)
    require(nodes, "controller", "c1", "c2")
    before = nodes.catalog().images[NAME]
    nodes.publish(NAME, b"1", alice)
    after = nodes.catalog().images[NAME]
    assert after.signature != before.signature
    assert replace(after, signed=before.signed, signature=before.signature) == before
    assert {one.state for one in run(nodes).values()} == {"synced"}


def test_a_rollback_needs_a_signature_of_its_own(nodes: FakeNodes, alice: Signer) -> None:
    require(nodes, "controller", "c1", "c2")
    old = nodes.publish(NAME, b"1", alice)
    nodes.publish(NAME, b"2", alice)
    with pytest.raises(CheckFailed, match="does not bring it back"):
        registry.rollback(nodes.settings, NAME, None)
    size = nodes.catalog().images[NAME].versions[0].size
    signature = alice.for_image(NAME, old, size)
    _, now = registry.rollback(nodes.settings, NAME, old, signature)
    entry = nodes.catalog().images[NAME]
    assert (now.digest, entry.digest, entry.signature) == (old, old, signature["signature"])
    assert {one.state for one in run(nodes).values()} == {"synced"}


def test_what_is_signed_in_times_to_come_is_refused(nodes: FakeNodes, alice: Signer) -> None:
    """Every later signature would be older than that one."""
    digest = send(nodes.registry, b"1")
    image = {"name": NAME, "digest": digest, "size": 1, "by": "", "architecture": "amd64", "source": "", "labels": {}}
    signature = alice.for_image(NAME, digest, 1, "2999-01-01T00:00:00.000000Z")
    with pytest.raises(UsageError, match=r"^signed at 2999-01-01T00:00:00\.000000Z, which is to come"):
        registry.publish(nodes.settings, {**image, **signature})


def test_an_unsigned_image_of_before_keeps_nobody_from_a_signed_one(nodes: FakeNodes, alice: Signer) -> None:
    """Where nodes have it already; a new node is refused until somebody signs."""
    nodes.publish(OTHER, b"1")
    run(nodes)
    require(nodes, "controller", "c1", "c2")
    nodes.publish(NAME, b"2", alice)
    assert {one.state for one in run(nodes).values()} == {"synced"}
