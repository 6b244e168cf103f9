"""A registry on a file system that the controller and some nodes share, and a node that has a directory of its own."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from pytest_hpcregistry.lab import links

from .conftest import Cli
from .machines import CONTROLLER, REGISTRY, Machines, refused
from .mounts import share

pytestmark = pytest.mark.lab
SHARING, ALONE = ("c001", "c002"), "c003"
NAME = "ml-frameworks/seen.sif"
Sifs = Callable[..., Path]


@pytest.fixture(scope="module", autouse=True)
def shared(machines: Machines) -> Iterator[None]:
    processes = {name: link.process for name, link in links.find(machines.state).items()}
    for node in SHARING:
        share(processes[CONTROLLER], processes[node], REGISTRY)
    yield
    for node in SHARING:
        machines.run(node, f"umount {REGISTRY}")


def test_nothing_moves_to_nodes_that_see_the_controllers_registry(tool: Cli, machines: Machines, sif: Sifs) -> None:
    said = tool("deploy", "single", "-s", "-v", sif("seen")).check().stdout
    assert "nothing is sent to c[001-002]: they see the controller's own registry" in said
    assert re.search("sending [0-9]+ kB to c003 by star", said)
    assert re.search("✓ c003: synced, [0-9]+ kB in ", said)
    assert len(machines.digests(NAME)) == 1
    inodes = {node: machines.tell(node, f"stat -c %i {REGISTRY}/{NAME}") for node in (*SHARING, ALONE)}
    here = machines.tell(CONTROLLER, f"stat -c %i {REGISTRY}/{NAME}")
    assert [inodes[node] == here for node in (*SHARING, ALONE)] == [True, True, False]
    tool("status").check()


def test_going_back_is_seen_too(tool: Cli, machines: Machines, sif: Sifs, tmp_path: Path) -> None:
    (first,) = machines.digests(NAME)
    tool("deploy", "single", "-s", sif("seen", 64, tmp_path)).check()
    assert machines.digests(NAME) != {first}
    tool("rollback", "seen.sif").check()
    assert machines.digests(NAME) == {first}
    tool("gc", "--keep", "0", "--grace", "0").check()
    tool("verify").check()


def test_a_node_with_a_directory_of_its_own_is_named(tool: Cli, machines: Machines) -> None:
    own = f"{ALONE}: has a {REGISTRY} of its own, not the controller's on a shared file system"
    refused(tool("sync", "--engine", "shared"), 4, own, "hint: ", "c001: nothing to send", "c002: nothing to send")
    machines.tell("c002", f"umount {REGISTRY}")  # it was not mounted again after a reboot
    refused(tool("sync", "--engine", "shared"), 4, "c[002-003]: has a ", "c001: nothing to send")
