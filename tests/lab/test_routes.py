"""Nodes that no name and no port 22 lead to, as `nodes` of the cluster file says it, on a lab of the site `ports`."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from pytest_hpcregistry import lab
from pytest_hpcregistry.core import documents
from pytest_hpcregistry.lab.podman import execute, podman
from pytest_hpcregistry.transports import CommandResult
from tests.sites.walk import command_line, probes

from .conftest import KEEP

pytestmark = pytest.mark.lab
NAME = f"{os.environ.get('HPCREG_TEST_LAB', 'tests')}-routes"
CONFIG = "/etc/ssh/ssh_config.d/site.conf"


@pytest.fixture(scope="module")
def here() -> Iterator[lab.LabState]:
    """Two nodes whose sshd listens on port 2200, of which the controller's ssh_config says nothing."""
    if not KEEP:
        lab.down(NAME)
    state = lab.up(NAME, 2, on_step=lambda *_: None, site_name="ports")
    execute(state.container(state.controller), ["rm", "-f", CONFIG]).check()
    yield state
    if not KEEP:
        lab.down(NAME)


@pytest.fixture
def tool(here: lab.LabState, tmp_path: Path) -> Callable[..., CommandResult]:
    return command_line(tmp_path / "cluster.yaml", tmp_path)


def say(here: lab.LabState, folder: Path, nodes: object, **sync: str) -> None:
    """The cluster file with these `nodes`."""
    data = documents.read(here.cluster_file).data
    data["nodes"] = nodes
    data["sync"] = sync
    (folder / "cluster.yaml").write_text(documents.dump(data))


def address(here: lab.LabState, machine: str) -> str:
    shown = podman(
        "inspect", "--format", "{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}", here.container(machine)
    )
    return shown.check().stdout.strip()


def logins(here: lab.LabState, machine: str) -> str:
    return execute(here.container(machine), ["cat", "/var/log/sshd.log"]).stdout


def test_without_a_word_of_the_port_nothing_is_changed(
    here: lab.LabState, tool: Callable[..., CommandResult], tmp_path: Path
) -> None:
    say(here, tmp_path, "slurm")
    result = tool("registry", "setup")
    assert result.exit_code == 4, "the controller stops where no node is ready"
    assert "n[1-2]: " in result.stderr
    assert execute(here.container("n1"), ["test", "-e", "/srv/hpc/images"]).exit_code == 1


def test_one_entry_says_the_port_of_all_nodes(
    here: lab.LabState, tool: Callable[..., CommandResult], tmp_path: Path
) -> None:
    say(here, tmp_path, {"slurm": {"port": "2200"}})
    tool("registry", "setup").check()
    for engine in ("star", "relay", "star"):  # the last is a difference to the one before
        sif = probes(tmp_path)[0]
        tool("deploy", "single", "--sync-nodes", "--engine", engine, str(sif)).check()
    tool("status").check()
    tool("verify").check()
    tool("sync", "--repair").check()
    known = execute(here.container(here.controller), ["cat", "/root/.ssh/known_hosts_registry_sync"]).check().stdout
    assert "n1,[n1]:2200 ssh-ed25519 " in known


def test_a_node_behind_another_and_by_its_address(
    here: lab.LabState, tool: Callable[..., CommandResult], tmp_path: Path
) -> None:
    """n2 by way of n1, which is all that its sshd lets in, under a name that nobody resolves."""
    front, behind = address(here, "n1"), address(here, "n2")
    lines = f"Port 2200\nAllowUsers root@{front} ops@{front}\n"
    container = here.container("n2")
    execute(container, ["sh", "-c", f"printf %s '{lines}' > /etc/ssh/sshd_config.d/00-site.conf"]).check()
    execute(container, ["sh", "-c", "kill -HUP $(cat /run/sshd.pid)"]).check()
    route = {"port": "2200", "address": behind, "jump": f"root@{front}:2200"}
    for machine, place in (("n1", front), ("n2", behind)):
        key = execute(here.container(machine), ["cat", "/etc/ssh/ssh_host_ed25519_key.pub"]).check().stdout
        line = f"[{place}]:2200 {' '.join(key.split()[:2])}"
        execute(here.container(here.controller), ["sh", "-c", f"echo '{line}' >> /etc/ssh/ssh_known_hosts"]).check()
        with (here.directory / "known_hosts").open("a") as file:
            file.write(f"{line}\n")
    say(here, tmp_path, {"n1": {"port": "2200"}, "n2": route}, method="star", key_from="any")
    before = len(logins(here, "n2"))
    tool("registry", "setup").check()
    tool("deploy", "single", "--sync-nodes", str(probes(tmp_path)[0])).check()
    tool("verify").check()
    accepted = [line for line in logins(here, "n2")[before:].splitlines() if "Accepted" in line]
    assert accepted and all(f"from {front} " in line for line in accepted)


def test_the_keys_of_hosts_stay_the_users_affair(
    here: lab.LabState, tool: Callable[..., CommandResult], tmp_path: Path
) -> None:
    """A known_hosts without the nodes, as by --controller alone: nothing is taken on trust."""
    say(here, tmp_path, {"slurm": {"port": "2200"}})
    data = documents.read(tmp_path / "cluster.yaml").data
    (tmp_path / "known").write_text(
        "".join(one for one in (here.directory / "known_hosts").read_text().splitlines(True) if ":2200" not in one)
    )
    data["ssh"]["known_hosts"] = str(tmp_path / "known")
    (tmp_path / "cluster.yaml").write_text(documents.dump(data))
    result = tool("registry", "setup")
    assert result.exit_code == 3
    assert "host key is not known" in result.stderr
