"""Phase 1 taken back, by the real playbook on this machine, with every path below a directory of the test."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from pytest_hpcregistry.core.model import Cluster, Controller
from pytest_hpcregistry.setup import playbook, transcript
from pytest_hpcregistry.setup.transcript import Transcript
from pytest_hpcregistry.transports.local import LocalTransport
from tests.unit.setup.test_playbook import Actor, ended

LINE = (
    'restrict,from="10.0.0.1",command="/usr/bin/python3 -I {lib}/agent.pyz serve --registry {registry}" '
    "ssh-ed25519 AAAA hpcregistry-sync"
)
OTHERS = [
    "ssh-ed25519 BBBB admin@x",
    'command="/usr/bin/python3 -I /opt/agent.pyz serve" ssh-rsa CCCC hpcregistry-sync',
]


class Machine:
    """What phase 1 makes, in one directory: this machine is the controller and the nodes."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.paths = {
            "container_registry_path": "containers",
            "container_registry_library_dir": "lib/hpcregistry",
            "container_registry_sync_command": "bin/registry-sync-to-nodes.sh",
            "container_registry_sync_known_hosts": "ssh/known_hosts_registry_sync",
            "container_registry_sync_key": "ssh/id_registry",
            "container_registry_sync_log": "log/sync.log",
            "container_registry_authorized_keys": "ssh/authorized_keys",
            "container_registry_logrotate_dir": "logrotate.d",
            "container_registry_slurm_conf_dir": "slurm",
        }
        lib, registry = root / "lib/hpcregistry", root / "containers"
        self.ours = {
            "lib/hpcregistry/agent.pyz": "agent",
            "lib/hpcregistry/container-run": "#!/bin/sh",
            "bin/registry-sync-to-nodes.sh": f"exec python3 {lib}/controller sync",
            "ssh/known_hosts_registry_sync": "n1 ssh-ed25519 DDDD",
            "ssh/id_registry": "secret",
            "ssh/id_registry.pub": "ssh-ed25519 AAAA hpcregistry-sync",
            "logrotate.d/container-registry": f"{root}/log/sync.log {{",
            "slurm/oci.conf": f'RunTimeRun="exec {lib}/container-run"',
            "containers/.registry/peers": "n1 10.0.0.2",
            "containers/.registry/config.yaml": "version: 1",
        }
        self.kept = {
            "containers/ml-frameworks/x.sif": "image",
            "containers/.registry/objects/sha256/x": "image",
            "containers/.registry/history.jsonl": "{}",
            "log/sync.log": "log",
            "log/sync.log.1": "log",
            "slurm/slurm.conf": "theirs",
            "lib/other": "theirs",
        }
        self.write(self.ours)
        self.write(self.kept)
        line = LINE.format(lib=lib, registry=registry)
        self.write({"ssh/authorized_keys": "\n".join([OTHERS[0], line, OTHERS[1], ""])})
        self.write({"bin/scontrol": f"#!/bin/sh\necho $* >> {root}/scontrol.log\n"})
        (root / "bin/scontrol").chmod(0o755)

    def write(self, files: dict[str, str]) -> None:
        for name, text in files.items():
            (self.root / name).parent.mkdir(parents=True, exist_ok=True)
            (self.root / name).write_text(text)

    def there(self, names: dict[str, str]) -> list[str]:
        return sorted(name for name in names if (self.root / name).exists())

    def remove(self, *words: str, tree: bool = False, method: str = "auto") -> Transcript:
        variables = {name: str(self.root / path) for name, path in self.paths.items()}
        variables["container_registry_search_path"] = f"{self.root}/bin:{os.environ['PATH']}"
        hosts = {"ansible_connection": "local", "ansible_python_interpreter": sys.executable}
        groups: dict[str, Any] = {"controller": {"hosts": {"ctl": {}}}, "compute": {"hosts": {"n1": {}}}}
        inventory = self.root / "inventory.json"
        inventory.write_text(json.dumps({"all": {"vars": hosts, "children": groups}}))
        variables["container_registry_sync_method"] = method
        extra = json.dumps({**variables, "container_registry_remove_tree": tree})
        (self.root / playbook.EVENTS).unlink(missing_ok=True)
        argv = ["env", *playbook.environment(str(self.root), 5), playbook.ansible_playbook(), "-i", str(inventory)]
        lines: list[str] = []
        argv += [str(playbook.REMOVING), "-e", extra, *words]
        result = LocalTransport().run(argv, timeout=120, on_line=lines.append)
        assert result.exit_code == 0, "\n".join(lines) + result.stderr
        return transcript.read(self.root / playbook.EVENTS)


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


def changed(said: Transcript) -> int:
    return sum(host.changed for host in said.hosts.values())


def test_what_setup_made_goes_and_nothing_else(machine: Machine) -> None:
    assert changed(machine.remove("--check", "--diff")) > 0
    assert machine.there(machine.ours) == sorted(machine.ours), "a check removes nothing"
    assert changed(machine.remove()) > 0
    assert machine.there(machine.ours) == []
    assert machine.there(machine.kept) == sorted(machine.kept)
    assert (machine.root / "ssh/authorized_keys").read_text().splitlines() == OTHERS
    assert (machine.root / "scontrol.log").read_text() == "reconfigure\n"
    assert changed(machine.remove()) == 0, "a second run changes nothing"


def test_a_node_takes_nothing_from_a_registry_that_it_shares(machine: Machine) -> None:
    script = playbook.PLAYBOOK.parent / "roles/container_registry/files/ours.sh"
    library = str(machine.root / "lib/hpcregistry")
    words = [library, "", "/none", "yes", "", "/none", "/none", "/none", "c", "/none", "/none", "/none", "root"]
    done = subprocess.run(["/bin/sh", str(script), *words], capture_output=True, text=True, check=True)
    assert (done.stdout, done.stderr) == (f"last {library}\n", "")
    machine.remove(tree=True, method="shared")
    assert not (machine.root / "containers").exists(), "the controller's"


def test_the_tree_goes_where_that_is_asked_for(machine: Machine) -> None:
    machine.remove(tree=True)
    assert machine.there(machine.ours) == []
    assert machine.there(machine.kept) == ["lib/other", "slurm/slurm.conf"]
    assert not (machine.root / "containers").exists()


def test_files_of_others_under_these_names_stay(machine: Machine) -> None:
    theirs = {
        "slurm/oci.conf": "RunTimeRun=podman",
        "bin/registry-sync-to-nodes.sh": "#!/bin/sh\nours",
        "logrotate.d/container-registry": "/var/log/other {",
        "ssh/id_registry": "their key",
        "ssh/id_registry.pub": "ssh-ed25519 AAAA admin@x",
    }
    machine.write(theirs)
    machine.remove()
    assert machine.there(theirs) == sorted(theirs)


def test_a_directory_without_objects_is_no_registry(machine: Machine) -> None:
    script = playbook.PLAYBOOK.parent / "roles/container_registry/files/ours.sh"
    registry = machine.root / "elsewhere"
    (registry / "files").mkdir(parents=True)
    words = [
        "/none",
        str(registry),
        "/none",
        "yes",
        "",
        "/none",
        "/none",
        "/none",
        "c",
        "/none",
        "/none",
        "/none",
        "root",
    ]
    done = subprocess.run(["/bin/sh", str(script), *words], capture_output=True, text=True, check=True)
    assert (done.stdout, done.stderr) == ("", "")


def test_the_line_of_who_logs_in_and_what_sudo_was_told_go_as_well(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By the script: this machine has no user whose home is the test's."""
    script = playbook.PLAYBOOK.parent / "roles/container_registry/files/ours.sh"
    machine.write(
        {
            "bin/getent": f'#!/bin/sh\n[ "$*" = "passwd ops" ] && echo ops:x:7:7::{machine.root}/home:/bin/sh\n',
            "home/.ssh/authorized_keys": "x",
            "sudoers": f"Cmnd_Alias X = python3 -I {machine.root}/lib/hpcregistry/agent.pyz serve\n",
        }
    )
    (machine.root / "bin/getent").chmod(0o755)
    monkeypatch.setenv("PATH", f"{machine.root}/bin:{os.environ['PATH']}")
    words = [str(machine.root / "lib/hpcregistry"), "/none", "/none", "", "", *["/none"] * 6]
    for sudoers, expected in (("sudoers", [f"file {machine.root}/sudoers"]), ("home/.ssh/authorized_keys", [])):
        argv = ["/bin/sh", str(script), *words, str(machine.root / sudoers), "ops"]
        said = subprocess.run(argv, capture_output=True, text=True, check=True).stdout.splitlines()
        assert said[:-1] == [*expected, f"keys {machine.root}/home/.ssh/authorized_keys"]


def test_taking_back_runs_the_other_playbook_with_the_same_settings() -> None:
    cluster = Cluster(controller=Controller(name="ctl", host="10.0.0.9"), nodes=("c001",))
    here = Actor([ended("c001", 1, 0, 0, 0)])
    playbook.take_back(cluster, ["c001"], tree=True, check=True, transport=here)
    argv = next(argv for argv in here.asked if str(playbook.REMOVING) in argv)
    assert '{"container_registry_remove_tree": true}' in argv
    assert "--check" in argv
