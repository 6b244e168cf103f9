"""The history on a real cluster: who changed what, from where, and how it ended, by whichever way it was begun."""

from __future__ import annotations

import getpass
import json
import platform
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pytest_hpcregistry import lab
from pytest_hpcregistry.core import layout

from .conftest import Cli
from .machines import CONTROLLER, LAUNCHER, REGISTRY, Machines, edit_cluster, refused
from .test_drift import sync_lock_held, wait_until

pytestmark = pytest.mark.lab
Sifs = Callable[..., Path]
HISTORY = f"{REGISTRY}/{layout.HISTORY}"
NAME = "ml-frameworks/history.sif"
ME = f"{getpass.getuser()}@{platform.node()}"
NODES = "c[001-003]"
HERE = "10.89."  # Podman's networks: where this machine has its address


def records(tool: Cli, *words: str) -> list[dict[str, Any]]:
    document = json.loads(tool("history", "--json", *words).check().stdout)
    found: list[dict[str, Any]] = document["records"]
    return found


def new(tool: Cli, work: Callable[[], object]) -> list[dict[str, Any]]:
    """What has come into the history by *work*."""
    known = {one["id"] for one in records(tool)}
    work()
    return [one for one in records(tool) if one["id"] not in known]


def test_setup_is_there_once(tool: Cli, cli: Cli, machines: Machines) -> None:
    """By Ansible; the tests before may have set up more, and what changes nothing is not noted."""
    setups = [one for one in records(tool) if one["command"] == "setup"]
    assert setups
    first = setups[0]
    assert (first["state"], first["user"], first["failed"]) == ("ok", "root", "")
    assert first["done"] == f"{NODES},hpc-controller"
    assert first["claimed"].endswith(f"@{platform.node()}")
    assert first["address"]

    cli("registry", "setup").check()  # mends what the tool fixture has made more impatient
    assert new(tool, lambda: cli("registry", "setup").check()) == []
    (mended,) = new(tool, lambda: (machines.tell("c002", f"rm {REGISTRY}/README.md"), cli("registry", "setup").check()))
    assert (mended["command"], mended["state"]) == ("setup", "ok")


def test_each_command_with_who_from_where_and_the_digests(tool: Cli, machines: Machines, sif: Sifs) -> None:
    one, two = sif("history"), sif("history", 100)
    deploy = ("deploy", "to-cluster", "-s")
    published, synced = new(tool, lambda: tool(*deploy, one, f"{REGISTRY}/{NAME}").check())
    first = machines.digest(CONTROLLER, NAME)
    for record in (published, synced):
        assert (record["user"], record["claimed"], record["images"]) == ("root", ME, [NAME])
        assert record["address"]
        assert record["state"] == "ok"
    assert (published["command"], published["before"], published["after"]) == ("deploy", "", first)
    assert (synced["command"], synced["done"], synced["failed"], synced["engine"]) == ("sync", NODES, "", "star")
    assert synced["bytes"] >= 3 * 64 * 1024

    published, _ = new(tool, lambda: tool(*deploy, two, f"{REGISTRY}/{NAME}").check())
    second = machines.digest(CONTROLLER, NAME)
    assert (published["before"], published["after"]) == (first, second)
    (back,) = new(tool, lambda: tool("rollback", NAME).check())
    assert (back["command"], back["before"], back["after"], back["done"]) == ("rollback", second, first, NODES)
    (freed,) = new(tool, lambda: tool("gc", "--keep", "0", "--grace", "0").check())
    assert freed["command"] == "gc"
    assert freed["detail"].startswith("keep 0, grace 0 s: ")
    assert freed["done"] == f"controller,{NODES}"
    assert new(tool, lambda: tool("gc", "--dry-run").check()) == []
    assert new(tool, lambda: tool("status")) == []
    wrong = "rollback", NAME, "--to", "ffffff"
    assert new(tool, lambda: refused(tool(*wrong), 2, "no version begins")) == [], "wrong use is not noted"

    shown = tool("history", "--image", "history.sif", "--last", "2").check().stdout
    assert f"rollback  {NAME}: ok" in shown
    assert f"{second[:12]} -> {first[:12]}" in shown
    assert max(map(len, shown.splitlines())) <= 80


def test_a_node_that_fails_is_named_with_why(tool: Cli, machines: Machines, kept: str) -> None:
    machines.tell("c002", "pkill -o -x sshd; true")
    try:
        (record,) = new(tool, lambda: tool("sync"))
    finally:
        machines.tell("c002", "/usr/sbin/sshd")
    assert (record["state"], record["done"], record["failed"]) == ("failed", "c[001,003]", "c002")
    assert record["reason"].startswith("c002: ")


def test_by_hand_by_sudo_and_by_cron(tool: Cli, machines: Machines, on: Cli, kept: str) -> None:
    (by_hand,) = new(tool, lambda: on(CONTROLLER, LAUNCHER).check())
    assert (by_hand["user"], by_hand["claimed"], by_hand["state"]) == ("root", "", "ok")
    assert by_hand["address"]
    (by_sudo,) = new(tool, lambda: on(f"admin@{CONTROLLER}", f"sudo -n {LAUNCHER}").check())
    assert (by_sudo["user"], by_sudo["address"]) == ("admin", by_hand["address"])
    (by_cron,) = new(
        tool, lambda: machines.tell(CONTROLLER, f"env -i PATH=/usr/bin:/bin HOME=/root /bin/sh -c {LAUNCHER}")
    )
    assert (by_cron["user"], by_cron["address"], by_cron["claimed"]) == ("root", "", "")


def test_a_workstation_that_is_no_root_there(tool: Cli, set_up_lab: lab.LabState, kept: str, tmp_path: Path) -> None:
    other = edit_cluster(set_up_lab.cluster_file, tmp_path / "cluster.yaml", controller={"user": "admin"})
    (record,) = new(tool, lambda: tool("sync", cluster=other).check())
    assert (record["user"], record["claimed"]) == ("admin", ME)
    assert record["address"]


def test_a_killed_sync_shows_as_killed(tool: Cli, machines: Machines, kept: str) -> None:
    with sync_lock_held(machines):
        machines.tell(CONTROLLER, f"setsid {LAUNCHER} > /dev/null 2>&1 < /dev/null & echo $! > /run/waiting")
        wait_until(lambda: records(tool, "--last", "1")[0]["state"] == "running")
        machines.tell(CONTROLLER, "kill -9 $(pgrep -f 'hpcregistry/[c]ontroller .* sync$')")
    (record,) = records(tool, "--last", "1")
    assert (record["command"], record["state"], record["seconds"]) == ("sync", "killed", 0.0)
    with sync_lock_held(machines):
        machines.tell(CONTROLLER, f"setsid {LAUNCHER} > /dev/null 2>&1 < /dev/null & echo $! > /run/waiting")
        wait_until(lambda: records(tool, "--last", "1")[0]["state"] == "running")
        machines.tell(CONTROLLER, "kill -TERM $(pgrep -f 'hpcregistry/[c]ontroller .* sync$')")
        wait_until(lambda: records(tool, "--last", "1")[0]["state"] == "interrupted")


def test_what_became_of_an_images_checks(tool: Cli, machines: Machines, demo_sif: Path) -> None:
    tool("deploy", "single", "-s", demo_sif).check()
    (tested,) = new(tool, lambda: tool("test", "demo.sif", "--on", "c001").check())
    assert (tested["command"], tested["state"], tested["done"]) == ("test", "ok", "c001")
    assert tested["after"] == machines.digest("c001", "ml-frameworks/demo.sif")
    assert tested["checks"]["passed"] >= 1
    (suite,) = new(tool, lambda: tool("test", "--phase", "e2e", "--image", "demo.sif", timeout=300))
    assert (suite["command"], suite["images"], suite["after"]) == ("test", ["ml-frameworks/demo.sif"], tested["after"])


def test_the_file_is_the_controllers_and_damage_is_counted(tool: Cli, machines: Machines, kept: str) -> None:
    found = machines.everywhere(f"ls -l {HISTORY} 2>/dev/null | cut -d' ' -f 1,3,4")
    assert found == {**dict.fromkeys(machines.state.nodes, ""), CONTROLLER: "-rw-r----- root slurm\n"}
    known = len(records(tool, "--since", "2020-01-01"))
    machines.tell(CONTROLLER, f"printf 'half a li' >> {HISTORY}")
    assert len(new(tool, lambda: tool("sync").check())) == 1
    said = tool("history", "--since", "2020-01-01").check()
    assert said.stderr == "! 1 line of the history cannot be read\n"
    assert len(records(tool, "--since", "2020-01-01")) == known + 1
    tool("gc", "--grace", "0").check()
    assert len(records(tool, "--since", "2020-01-01")) == known + 2
    machines.tell(CONTROLLER, f"sed -i /^half/d {HISTORY} && chown root:slurm {HISTORY} && chmod 0640 {HISTORY}")
    said = tool("test", "--phase", "infrastructure", timeout=300)
    assert "test_structure.py" not in said.stdout.partition("FAILED")[2]


def test_a_history_that_cannot_be_written_is_a_warning(tool: Cli, machines: Machines, kept: str) -> None:
    machines.tell(CONTROLLER, f"mv {HISTORY} {HISTORY}.away && mkdir {HISTORY}")
    try:
        said = tool("sync").check().stdout
        assert f"! not in the history: {HISTORY}: Is a directory" in said
        assert "nothing to send" in said
        said = tool("rollback", kept, "--to", machines.digest("c001", kept)[:12]).check().stdout
        assert said.count("! not in the history") == 2
    finally:
        machines.tell(CONTROLLER, f"rmdir {HISTORY} && mv {HISTORY}.away {HISTORY}")
