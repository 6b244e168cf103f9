"""Nodes where root may not log in: a user with sudo does, on a lab of the site `sudo`."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from pytest_hpcregistry import lab
from pytest_hpcregistry.lab.podman import execute
from pytest_hpcregistry.transports import CommandResult
from tests.sites.walk import command_line, probes

from .conftest import KEEP
from .machines import refused

pytestmark = pytest.mark.lab
NAME = f"{os.environ.get('HPCREG_TEST_LAB', 'tests')}-sudo"
SUDOERS = "/etc/sudoers.d/zz-hpcregistry"
KEYS = "/home/ops/.ssh/authorized_keys"
SYNC_KEY = (
    "ssh -o BatchMode=yes -o IdentitiesOnly=yes -o IdentityAgent=none -o ControlPath=none"
    " -i /root/.ssh/id_rsa_registry_sync -o UserKnownHostsFile=/root/.ssh/known_hosts_registry_sync"
)
Tool = Callable[..., CommandResult]


@pytest.fixture(scope="module")
def here() -> Iterator[lab.LabState]:
    if not KEEP:
        lab.down(NAME)
    yield lab.up(NAME, 2, on_step=lambda *_: None, site_name="sudo")
    if not KEEP:
        lab.down(NAME)


@pytest.fixture
def tool(here: lab.LabState, tmp_path: Path) -> Tool:
    return command_line(here.cluster_file, tmp_path)


@pytest.fixture(scope="module")
def run(here: lab.LabState) -> Tool:
    """A script as root on a machine of the lab."""
    return lambda machine, script: execute(here.container(machine), ["sh", "-c", script])


def test_images_come_by_each_engine(run: Tool, tool: Tool, tmp_path: Path) -> None:
    assert "Permission denied" in run("front", "ssh -o BatchMode=yes root@n1 true").stderr
    tool("registry", "setup").check()
    for engine in ("star", "relay", "star"):  # the last is a difference to the one before
        tool("deploy", "single", "--sync-nodes", "--engine", engine, str(probes(tmp_path)[0])).check()
    tool("status").check()
    tool("verify").check()
    tool("sync", "--repair").check()
    for node in ("n1", "n2"):
        assert run(node, "cat /root/.ssh/authorized_keys").stdout.count("hpcregistry-sync") == 0
        assert run(node, f"stat -c '%a %U' {SUDOERS}").stdout == "440 root\n"


@pytest.mark.parametrize("asked", ["id", "", "sudo -n id", "session; id", "rsync --server -logDtpre.iLsfxCIvu . /etc"])
def test_the_key_opens_nothing_but_the_agent(run: Tool, asked: str) -> None:
    result = run("front", f"{SYNC_KEY} ops@n1 '{asked}' </dev/null")
    assert result.exit_code == 1
    assert "this key can only sync the registry" in result.stderr
    assert "uid=" not in result.stdout


def test_what_sudo_lacks_is_named(run: Tool, tool: Tool, tmp_path: Path) -> None:
    """ops may run everything by sudo, but without the file the request is lost on the way."""
    run("n1", f"mv {SUDOERS} /root/kept").check()
    try:
        refused(tool("sync"), 4, "n1: ", SUDOERS)
    finally:
        run("n1", f"mv /root/kept {SUDOERS}").check()
    tool("sync").check()


def test_it_is_taken_back(run: Tool, tool: Tool) -> None:
    assert "hpcregistry-sync" in run("n1", f"cat {KEYS}").stdout
    tool("registry", "remove").check()
    lines = run("n1", f"cat {KEYS}").stdout.splitlines()
    assert len(lines) == 2, "the lab's own"
    assert "hpcregistry" not in "".join(lines)
    for node in ("n1", "n2"):
        assert run(node, f"test -e {SUDOERS}").exit_code == 1
    assert "changed: [" not in tool("registry", "remove").check().stdout
