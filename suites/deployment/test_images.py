"""Each image of the catalog, on the controller and on every node: there, sound, readable, and the very same bytes."""

from __future__ import annotations

import pytest

from pytest_hpcregistry.core.catalog import Entry
from pytest_hpcregistry.core.facts import PRESENT, Machine
from pytest_hpcregistry.core.model import Registry
from pytest_hpcregistry.core.names import excerpt
from pytest_hpcregistry.core.sif import check_header

pytestmark = pytest.mark.deployment
Sif = tuple[str, Entry]
SMALLEST = 1 << 20  # bytes; no image of a whole root directory is smaller


def test_image_is_present(machine: Machine, sif: Sif) -> None:
    name, _ = sif
    found = machine.image(name)
    assert found is not None, f"{name} is missing"
    assert found["type"] == "file"
    assert found["size"] >= SMALLEST


def test_image_is_intact(machine: Machine, sif: Sif) -> None:
    """The digest of every byte, read from that machine's own disk a moment ago, is the catalog's."""
    name, entry = sif
    found = machine.image(name)
    assert found is not None, f"{name} is missing"
    state = machine.state_of(name, entry)
    assert state == PRESENT, f"{name}: {state} {' '.join(machine.damaged_objects(name, entry))}"
    assert found["sha256"] == entry.digest


def test_image_is_a_sound_sif(machine: Machine, sif: Sif) -> None:
    found = machine.image(sif[0])
    assert found is not None, f"{sif[0]} is missing"
    assert check_header(bytes.fromhex(found["header"]), found["size"]) is None


def test_apptainer_can_inspect_it(machine: Machine, sif: Sif) -> None:
    found = machine.image(sif[0])
    assert found is not None, f"{sif[0]} is missing"
    assert found["inspect"] is not None, "apptainer is not installed"
    assert found["inspect"]["exit"] == 0, excerpt(found["inspect"]["says"])


def test_image_mode_and_ownership(machine: Machine, sif: Sif, registry: Registry) -> None:
    found = machine.image(sif[0])
    assert found is not None, f"{sif[0]} is missing"
    actual = (found["mode"], found["owner"], found["group"])
    assert actual == (f"{registry.file_mode:04o}", registry.owner, registry.group)


def test_users_can_read_it(machine: Machine, sif: Sif, registry: Registry) -> None:
    path = f"{registry.path}/{sif[0]}"
    denied = machine.facts["denied"]
    assert denied
    assert [user for user, paths in denied.items() if paths is None or path in paths] == []
