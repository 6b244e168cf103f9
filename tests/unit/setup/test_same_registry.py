"""Of one inventory, plain ansible-playbook and registry setup give the role the same: all its variables."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from pytest_hpcregistry.config.load import load_cluster
from pytest_hpcregistry.core import documents
from pytest_hpcregistry.setup import playbook

ROLE = playbook.PLAYBOOK.parent / "roles" / "container_registry"
GROUPS = "[hpc_controllers]\nhead\n[hpc_compute_nodes]\nB1\na1\n[all:vars]\n"
MUCH = """container_registry_path=/srv/images
container_registry_subdirs=['ml','base']
container_registry_dir_mode=0750
container_registry_group=hpc
container_registry_sync_limit_rate=100M
container_registry_slurm_integration=no
container_registry_authorized_keys=/etc/ssh/root_keys
container_registry_sync_key_from=['10.0.0.1','10.30.0.0/16']
container_registry_search_path=/opt/bin:/bin
container_registry_runtime_binds=['/scratch']
container_registry_sync_log_group=wheel
"""
NAMES = """container_registry_storage_backend=beegfs
container_registry_nodes=slurm
container_registry_directories=['x']
container_registry_subdirs=['y']
"""
TASK = """
- ansible.builtin.copy:
    dest: "{{ folder }}/{{ inventory_hostname }}"
    content: |
      {{ variables | to_json }}
      {{ lookup('ansible.builtin.template', 'config.yaml.j2', template_vars={'container_registry_admitted': []}) }}
"""


@pytest.fixture
def play(tmp_path: Path) -> Path:
    """The playbook's play on the same hosts, whose role has the real defaults and only tells its variables."""
    role = tmp_path / "roles" / "container_registry"
    (role / "tasks").mkdir(parents=True)
    for part in ("defaults", "vars", "templates", "filter_plugins"):
        (role / part).symlink_to(ROLE / part)
    defaults = documents.load((ROLE / "defaults" / "main.yml").read_text(), "defaults")
    # Its paths have no order: Ansible's union makes a set of them.
    told = {name: f"{{{{ {name} }}}}" for name in defaults} | {"items": "{{ container_registry_items | sort }}"}
    (role / "tasks" / "main.yml").write_text(f"{TASK}  vars:\n    variables: {json.dumps(told)}\n")
    target = tmp_path / "play.yml"
    target.write_text(playbook.PLAYBOOK.read_text())
    return target


def run(play: Path, inventory: Path) -> dict[str, str]:
    """What each host's role was given, by the hosts' names."""
    folder = inventory.with_suffix(".told")
    folder.mkdir()
    extra = {"folder": str(folder), "ansible_connection": "local", "ansible_become": False}
    extra["ansible_python_interpreter"] = sys.executable
    argv = [
        "env",
        *playbook.environment(str(play.parent), 5),
        playbook.ansible_playbook(),
        "-i",
        str(inventory),
        str(play),
    ]
    result = subprocess.run([*argv, "-e", json.dumps(extra)], capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stdout + result.stderr
    return {one.name: one.read_text() for one in folder.iterdir()}


@pytest.mark.parametrize("variables", [MUCH, NAMES], ids=["much", "names"])
def test_the_role_is_given_the_same(tmp_path: Path, play: Path, variables: str) -> None:
    theirs, ours = tmp_path / "theirs.ini", tmp_path / "ours.json"
    theirs.write_text(GROUPS + variables)
    cluster = load_cluster(theirs, environ={})
    ours.write_text(json.dumps(playbook.inventory(cluster, cluster.nodes or [])))
    expected = run(play, theirs)
    assert set(expected) == {"head", "a1", "B1"}
    assert "version: 2" in expected["head"]
    assert run(play, ours) == expected
