"""Phase 1 on a cluster that has never seen it, in order: a look, the real run, a run that has nothing to do."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from pytest_hpcregistry import lab, provision
from pytest_hpcregistry.config import load_cluster
from pytest_hpcregistry.errors import CommandFailed, Unreachable
from pytest_hpcregistry.model import Cluster
from pytest_hpcregistry.recap import Recap
from pytest_hpcregistry.transports import CommandResult
from pytest_hpcregistry.transports.local import LocalTransport

from .conftest import NAME as LAB

pytestmark = pytest.mark.lab
NAME = f"setup-{LAB}"
REGISTRY = "/opt/containers"
AGENT_KEY = "hpcregistry-sync"
# Everything that phase 1 may touch, with a digest for each file: the same text means that nothing was changed.
SNAPSHOT = (
    "find /opt /usr/local /root /home /etc /var/log/container-registry-sync.log -xdev"
    r" \( -type f -exec sha256sum {} + -o -printf '%p ' \) -printf '%M %u %g\n' 2>/dev/null | sort"
)


@pytest.fixture(scope="module")
def fresh() -> Iterator[lab.LabState]:
    """A lab of this module's own: the session's lab has been set up long ago."""
    lab.down(NAME)
    yield lab.up(NAME, 2, on_step=lambda *_: None)
    lab.down(NAME)


@pytest.fixture(scope="module")
def cluster(fresh: lab.LabState) -> Cluster:
    return load_cluster(fresh.cluster_file, environ={})


def on(machine: str, script: str, *words: str) -> CommandResult:
    """Run a shell script on a machine of the lab, as root, by the lab's own ssh."""
    argv = lab.ssh_argv(NAME, f"root@{machine}")
    remote = ["sh", "-c", script, "sh", *words]
    return LocalTransport().run([*argv, "--", shlex.join(remote)], timeout=60)


def snapshot(state: lab.LabState) -> dict[str, str]:
    return {machine: on(machine, SNAPSHOT).stdout for machine in state.machines}


def set_up(cluster: Cluster, state: lab.LabState, *, check: bool = False) -> Recap:
    return provision.set_up(cluster, state.nodes, check=check)


def test_a_look_at_a_fresh_cluster_tells_all_changes_and_makes_none(fresh: lab.LabState, cluster: Cluster) -> None:
    before = snapshot(fresh)
    recap = set_up(cluster, fresh, check=True)
    assert set(recap.hosts) == set(fresh.machines)
    assert all(host.changed >= 8 for host in recap.hosts.values())
    assert snapshot(fresh) == before
    assert all(text.count("\n") > 50 for text in before.values())


def slurmd_starts() -> list[str]:
    """When each node's slurmd was started, as the controller knows it."""
    shown = on("hpc-controller", "scontrol show nodes").check().stdout
    return [word for word in shown.split() if word.startswith("SlurmdStartTime=")]


def test_the_first_run_makes_what_the_look_told(fresh: lab.LabState, cluster: Cluster) -> None:
    started = slurmd_starts()
    recap = set_up(cluster, fresh)
    assert all(host.changed >= 8 and not host.failed for host in recap.hosts.values())
    assert recap.seconds < 120
    assert len(started) == 2
    assert not set(started) & set(slurmd_starts())
    # Without oci.conf this would run on the host, say nothing, and exit with 0.
    ran = on("hpc-controller", 'srun -N2 --container="$1" true', f"{REGISTRY}/ml-frameworks/missing.sif")
    assert ran.exit_code != 0


def test_a_second_run_has_nothing_to_do(fresh: lab.LabState, cluster: Cluster) -> None:
    before, started = snapshot(fresh), slurmd_starts()
    assert set_up(cluster, fresh).changed == 0
    assert snapshot(fresh) == before
    assert slurmd_starts() == started


@pytest.mark.parametrize("where", ["hpc-controller", "c001", "c002"])
def test_the_tree_is_as_designed(fresh: lab.LabState, where: str) -> None:
    paths = ["", "/.registry", "/.registry/objects/sha256", "/ml-frameworks", "/custom-images", "/base-images"]
    listed = on(where, 'stat -c "%a %U %G %F" "$@"', *(f"{REGISTRY}{path}" for path in paths)).check().stdout
    assert set(listed.splitlines()) == {"755 root slurm directory"}
    assert on(where, 'stat -c "%a %U %F" "$1"', f"{REGISTRY}/.registry/staging").stdout == "700 root directory\n"
    assert on(where, 'cat "$1"', f"{REGISTRY}/.registry/catalog.yaml").stdout == "version: 1\nimages: {}\n"


@pytest.mark.parametrize("where", ["c001", "c002"])
def test_the_sync_key_opens_the_agent_and_nothing_else(where: str) -> None:
    login = (
        "ssh -o BatchMode=yes -o StrictHostKeyChecking=yes -o UserKnownHostsFile=/root/.ssh/known_hosts_registry_sync"
        ' -o IdentitiesOnly=yes -i /root/.ssh/id_rsa_registry_sync "$1" "$2"'
    )
    lines = """'{"nonce": "n1", "seconds": 20}' '{"do": "have", "id": 1}'"""
    asked = on("hpc-controller", f"printf '%s\\n' {lines} | {login}", where, "session").check()
    assert 'hpcregistry n1 {"protocol"' in asked.stdout
    for words in ("id", "cat /etc/shadow", "session; id", "rsync --server -logDtpr . /"):
        refused = on("hpc-controller", login, where, words)
        assert refused.exit_code != 0
        assert "uid=" not in refused.stdout
        assert "root:" not in refused.stdout
    forwarded = on(
        "hpc-controller", login.replace("ssh ", "ssh -T -N -o ExitOnForwardFailure=yes -R 2345:[::1]:22 ", 1), where
    )
    assert forwarded.exit_code != 0


def test_what_has_drifted_is_put_right_and_the_catalog_is_left_alone(fresh: lab.LabState, cluster: Cluster) -> None:
    on("c001", f"chmod 0777 {REGISTRY}/ml-frameworks && rm {REGISTRY}/README.md").check()
    stolen = "grep -o 'ssh-ed25519 [^ ]* hpcregistry-sync' /root/.ssh/authorized_keys"
    on("c001", f'key=$({stolen}) && echo "$key" >> /root/.ssh/authorized_keys && echo "ssh-ed25519 OLD {AGENT_KEY}"'
       " >> /root/.ssh/authorized_keys").check()  # fmt: skip
    on("hpc-controller", f"echo '# mine' >> {REGISTRY}/.registry/catalog.yaml").check()
    assert set_up(cluster, fresh).hosts["c001"].changed == 3
    lines = on("c001", f"grep -c {AGENT_KEY} /root/.ssh/authorized_keys").stdout
    assert lines == "1\n"
    assert "# mine" in on("hpc-controller", f"cat {REGISTRY}/.registry/catalog.yaml").stdout


def test_an_ordinary_user_looks_through_sudo_and_there_is_nothing_to_do(fresh: lab.LabState, cluster: Cluster) -> None:
    admin = replace(cluster, controller=replace(cluster.controller, user="admin"))
    recap = set_up(admin, fresh, check=True)
    assert recap.changed == 0
    assert all(host.ok > 8 for host in recap.hosts.values())


def test_a_user_without_sudo_is_told_so(fresh: lab.LabState, cluster: Cluster) -> None:
    alice = replace(cluster, controller=replace(cluster.controller, user="alice"))
    with pytest.raises((CommandFailed, Unreachable)) as caught:
        set_up(alice, fresh)
    assert "c[001-002]" in str(caught.value)


def test_a_node_with_an_unknown_host_key_is_named_and_the_others_are_finished(
    fresh: lab.LabState, cluster: Cluster, tmp_path: Path
) -> None:
    assert cluster.ssh.known_hosts
    known = [line for line in cluster.ssh.known_hosts.read_text().splitlines() if not line.startswith("c002")]
    (tmp_path / "known_hosts").write_text("\n".join(known) + "\n")
    on("c001", f"rm {REGISTRY}/README.md").check()
    held = on("hpc-controller", "cat /root/.ssh/known_hosts_registry_sync").stdout
    with pytest.raises(Unreachable, match=r"^c002: .*host key is not known"):
        set_up(replace(cluster, ssh=replace(cluster.ssh, known_hosts=tmp_path / "known_hosts")), fresh)
    on("c001", f"test -s {REGISTRY}/README.md").check()
    assert "c002" in held
    assert on("hpc-controller", "cat /root/.ssh/known_hosts_registry_sync").stdout == held


def test_what_a_machine_lacks_is_said_before_anything_is_changed(fresh: lab.LabState, cluster: Cluster) -> None:
    on("c002", "mv /usr/bin/rsync /usr/bin/rsync.away").check()
    try:
        with pytest.raises(CommandFailed, match=r"^c002: Stop where .*: missing: /usr/bin/rsync \(package"):
            set_up(cluster, fresh)
    finally:
        on("c002", "mv /usr/bin/rsync.away /usr/bin/rsync").check()


def test_plain_ansible_playbook_does_the_same(fresh: lab.LabState, cluster: Cluster, tmp_path: Path) -> None:
    """With an inventory as an operator writes it: the seed's group names, an ssh_config, nothing of provision.py."""
    inventory = tmp_path / "inventory.ini"
    inventory.write_text(
        "[hpc_controllers]\nhpc-controller\n[hpc_compute_nodes]\nc001\nc002\n"
        f"[all:vars]\nansible_user=root\nansible_ssh_common_args=-F {fresh.directory / 'ssh_config'}\n"
    )
    said: list[str] = []
    argv = [provision.ansible_playbook(), "-i", str(inventory), str(provision.PLAYBOOK)]
    result = LocalTransport().run(argv, timeout=300, on_line=said.append)
    assert result.exit_code == 0, "\n".join(said)
    assert any("Running in live VM deployment mode (packer_build=false) ✓" in line for line in said)
