"""sign, and what other commands say of signatures."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from pytest_hpcregistry.cli import commands
from pytest_hpcregistry.cluster.client import ControllerClient
from pytest_hpcregistry.core.catalog import Catalog, Entry
from pytest_hpcregistry.core.errors import HpcRegistryError
from pytest_hpcregistry.core.events import Published
from pytest_hpcregistry.testing.facts import DIGEST, NAME, OTHER, entry
from tests.fakes.signer import Signer

SECOND = "ml-frameworks/y.sif"


def signed(signer: Signer, name: str, digest: str) -> Entry:
    made = signer.for_image(name, digest, 10)
    return replace(entry(digest), signed=made["signed"], signature=made["signature"])


@pytest.fixture
def cluster(alice: Signer, tmp_path: Path) -> Path:
    path = tmp_path / "cluster.yaml"
    registry = f"{{signatures: require, signers: [{alice.line}], signing_key: {alice.key}}}"
    path.write_text(f"controller: {{host: hpc}}\nregistry: {registry}\n")
    return path


@pytest.fixture
def published(alice: Signer, monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """What a controller was given to publish; its catalog has two signed images."""
    given: list[Any] = []
    catalog = Catalog({NAME: signed(alice, NAME, DIGEST), SECOND: signed(alice, SECOND, OTHER)})

    def publish(client: ControllerClient, request: Any, listener: object) -> Published:
        given.append(request)
        return Published(request["name"], request["digest"], True)

    monkeypatch.setattr(ControllerClient, "catalog", lambda client: catalog)
    monkeypatch.setattr(ControllerClient, "publish", publish)
    return given


def run(cluster: Path, *words: str) -> Result:
    return CliRunner().invoke(commands, [*words, "--cluster", str(cluster)], standalone_mode=False)


def test_all_or_some_are_signed(cluster: Path, published: list[Any]) -> None:
    said = run(cluster, "sign", "--all")
    assert said.exception is None
    assert "signed 2 images; bring the signatures to the nodes: hpc-container-manager sync\n" in said.output
    assert {request["name"] for request in published} == {NAME, SECOND}
    said = run(cluster, "sign", "y.sif")
    assert "signed 1 image; " in said.output
    assert [request["name"] for request in published[2:]] == [SECOND]


@pytest.mark.parametrize("words", [[], ["x.sif", "--all"]])
def test_which_images_must_be_said(cluster: Path, published: list[Any], words: list[str]) -> None:
    said = run(cluster, "sign", *words)
    assert "name images or give --all, and not both" in str(said.exception)
    assert published == []


def test_an_empty_catalog_is_not_signed(cluster: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ControllerClient, "catalog", lambda client: Catalog())
    said = run(cluster, "sign", "--all")
    assert isinstance(said.exception, HpcRegistryError)
    assert said.exception.exit_code == 2


def test_the_catalog_is_shown_with_who_signed(cluster: Path, published: list[Any], tmp_path: Path) -> None:
    assert "  signed by: alice@site\n" in run(cluster, "catalog", "show", "x.sif").output
    bob = Signer(tmp_path, "bob")
    cluster.write_text(f"controller: {{host: hpc}}\nregistry: {{signers: [{bob.line}]}}\n")
    shown = run(cluster, "catalog", "show", "x.sif").output
    assert "  signed by: none of registry.signers\n" in shown
    assert "BEGIN SSH SIGNATURE" not in shown
