"""Each image of the catalog, on the controller and on every node: there, sound, readable, and the very same bytes."""

from __future__ import annotations

import warnings

import pytest

from pytest_hpcregistry.checks import Find, images
from pytest_hpcregistry.cluster import signing
from pytest_hpcregistry.core.catalog import Entry
from pytest_hpcregistry.core.events import Event
from pytest_hpcregistry.core.model import Cluster

pytestmark = pytest.mark.hpc_deployment
Sif = tuple[str, Entry]


def test_image_is_present(find_in_images: Find) -> None:
    assert find_in_images(images.whole) == []


def test_image_is_intact(find_in_images: Find) -> None:
    assert find_in_images(images.state, images.intact) == []


def test_image_is_a_sound_sif(find_in_images: Find) -> None:
    assert find_in_images(images.sound) == []


def test_it_is_signed_where_that_is_required(sif: Sif, cluster: Cluster) -> None:
    assert signing.failures(cluster.registry, dict([sif]), warn_of) == []


def warn_of(event: Event) -> None:
    warnings.warn(str(event), stacklevel=2)


def test_apptainer_can_inspect_it(find_in_images: Find) -> None:
    assert find_in_images(images.inspected) == []


def test_image_mode_and_ownership(find_in_images: Find) -> None:
    assert find_in_images(images.modes) == []


def test_users_can_read_it(find_in_images: Find) -> None:
    assert find_in_images(images.readable) == []
