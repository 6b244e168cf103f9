"""Phase 1 on a cluster that has never seen it, in order: a look, the real run, a run that has nothing to do."""

from __future__ import annotations

import re
import shlex
import sys
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from pytest_hpcregistry import lab
from pytest_hpcregistry.config.load import load_cluster
from pytest_hpcregistry.core.errors import CommandFailed, Unreachable
from pytest_hpcregistry.core.model import Cluster
from pytest_hpcregistry.setup import playbook
from pytest_hpcregistry.setup.transcript import Recap
from pytest_hpcregistry.transports import CommandResult
from pytest_hpcregistry.transports.local import LocalTransport

from .conftest import NAME as LAB

pytestmark = pytest.mark.lab
NAME = f"setup-{LAB}"
REGISTRY = "/opt/containers"
AGENT_KEY = "hpcregistry-sync"
AUTHORIZED = "/root/.ssh/authorized_keys"
KNOWN_HOSTS = "/root/.ssh/known_hosts_registry_sync"
KEY = "/root/.ssh/id_rsa_registry_sync"
LOG = "/var/log/container-registry-sync.log"
PROGRAM = "/usr/local/lib/hpcregistry/controller.pyz"
METADATA = f"{REGISTRY}/.registry"
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


def seen(state: lab.LabState) -> set[str]:
    """What the infrastructure suite finds wrong: the words of its failed tests' names and findings."""
    argv = ["env", f"HPC_CLUSTER={state.cluster_file}", str(Path(sys.executable).parent / "hpc-container-manager")]
    said = LocalTransport().run([*argv, "test", "--phase", "infrastructure"], timeout=300).stdout
    return set(re.split(r"[^A-Za-z_.]+", said.partition("= FAILURES =")[2]))


def snapshot(state: lab.LabState) -> dict[str, str]:
    return {machine: on(machine, SNAPSHOT).stdout for machine in state.machines}


def set_up(cluster: Cluster, state: lab.LabState, *, check: bool = False, extra_vars: Sequence[str] = ()) -> Recap:
    return playbook.set_up(cluster, state.nodes, check=check, extra_vars=extra_vars)


def sync_works() -> bool:
    """Whether the key opens the agent of both nodes; there is no image to sync yet."""
    said = on("hpc-controller", f"python3 {PROGRAM} --json try-key").check().stdout
    return said.count('"works, ') == 2


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
    assert 'hpcregistry n1 {"objects"' in asked.stdout
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
    # An open line in front of ours is the one that sshd takes.
    stolen = f"grep -o 'ssh-ed25519 [^ ]* {AGENT_KEY}' {AUTHORIZED}"
    on("c001", f'key=$({stolen}) && sed -i "1i$key" {AUTHORIZED} && echo "ssh-ed25519 OLD {AGENT_KEY}" >> {AUTHORIZED}'
       f" && echo '# mine' >> {AUTHORIZED} && chmod 0640 {AUTHORIZED}").check()  # fmt: skip
    on("hpc-controller", f"echo '# mine' >> {METADATA}/catalog.yaml").check()
    recap = set_up(cluster, fresh)
    assert (recap.hosts["c001"].changed, recap.hosts["c002"].changed) == (4, 0)
    assert on("c001", f"grep -c {AGENT_KEY} {AUTHORIZED}").stdout == "1\n"
    assert on("c001", f"tail -n 1 {AUTHORIZED}; stat -c %a {AUTHORIZED}").stdout == "# mine\n640\n"
    assert "# mine" in on("hpc-controller", f"cat {METADATA}/catalog.yaml").stdout
    assert sync_works()


def test_owners_and_modes_of_what_root_trusts_are_put_right_on_each_run(fresh: lab.LabState, cluster: Cluster) -> None:
    files = {
        f"{METADATA}/catalog.yaml": "644 root slurm",
        f"{METADATA}/config.yaml": "644 root slurm",
        f"{METADATA}/peers": "644 root root",
        f"{METADATA}/lock": "600 root root",
        KEY: "600 root root",
        KNOWN_HOSTS: "600 root root",
        LOG: "640 root adm",
    }
    listed = 'stat -c "%n %a %U %G" "$@"'
    right = [f"{path} {what}" for path, what in files.items()]
    assert on("hpc-controller", listed, *files).check().stdout.splitlines() == right
    texts = on("hpc-controller", 'cat "$@"', *files).stdout
    on("hpc-controller", 'chown alice:alice "$@" && chmod 0666 "$@"', *files).check()
    on("c002", f"chown alice {METADATA}/catalog.yaml && chmod 0666 {METADATA}/catalog.yaml").check()
    shown: list[str] = []
    playbook.set_up(cluster, fresh.nodes, check=True, diff=True, on_line=shown.append)
    assert sum('"mode": "0666"' in line for line in shown) >= len(files) + 1
    assert "alice" in on("c002", listed, f"{METADATA}/catalog.yaml").stdout
    assert {"catalog.yaml", "config.yaml", "peers", "lock", "test_sync_log", "test_sync_key_is_private"} <= seen(fresh)
    set_up(cluster, fresh)
    assert on("hpc-controller", listed, *files).stdout.splitlines() == right
    assert on("c002", listed, f"{METADATA}/catalog.yaml").stdout.splitlines() == right[:1]
    assert on("hpc-controller", 'cat "$@"', *files).stdout == texts
    assert set_up(cluster, fresh, check=True).changed == 0


@pytest.mark.parametrize(
    ("mode", "reason"),
    [("0775", "the group root may write to /srv/keys, "), ("0777", "everybody may write to /srv/keys, ")],
)
def test_a_parent_that_others_may_write_to_is_refused_before_anything_is_changed(
    fresh: lab.LabState, cluster: Cluster, mode: str, reason: str
) -> None:
    on("hpc-controller", f"mkdir -p /srv/keys && chmod {mode} /srv/keys").check()
    for machine in fresh.machines:
        on(machine, f"rm -f {REGISTRY}/README.md").check()
    before = snapshot(fresh)
    elsewhere = replace(cluster, sync=replace(cluster.sync, key="/srv/keys/sync"))
    with pytest.raises(CommandFailed) as caught:
        set_up(elsewhere, fresh)
    assert re.search(f"hpc-controller: .*: {reason}", str(caught.value))
    assert "c[001-002]: Stop where the controller is not ready: nothing was changed here" in str(caught.value)
    assert snapshot(fresh) == before
    assert on("hpc-controller", "stat -c %a /srv/keys; ls -A /srv/keys").stdout == f"{mode[1:]}\n"


def test_a_key_that_cannot_be_read_stops_all_before_authorized_keys_is_touched(
    fresh: lab.LabState, cluster: Cluster
) -> None:
    keys = {node: on(node, f"cat {AUTHORIZED}").stdout for node in fresh.nodes}
    on("hpc-controller", f"cp -a {KEY} {KEY}.kept && ssh-keygen -q -p -N secret -f {KEY}").check()
    try:
        with pytest.raises(CommandFailed) as caught:
            set_up(cluster, fresh)
    finally:
        on("hpc-controller", f"mv {KEY}.kept {KEY}").check()
    (line,) = str(caught.value).splitlines()
    assert line.startswith("c[001-002],hpc-controller: Stop where the sync key cannot be read: hpc-controller cannot")
    assert "incorrect passphrase" in line
    assert {node: on(node, f"cat {AUTHORIZED}").stdout for node in fresh.nodes} == keys
    assert sync_works()


def test_a_key_that_cannot_be_made_stops_all(fresh: lab.LabState, cluster: Cluster) -> None:
    """As under a policy that forbids its type."""
    keys = {node: on(node, f"cat {AUTHORIZED}").stdout for node in fresh.nodes}
    on("hpc-controller", f"mv {KEY} {KEY}.kept && printf '#!/bin/sh\\necho not allowed >&2; exit 1\\n'"
       " > /usr/local/bin/ssh-keygen && chmod 755 /usr/local/bin/ssh-keygen").check()  # fmt: skip
    try:
        with pytest.raises(CommandFailed) as caught:
            set_up(cluster, fresh, extra_vars=["container_registry_search_path=/usr/local/bin:/usr/bin:/bin:/usr/sbin"])
    finally:
        on("hpc-controller", f"mv {KEY}.kept {KEY} && rm /usr/local/bin/ssh-keygen").check()
    assert "hpc-controller: Make the sync key: " in str(caught.value)
    assert "c[001-002]: Stop where the sync key cannot be read: " in str(caught.value)
    assert {node: on(node, f"cat {AUTHORIZED}").stdout for node in fresh.nodes} == keys


def test_an_address_that_is_not_the_controllers_takes_nothing_away(fresh: lab.LabState, cluster: Cluster) -> None:
    on("hpc-controller", f"echo 'c099 ssh-ed25519 AAAA' >> {KNOWN_HOSTS}; echo 'c099 192.0.2.9' >> {METADATA}/peers")
    elsewhere = replace(cluster, sync=replace(cluster.sync, key_from=("192.0.2.1", "198.51.100.0/24")))
    with pytest.raises(CommandFailed, match=r"c\[001-002\]: Stop where the sync key does not work: works, but not by"):
        set_up(elsewhere, fresh)
    assert on("c001", f"grep -c {AGENT_KEY} {AUTHORIZED}").stdout == "2\n"
    assert sync_works()
    set_up(cluster, fresh)
    assert on("c001", f"grep -c {AGENT_KEY} {AUTHORIZED}").stdout == "1\n"
    assert sync_works()
    for node in fresh.machines:
        peers = on(node, f"cat {METADATA}/peers").stdout.splitlines()
        assert [line.split()[0] for line in peers] == ["c001", "c002", "c099"]
    assert "c099 ssh-ed25519 AAAA" in on("hpc-controller", f"cat {KNOWN_HOSTS}").stdout


def test_a_new_key_that_works_nowhere_does_not_take_the_place_of_the_old_one(
    fresh: lab.LabState, cluster: Cluster
) -> None:
    config = on("hpc-controller", f"cat {METADATA}/config.yaml").check().stdout
    elsewhere = replace(cluster, sync=replace(cluster.sync, key="/root/.ssh/other", key_from=("192.0.2.1",)))
    with pytest.raises(CommandFailed) as caught:
        set_up(elsewhere, fresh)
    assert "c[001-002]: Stop where the sync key does not work: login refused" in str(caught.value)
    assert "hpc-controller: Stop where the sync key works on no node: " in str(caught.value)
    assert on("hpc-controller", f"cat {METADATA}/config.yaml").stdout == config
    assert sync_works()
    set_up(cluster, fresh)
    assert on("c001", f"grep -c {AGENT_KEY} {AUTHORIZED}").stdout == "1\n"


def test_the_line_of_the_key_lets_in_from_the_controllers_addresses_only(fresh: lab.LabState, cluster: Cluster) -> None:
    own = on("hpc-controller", "hostname -I").stdout.split()
    (line,) = on("c001", f"grep {AGENT_KEY} {AUTHORIZED}").stdout.splitlines()
    program = "/usr/bin/python3 -I /usr/local/lib/hpcregistry/agent.pyz serve --registry /opt/containers"
    assert line.startswith(f'restrict,from="{",".join(own)}",command="{program}" ssh-ed25519 ')
    # From the node itself, where the key is not, but a thief might have it.
    on("c001", "ssh-keyscan localhost 2>/dev/null > /root/known").check()
    key = on("hpc-controller", f"cat {KEY}").stdout
    login = "ssh -o BatchMode=yes -o UserKnownHostsFile=/root/known -i /root/stolen localhost session"
    refused = on(
        "c001", f'umask 077; printf %s "$1" > /root/stolen; {login}; s=$?; rm /root/stolen /root/known; exit $s', key
    )
    assert refused.exit_code == 255
    assert "Permission denied" in refused.stderr


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
    """With an inventory as an operator writes it: the seed's group names, an ssh_config, nothing of this package's."""
    inventory = tmp_path / "inventory.ini"
    inventory.write_text(
        "[hpc_controllers]\nhpc-controller\n[hpc_compute_nodes]\nc001\nc002\n"
        f"[all:vars]\nansible_user=root\nansible_ssh_common_args=-F {fresh.directory / 'ssh_config'}\n"
    )
    said: list[str] = []
    argv = [playbook.ansible_playbook(), "-i", str(inventory), str(playbook.PLAYBOOK)]
    result = LocalTransport().run(argv, timeout=300, on_line=said.append)
    assert result.exit_code == 0, "\n".join(said)
    assert any("Running in live VM deployment mode (packer_build=false) ✓" in line for line in said)
