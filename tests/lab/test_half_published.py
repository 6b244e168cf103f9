"""A publish that fails or is killed half-way, by the installed program: what is said, and what mends it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from .conftest import Cli
from .machines import CATALOG, CONTROLLER, REGISTRY, Machines, refused

pytestmark = pytest.mark.lab
NAME = "ml-frameworks/half.sif"
PROGRAM = "/usr/local/lib/hpcregistry/controller"
KILLED = f"""import os, runpy, signal, sys
real = os.rename
def rename(source, target, **more):
    if str(target).endswith(".sif"):
        os.kill(os.getpid(), signal.SIGKILL)
    real(source, target, **more)
os.rename = rename
sys.argv[0] = "{PROGRAM}"
runpy.run_path("{PROGRAM}", run_name="__main__")
"""
Sifs = Callable[..., Path]


def test_a_name_that_cannot_be_given_leaves_the_catalog_as_it_was(tool: Cli, machines: Machines, sif: Sifs) -> None:
    tool("deploy", "single", "-s", sif("other")).check()
    before = machines.tell(CONTROLLER, f"cat {CATALOG}")
    directory = f"{REGISTRY}/{NAME.partition('/')[0]}"
    machines.tell(CONTROLLER, f"mount --bind {directory} {directory} && mount -o remount,bind,ro {directory}")
    try:
        refused(tool("deploy", "single", "-s", sif("half")), 4, "means what it meant before, there and in the catalog")
    finally:
        machines.tell(CONTROLLER, f"umount {directory}")
    assert machines.tell(CONTROLLER, f"cat {CATALOG}") == before
    machines.tell(CONTROLLER, f"mkdir -p {REGISTRY}/{NAME}/in-the-way")
    refused(tool("deploy", "single", "-s", sif("half")), 1, f"{NAME} is a directory there: move it away")
    assert machines.tell(CONTROLLER, f"cat {CATALOG}") == before
    machines.tell(CONTROLLER, f"rm -r {REGISTRY}/{NAME}")
    tool("status").check()


def test_a_sync_mends_what_a_killed_rollback_left(tool: Cli, machines: Machines, sif: Sifs, tmp_path: Path) -> None:
    tool("deploy", "single", "-s", sif("half")).check()
    old = machines.digest(CONTROLLER, NAME)
    tool("deploy", "single", "-s", sif("half", directory=tmp_path)).check()
    new = machines.digest(CONTROLLER, NAME)
    program = f"python3 - rollback {NAME} --by me@x <<'END'\n{KILLED}END"
    assert machines.run(CONTROLLER, program).exit_code == 137
    assert machines.digests(NAME) == {new} != {old}
    refused(tool("status"), 1, "older version", "hint: hpc-container-manager sync")
    synced = tool("sync").check()
    assert f"{NAME} on the controller was not the catalog's version {old[:12]}" in synced.stdout + synced.stderr
    assert machines.digests(NAME) == {old}
    tool("verify").check()
    assert machines.run(CONTROLLER, f"ls -A {REGISTRY}/.registry | grep '^[.]catalog'").stdout != ""
    tool("gc", "--grace", "0").check()
    assert machines.run(CONTROLLER, f"ls -A {REGISTRY}/.registry | grep '^[.]catalog'").stdout == ""
