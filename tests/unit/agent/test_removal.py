"""Names that are taken away: only links to the very versions that were removed; and who has these open."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pytest_hpcregistry import agent
from tests.fakes.registry import NAME, NEW, OLD, converse, digest, make_program, make_registry, publish


@pytest.fixture
def registry(tmp_path: Path) -> Path:
    return make_registry(tmp_path / "registry")


def remove(registry: Path, *versions: bytes, name: str = NAME) -> list[str]:
    names = [{"name": name, "digests": [digest(data) for data in versions]}]
    found: list[str] = agent.remove_names(str(registry), {"names": names})["removed"]
    return found


def test_a_name_goes_and_its_bytes_stay(registry: Path) -> None:
    publish(registry, OLD)
    assert remove(registry, NEW, OLD) == [NAME]
    assert not (registry / NAME).exists()
    assert (registry / agent.OBJECTS / digest(OLD)).read_bytes() == OLD
    assert remove(registry, NEW, OLD) == [], "and a second time there is nothing to do"


def overwrite(path: Path) -> None:
    path.unlink()
    path.write_bytes(OLD)


def link(path: Path) -> None:
    target = path.parent.parent / agent.OBJECTS / digest(OLD)
    path.unlink()
    path.symlink_to(target)


def make_directory(path: Path) -> None:
    path.unlink()
    path.mkdir()


@pytest.mark.parametrize("put", [overwrite, link, make_directory])
def test_what_is_somebodys_own_stays(registry: Path, put: Callable[[Path], None]) -> None:
    """The same bytes, too: a file that is no link to the object was put there by somebody."""
    publish(registry, OLD)
    put(registry / NAME)
    assert remove(registry, OLD) == []
    assert os.path.lexists(registry / NAME)


def test_another_version_than_those_stays(registry: Path) -> None:
    publish(registry, OLD)
    assert remove(registry, NEW) == []
    assert (registry / NAME).read_bytes() == OLD


@pytest.mark.parametrize("name", ["../x.sif", ".registry/catalog.yaml", "x.sif", "ml-frameworks/../x.sif"])
def test_a_name_outside_is_refused(registry: Path, name: str) -> None:
    with pytest.raises(agent.Refused):
        remove(registry, OLD, name=name)


def test_who_has_it_open_and_of_which_job(registry: Path) -> None:
    publish(registry, OLD)
    argv = [sys.executable, "-c", "import sys; f = open(sys.argv[1]); print(flush=True); sys.stdin.read()"]
    environment = {**os.environ, "SLURM_JOB_ID": "8812"}
    pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with subprocess.Popen([*argv, str(registry / NAME)], env=environment, **pipes) as process:
        assert process.stdin
        assert process.stdout
        process.stdout.readline()
        remove(registry, OLD)
        found = agent.list_users(str(registry), {"objects": [digest(OLD), digest(NEW)]})["users"]
        process.stdin.close()
    assert [(one["digest"], one["job"]) for one in found] == [(digest(OLD), "8812")]
    assert found[0]["user"] == "root" if os.getuid() == 0 else found[0]["user"]
    assert agent.list_users(str(registry), {"objects": [digest(OLD)]})["users"] == []


def test_a_process_without_an_environment_is_of_its_parents_job(registry: Path) -> None:
    """As what mounts an image."""
    publish(registry, OLD)
    script = f"env -i {sys.executable} -c 'f = open(\"{registry / NAME}\"); print(flush=True); input()'; true"
    environment = {**os.environ, "SLURM_JOB_ID": "8812"}
    pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with subprocess.Popen(["/bin/sh", "-c", script], env=environment, **pipes) as process:
        assert process.stdin
        assert process.stdout
        process.stdout.readline()
        found = agent.list_users(str(registry), {"objects": [digest(OLD)]})["users"]
        process.stdin.write(b"\n")
        process.stdin.close()
    assert [one["job"] for one in found] == ["8812"]


def test_the_agent_is_asked_as_by_a_sync(registry: Path, tmp_path: Path) -> None:
    publish(registry, OLD)
    names = [{"name": NAME, "digests": [digest(OLD)]}]
    first = {"do": "users", "id": 1, "objects": [digest(OLD)]}
    assert converse(make_program(tmp_path), registry, first, {"do": "remove", "id": 2, "names": names}) == [
        {"users": [], "id": 1},
        {"removed": [NAME], "id": 2},
    ]
