"""Each image of the catalog, on the controller and on every node: there, sound, readable, and the very same bytes."""

from __future__ import annotations

import warnings

import pytest

from pytest_hpcregistry.checks import images
from pytest_hpcregistry.cluster import signing
from pytest_hpcregistry.core.catalog import Entry
from pytest_hpcregistry.core.events import Event
from pytest_hpcregistry.core.facts import Facts, Machine
from pytest_hpcregistry.core.model import Cluster

pytestmark = pytest.mark.deployment
Sif = tuple[str, Entry]


def test_image_is_present(machine: Machine, cluster_facts: Facts, cluster: Cluster, sif: Sif) -> None:
    assert list(images.whole(machine, cluster_facts, cluster, sif[0])) == []


def test_image_is_intact(machine: Machine, cluster_facts: Facts, cluster: Cluster, sif: Sif) -> None:
    assert list(images.state(machine, cluster_facts, cluster, sif[0])) == []
    assert list(images.intact(machine, cluster_facts, cluster, sif[0])) == []


def test_image_is_a_sound_sif(machine: Machine, cluster_facts: Facts, cluster: Cluster, sif: Sif) -> None:
    assert list(images.sound(machine, cluster_facts, cluster, sif[0])) == []


def test_it_is_signed_where_that_is_required(sif: Sif, cluster: Cluster) -> None:
    assert signing.failures(cluster.registry, dict([sif]), warn_of) == []


def warn_of(event: Event) -> None:
    warnings.warn(str(event), stacklevel=2)


def test_apptainer_can_inspect_it(machine: Machine, cluster_facts: Facts, cluster: Cluster, sif: Sif) -> None:
    assert list(images.inspected(machine, cluster_facts, cluster, sif[0])) == []


def test_image_mode_and_ownership(machine: Machine, cluster_facts: Facts, cluster: Cluster, sif: Sif) -> None:
    assert list(images.modes(machine, cluster_facts, cluster, sif[0])) == []


def test_users_can_read_it(machine: Machine, cluster_facts: Facts, cluster: Cluster, sif: Sif) -> None:
    assert list(images.readable(machine, cluster_facts, cluster, sif[0])) == []
