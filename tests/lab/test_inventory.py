"""An Ansible inventory and nothing else: registry setup makes the registry that plain ansible-playbook makes of it."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from pytest_hpcregistry import lab
from pytest_hpcregistry.setup import playbook
from pytest_hpcregistry.transports import CommandResult
from pytest_hpcregistry.transports.local import LocalTransport

from .conftest import NAME as LAB
from .machines import Machines

pytestmark = pytest.mark.lab
NAME = f"inventory-{LAB}"
PATH = "/srv/images"
DEFAULT = "/opt/containers"
# Files with their digests, and all with mode, owner and time. The history grows with each run that changes something.
TREE = (
    "for place in /srv /opt/containers /usr/local /root/.ssh /etc/slurm /etc/logrotate.d /var/log/registry.log; do"
    " find $place -xdev ! -name 'history.*' ! -name '*lock' -type f -printf '%p %m %u %g %T@\\n' -exec sha256sum {} ';'"
    " -o -printf '%p %M %u %g\\n'; done 2>/dev/null | sort"
)


@pytest.fixture(scope="module")
def fresh() -> Iterator[lab.LabState]:
    """A lab that phase 1 has never seen."""
    lab.down(NAME)
    yield lab.up(NAME, 2, on_step=lambda *_: None)
    lab.down(NAME)


@pytest.fixture(scope="module")
def inventory(fresh: lab.LabState, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory as an operator has it: the seed's groups, ranges, group_vars; ssh's words for all."""
    folder = tmp_path_factory.mktemp("site") / "inventory"
    (folder / "group_vars" / "all").mkdir(parents=True)
    (folder / "hosts").write_text(
        "[hpc_controllers]\nhpc-controller\n[hpc_compute_nodes:children]\ncpu\n[cpu]\nc[001:002]\n"
        f"[all:vars]\nansible_user=root\nansible_ssh_common_args='-F {fresh.directory / 'ssh_config'}'\n"
    )
    (folder / "group_vars" / "all" / "registry.yml").write_text(
        f"container_registry_path: {PATH}\n"
        "container_registry_subdirs: [ml, base]\n"
        "container_registry_group: adm\n"
        'container_registry_dir_mode: "0755"\n'
        'container_registry_keep: "4"\n'
        "container_registry_sync_limit_rate: 100M\n"
        "container_registry_sync_log: /var/log/registry.log\n"
        "container_registry_sync_log_group: root\n"
        "container_registry_slurm_integration: false\n"
    )
    return folder


def ours(inventory: Path, *words: str) -> CommandResult:
    """The command line with this inventory in place of a cluster file."""
    program = str(Path(sys.executable).parent / "hpc-container-manager")
    return LocalTransport().run([program, *words, "--cluster", str(inventory)], timeout=600)


def set_up(inventory: Path) -> int:
    """registry setup; how much it has changed."""
    result = ours(inventory, "registry", "setup", "--json")
    assert result.exit_code == 0, result.stderr
    said: Mapping[str, int] = json.loads(result.stdout)
    return said["changed"]


def plain(inventory: Path, *words: str) -> int:
    """ansible-playbook as an operator runs it; how much it has changed."""
    argv = [playbook.ansible_playbook(), "-i", str(inventory), str(playbook.PLAYBOOK), *words]
    lines: list[str] = []
    result = LocalTransport().run(argv, timeout=600, on_line=lines.append)
    assert result.exit_code == 0, "\n".join(lines)
    recap = [line for line in lines if "unreachable=" in line]
    assert len(recap) == 3
    return sum(int(count) for count in re.findall(r"changed=(\d+)", "\n".join(recap)))


def test_what_cannot_be_followed_is_refused_before_anything_is_changed(fresh: lab.LabState, inventory: Path) -> None:
    machines = Machines(fresh)
    before = machines.everywhere(TREE)
    own = inventory / "host_vars" / "c002.yml"
    own.parent.mkdir()
    own.write_text(f"container_registry_path: {PATH}-2\nansible_port: 2222\n")
    result = ours(inventory, "registry", "setup")
    own.unlink()
    assert result.exit_code == 2
    assert f"container_registry_path: differs: '{PATH}' on c001,hpc-controller" in result.stderr
    assert "host c002: ansible_port is not read" in result.stderr
    assert machines.everywhere(TREE) == before


def test_registry_setup_makes_it_where_the_inventory_says(fresh: lab.LabState, inventory: Path) -> None:
    assert set_up(inventory) > 20
    machines = Machines(fresh)
    listed = machines.everywhere(f"stat -c '%a %U %G' {PATH}/ml {PATH}/base; ls -d {DEFAULT} 2>&1 | tail -n 1")
    for said in listed.values():
        assert said.splitlines()[:2] == ["755 root adm"] * 2
        assert "No such file" in said
    assert f"--registry {PATH}" in machines.tell("c001", "cat /root/.ssh/authorized_keys")
    assert PATH in machines.tell("hpc-controller", "cat /usr/local/bin/registry-sync-to-nodes.sh")
    assert machines.tell("hpc-controller", "stat -c %G /var/log/registry.log") == "root\n"


def test_plain_ansible_playbook_finds_nothing_to_change(fresh: lab.LabState, inventory: Path) -> None:
    machines = Machines(fresh)
    before = machines.everywhere(TREE)
    assert PATH in before["c001"]
    assert plain(inventory) == 0
    assert machines.everywhere(TREE) == before


def test_and_the_other_way_round(fresh: lab.LabState, inventory: Path) -> None:
    """What plain ansible-playbook makes of another path, registry setup leaves as it is."""
    machines = Machines(fresh)
    variables = inventory / "group_vars" / "all" / "registry.yml"
    variables.write_text(variables.read_text().replace(PATH, f"{PATH}-2").replace("100M", "200M"))
    assert plain(inventory) > 10
    before = machines.everywhere(TREE)
    assert f"{PATH}-2" in before["c001"]
    assert set_up(inventory) == 0
    assert machines.everywhere(TREE) == before


def test_the_suite_and_status_look_where_the_inventory_says(fresh: lab.LabState, inventory: Path) -> None:
    result = ours(inventory, "test", "--phase", "infrastructure")
    assert result.exit_code == 0, result.stdout + result.stderr
    result = ours(inventory, "status")
    assert result.exit_code == 2
    assert "2 of 2 nodes answered" in result.stdout
    assert "there is no image in the catalog" in result.stderr
