"""The directory tree: there, with the right modes and owners, on the controller and on every node."""

from __future__ import annotations

import pytest

from pytest_hpcregistry.checks import Find, structure

pytestmark = pytest.mark.hpc_infrastructure


def test_directories(find_on_machines: Find) -> None:
    assert find_on_machines(structure.directories) == []


def test_modes_and_ownership(find_on_machines: Find) -> None:
    assert find_on_machines(structure.modes) == []


def test_where_images_arrive_is_closed_to_others(find_on_machines: Find) -> None:
    assert find_on_machines(structure.private_directories) == []


def test_files(find_on_machines: Find) -> None:
    assert find_on_machines(structure.files) == []


def test_files_of_root(find_on_machines: Find) -> None:
    assert find_on_machines(structure.root_files) == []


def test_history(find_on_machines: Find) -> None:
    assert find_on_machines(structure.history) == []
