"""The directory tree: there, with the right modes and owners, on the controller and on every node."""

from __future__ import annotations

import pytest

from pytest_hpcregistry.core import layout
from pytest_hpcregistry.core.facts import Machine
from pytest_hpcregistry.core.model import Registry

pytestmark = pytest.mark.infrastructure
PUBLIC = ["", layout.METADATA, layout.OBJECTS]
FILES = ["README.md", layout.CONFIG, layout.CATALOG]
ROOTS = {layout.PEERS: "0644", layout.LOCK: "0600"}


def test_directories(machine: Machine, registry: Registry) -> None:
    paths = [f"{registry.path}/{name}".rstrip("/") for name in [*PUBLIC, *registry.directories]]
    found = {path: machine.path(path) for path in paths}
    missing = [path for path, what in found.items() if what is None or what["type"] != "directory"]
    assert not missing


def test_modes_and_ownership(machine: Machine, registry: Registry) -> None:
    wanted = (f"{registry.directory_mode:04o}", registry.owner, registry.group)
    wrong = {}
    for name in ["", *registry.directories]:
        found = machine.path(f"{registry.path}/{name}")
        actual = (found["mode"], found["owner"], found["group"]) if found else None
        if actual != wanted:
            wrong[f"{registry.path}/{name}"] = actual
    assert wrong == {}, f"should be {wanted}"


@pytest.mark.parametrize("name", [layout.STAGING, layout.BASES])
def test_where_images_arrive_is_closed_to_others(machine: Machine, registry: Registry, name: str) -> None:
    found = machine.path(f"{registry.path}/{name}")
    assert found is not None, f"{registry.path}/{name} does not exist"
    assert (found["type"], found["mode"], found["owner"]) == ("directory", "0700", "root")


@pytest.mark.parametrize("name", FILES)
def test_files(machine: Machine, registry: Registry, name: str) -> None:
    found = machine.path(f"{registry.path}/{name}")
    assert found is not None, f"{registry.path}/{name} does not exist"
    assert found["type"] == "file"
    assert found["size"] > 0
    assert (found["mode"], found["owner"], found["group"]) == ("0644", registry.owner, registry.group)


@pytest.mark.parametrize("name", ROOTS)
def test_files_of_root(machine: Machine, registry: Registry, name: str) -> None:
    found = machine.path(f"{registry.path}/{name}")
    assert found is not None, f"{registry.path}/{name} does not exist"
    assert (found["type"], found["mode"], found["owner"], found["group"]) == ("file", ROOTS[name], "root", "root")


def test_group_exists(machine: Machine, registry: Registry) -> None:
    assert machine.facts["accounts"]["groups"][registry.group] is not None


def test_users_can_read(machine: Machine) -> None:
    """Tried as the user slurm and as the ordinary user, not read off the modes."""
    denied = machine.facts["denied"]
    assert denied
    assert {user: paths for user, paths in denied.items() if paths != []} == {}
