"""The catalog: sound, and the same on every node."""

from __future__ import annotations

import pytest

from pytest_hpcregistry.core.catalog import Catalog
from pytest_hpcregistry.core.facts import Machine

pytestmark = pytest.mark.deployment


def test_catalog_names_images(catalog: Catalog) -> None:
    assert catalog.images, "the catalog is empty: deploy an image first"


def test_catalog_is_the_controllers(node: Machine, controller: Machine) -> None:
    assert node.facts["catalog_digest"] == controller.facts["catalog_digest"]


def test_every_entry_has_its_bytes(machine: Machine, catalog: Catalog) -> None:
    objects = machine.facts["objects"]
    assert [name for name, entry in catalog.images.items() if entry.digest not in objects] == []
