"""`cache` with a real Podman, which has a store of its own for this, and with a real Apptainer."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from pytest_hpcregistry import lab
from pytest_hpcregistry.core.model import Cluster
from pytest_hpcregistry.images.caches import choose, clean
from pytest_hpcregistry.images.caches.directories import find_apptainer
from pytest_hpcregistry.images.caches.entry import size_of
from pytest_hpcregistry.transports import CommandResult, open_transport
from pytest_hpcregistry.transports.process import run_process

from .conftest import Cli

pytestmark = pytest.mark.lab
Run = Callable[..., CommandResult]
MIB = 1024 * 1024
MAKE_ROOT = """#!/bin/sh
cd "$(mktemp -d)" && head -c 8388608 /dev/urandom > base && tar -cf "$1" base && rm -r "$PWD"
"""


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """A program with a store of images, a cache and a home that nobody else has."""
    store = f'driver = "overlay"\nrunroot = "{tmp_path}/run"\ngraphroot = "{tmp_path}/store"\n'
    (tmp_path / "storage.conf").write_text(f"[storage]\n{store}")
    variables = [f"CONTAINERS_STORAGE_CONF={tmp_path}/storage.conf", f"XDG_CACHE_HOME={tmp_path}/cache"]
    variables += [f"HOME={tmp_path}", "BUILDAH_ISOLATION=chroot"]

    def run(*words: str | Path) -> CommandResult:
        return run_process("workstation", ["env", *variables, *map(str, words)], timeout=120)

    return run


@pytest.fixture
def tool(run: Run) -> Run:
    program = Path(sys.executable).parent / "hpc-container-manager"
    return lambda *words: run(program, *words)


@pytest.fixture
def images(tmp_path: Path, tool: Run) -> Iterator[Path]:
    """Definitions of an image `mine` on a base of 8 MiB; it was built."""
    (tmp_path / "make.sh").write_text(MAKE_ROOT)
    (tmp_path / "make.sh").chmod(0o755)
    place = tmp_path / "images" / "mine"
    place.mkdir(parents=True)
    (place / "image.yaml").write_text("name: mine\nroot: [../../make.sh]\n")
    (place / "file").write_bytes(b"x" * MIB)
    (place / "Dockerfile").write_text("ARG BASE\nFROM ${BASE}\nCOPY file /file\n")
    tool("image", "build", "mine", "--definitions", place.parent).check()
    yield place.parent
    assert not list(tmp_path.glob("store/overlay/*/merged/*")), "nothing is mounted"


def names(run: Run) -> set[str]:
    listed = run("podman", "image", "ls", "--all", "--format", "json").check().stdout
    return {name for image in json.loads(listed) for name in image.get("Names") or ["nothing"]}


def megabytes(text: str) -> float:
    found = re.search(r"([0-9.]+) MB", text)
    assert found
    return float(found[1])


def on_disk(tmp_path: Path) -> int:
    return int(run_process("here", ["du", "-s", "-B1", str(tmp_path / "store")], timeout=60).stdout.split()[0])


def test_all_that_was_made_here_goes(tool: Run, run: Run, images: Path, tmp_path: Path) -> None:
    """And what is said to be freed is what the disk has more of."""
    before, there = on_disk(tmp_path), names(run)
    shown = tool("cache", "show").check().stdout
    assert re.search(rf"^podman +9\.[0-9] MB +2 +{tmp_path}/store$", shown, re.MULTILINE)
    planned = tool("cache", "clean", "--dry-run").check().stdout
    assert names(run) == there
    assert len(there) == 2
    done = tool("cache", "clean").check().stdout
    assert names(run) == set()
    freed = megabytes(done.splitlines()[-1])
    assert megabytes(planned.splitlines()[-1].partition("frees")[2]) == freed
    assert abs(freed * 1e6 - (before - on_disk(tmp_path))) < MIB / 2
    assert freed >= 9.4


def test_what_others_have_made_of_ours_stays(tool: Run, run: Run, images: Path, tmp_path: Path) -> None:
    """Under a name of their own, without one, and on ours under another name."""
    (tmp_path / "theirs").mkdir()
    for line in ("RUN-no", "COPY file /more"):
        (tmp_path / "theirs" / "file").write_text(line)
        (tmp_path / "theirs" / "Dockerfile").write_text(f"FROM localhost/mine:latest\nCOPY file /{len(line)}\n")
        run("podman", "build", "--quiet", "--tag", "theirs", tmp_path / "theirs").check()
    (tmp_path / "theirs" / "Dockerfile").write_text("FROM scratch\nCOPY file /file\n")
    run("podman", "build", "--quiet", "--tag", "other", tmp_path / "theirs").check()
    before = names(run)
    assert {"localhost/theirs:latest", "localhost/other:latest", "localhost/mine:latest", "nothing"} <= before
    assert tool("cache", "clean").check().stdout.splitlines()[-1] == "0 B freed", "theirs need the layers of ours"
    assert names(run) == {"localhost/theirs:latest", "localhost/other:latest", "nothing"}
    tool("image", "build", "mine", "--definitions", images).check()
    run("podman", "tag", "mine", "registry.example/mine:1").check()
    tool("cache", "clean").check()
    assert {"registry.example/mine:1", "localhost/mine:latest"} <= names(run)


def test_what_a_container_uses_stays_and_is_named(tool: Run, run: Run, images: Path) -> None:
    container = run("podman", "create", "mine", "true").check().stdout.strip()
    result = tool("cache", "clean").check()
    assert "! podman: localhost/mine:latest" in result.stdout
    assert "in use by a container" in result.stdout
    assert "localhost/mine:latest" in names(run)
    run("podman", "rm", container).check()
    tool("cache", "clean").check()
    assert names(run) == set()


def test_an_image_that_is_built_again_leaves_none_without_a_name(tool: Run, run: Run, images: Path) -> None:
    before = names(run)
    (images / "mine" / "file").write_text("changed")
    assert "built in" in tool("image", "build", "mine", "--definitions", images).check().stdout
    assert names(run) == before


def test_one_that_lost_its_name_while_it_was_used_goes_later(tool: Run, run: Run, images: Path) -> None:
    container = run("podman", "create", "mine", "true").check().stdout.strip()
    tool("image", "build", "mine", "--force", "--definitions", images).check()
    assert "nothing" in names(run)
    run("podman", "rm", container).check()
    tool("cache", "clean").check()
    assert names(run) == set()


@pytest.mark.parametrize(("days", "stays"), [(None, []), (30, ["new"])])
def test_apptainer_empties_its_own(
    on: Cli, cluster: Cluster, lab_after_phase_1: lab.LabState, days: int | None, stays: list[str]
) -> None:
    place = "/root/.apptainer/cache/oci-tmp"
    make = "mkdir -p {0} && head -c 1000000 /dev/urandom | tee {0}/new > {0}/old && touch -d '40 days ago' {0}/old"
    on("hpc-controller", make.format(place)).check()
    transport = open_transport(cluster)
    try:
        found = find_apptainer(transport)
        assert (found.name, found.path, found.missing) == ("apptainer", "/root/.apptainer/cache", "")
        assert size_of(found.entries) >= 2_000_000
        (done,) = clean(choose([found], days, None), days, transport)
    finally:
        transport.close()
    assert done.left == ""
    assert done.freed >= 950_000 * (2 - len(stays)), "it makes directories, too"
    assert on("hpc-controller", f"ls {place} 2>/dev/null").stdout.split() == stays
