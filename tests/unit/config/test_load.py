"""A cluster from its file, the environment and the command line; every mistake with its place."""

from __future__ import annotations

import re
import subprocess
import sys
from dataclasses import MISSING, fields
from datetime import date
from pathlib import Path

import pytest

from pytest_hpcregistry.config.load import load_cluster
from pytest_hpcregistry.core import documents
from pytest_hpcregistry.core.errors import ConfigError, UsageError
from pytest_hpcregistry.core.fields import suggest
from pytest_hpcregistry.core.image_keys import read_file
from pytest_hpcregistry.core.kinds import settings_of
from pytest_hpcregistry.core.model import SECTIONS, Cluster, Controller, Registry, Runtime, Sync
from pytest_hpcregistry.core.reader import Reader
from pytest_hpcregistry.core.routes import Jump, Route, configured_route
from pytest_hpcregistry.core.scan import Scan, Waiver
from tests import ROOT
from tests.fakes.image_keys import ED25519, ERIN
from tests.unit.config.examples import (
    BAD_NODES,
    BAD_ROUTES,
    BAD_VALUES,
    EVERY_VALUE,
    GOOD_NODES,
    GOOD_VALUES,
    KEY_FROM,
    MINIMAL,
    file_with,
)

FIXTURES = ROOT / "fixtures"
INVENTORIES = FIXTURES / "inventories"


def write(folder: Path, text: str, name: str = "cluster.yaml") -> Path:
    path = folder / name
    path.write_text(text)
    return path


def load(folder: Path, text: str, name: str = "cluster.yaml") -> Cluster:
    return load_cluster(write(folder, text, name), environ={})


def mistakes(folder: Path, text: str, name: str = "cluster.yaml") -> list[str]:
    """The mistakes, without the folder's name."""
    with pytest.raises(ConfigError) as caught:
        load(folder, text, name)
    return [mistake.replace(f"{folder}/", "") for mistake in caught.value.mistakes]


def test_the_least_file_takes_all_defaults(tmp_path: Path) -> None:
    assert load(tmp_path, MINIMAL) == Cluster(controller=Controller(name="ctl", host="ctl"))


def test_every_value_of_a_file_is_taken(tmp_path: Path) -> None:
    (tmp_path / "id").touch()
    (tmp_path / "known").touch()
    cluster = load(
        tmp_path,
        EVERY_VALUE,
    )
    assert cluster.controller == Controller(
        name="head", host="10.0.0.1", port=2222, user="ops", key=tmp_path / "id", jump=Jump("gate", "me", 23)
    )
    assert cluster.nodes == ("c1", "c2", "gpu01")
    assert cluster.registry == Registry(
        path="/srv/c",
        owner="alice",
        group="hpc",
        directory_mode=0o2775,
        file_mode=0o644,
        directories=("a", "b"),
        keep=3,
    )
    assert cluster.sync == Sync(
        method="star", window=8, timeout=60, connect_timeout=3, key="/root/k", log="/var/log/x.log"
    )
    assert (cluster.slurm.container, cluster.slurm.conf_dir) == (False, "/opt/slurm/etc")
    assert (cluster.slurm.run_as, cluster.slurm.partition) == ("bob", "gpu")
    assert cluster.runtime == Runtime("nv", ("/scratch", "/data/sets:/data:ro"), ("A=b c",), ("--no-home",))
    assert cluster.scan == Scan(
        ("s", "-v", "-v", "{sbom}"), (0, 1), "low", 9, (Waiver("CVE-1", date(2026, 12, 31), "not used"),)
    )
    assert (cluster.ssh.transport, cluster.ssh.known_hosts) == ("paramiko", tmp_path / "known")


@pytest.mark.parametrize(
    ("text", "expected"),
    KEY_FROM,
)
def test_where_the_sync_key_may_log_in_from(tmp_path: Path, text: str, expected: tuple[str, ...]) -> None:
    assert load(tmp_path, f"{MINIMAL}sync: {{key_from: {text}}}\n").sync.key_from == expected


@pytest.mark.parametrize(
    ("nodes", "expected"),
    GOOD_NODES,
)
def test_nodes_are_slurms_or_a_set_or_a_list(tmp_path: Path, nodes: str, expected: tuple[str, ...] | None) -> None:
    assert load(tmp_path, f"{MINIMAL}nodes: {nodes}\n").nodes == expected


@pytest.mark.parametrize(
    ("nodes", "words"),
    BAD_NODES,
)
def test_a_bad_node_list_is_refused(tmp_path: Path, nodes: str, words: str) -> None:
    (mistake,) = mistakes(tmp_path, f"{MINIMAL}nodes: {nodes}\n")
    assert mistake.startswith("cluster.yaml:2: nodes: ")
    assert words in mistake


@pytest.mark.parametrize(("nodes", "words"), BAD_ROUTES)
def test_a_bad_route_is_refused(tmp_path: Path, nodes: str, words: str) -> None:
    (mistake,) = mistakes(tmp_path, f"{MINIMAL}nodes: {nodes}\n")
    assert mistake.startswith("cluster.yaml:2: nodes.")
    assert words in mistake


def test_how_nodes_are_reached_is_one_entry_for_each_node_set(tmp_path: Path) -> None:
    text = f"""{MINIMAL}nodes:
  c[001-064]: {{port: 2222}}
  "g[1-3]":
    address: 10.0.0.[11-12],fd00::3
    jump: me@gate:2022
    user: ops
  fat: {{address: fd00::9, port: ""}}
  plain:
"""
    cluster = load(tmp_path, text)
    assert cluster.nodes is not None and len(cluster.nodes) == 64 + 3 + 2
    gate = Jump("gate", "me", 2022)
    for node, route in {
        "c001": Route(port=2222),
        "c064": Route(port=2222),
        "g1": Route("10.0.0.11", jump=gate, user="ops"),
        "g3": Route("fd00::3", jump=gate, user="ops"),
        "fat": Route("fd00::9"),
        "plain": Route(),
        "stranger": Route(),
    }.items():
        assert configured_route(node, cluster.routes) == route


def test_slurm_names_the_nodes_and_one_entry_says_how_all_are_reached(tmp_path: Path) -> None:
    cluster = load(tmp_path, f"{MINIMAL}nodes: {{slurm: {{port: 2222}}, g1: {{port: 22}}}}\n")
    assert cluster.nodes is None
    assert [configured_route(node, cluster.routes).port for node in ("c1", "g1")] == [2222, 22]


def test_all_mistakes_are_told_at_once_each_with_its_line(tmp_path: Path) -> None:
    text = """controller:
  host: -oProxyCommand=id
  port: 70000
sync:
  windw: 3
  method: stra
registry: [a]
host: x
sluurm: {}
nodes: c[1-2],c1
"""
    assert mistakes(tmp_path, text) == [
        "cluster.yaml:2: controller.host: '-oProxyCommand=id' is neither a host name nor an address",
        "cluster.yaml:3: controller.port: '70000' is not a port, 1 to 65535",
        'cluster.yaml:5: sync.windw: unknown key. Perhaps you meant "window"?',
        "cluster.yaml:6: sync.method: 'stra' is not known. Perhaps you meant \"star\"?",
        "cluster.yaml:7: registry: must be a mapping with keys such as path, owner, group",
        "cluster.yaml:8: host: unknown key. It is a key of controller.",
        'cluster.yaml:9: sluurm: unknown key. Perhaps you meant "slurm"?',
        "cluster.yaml:10: nodes: listed twice: c1",
    ]


@pytest.mark.parametrize(
    ("section", "key", "values"),
    BAD_VALUES,
)
def test_bad_values_are_refused_with_their_place(tmp_path: Path, section: str, key: str, values: list[str]) -> None:
    for value in values:
        found = mistakes(tmp_path, file_with(section, key, value))
        assert len(found) == 1, (value, found)
        assert re.match(rf"cluster\.yaml:\d+: {section}\.{key}: ", found[0]), (value, found)


@pytest.mark.parametrize(
    ("section", "key", "values"),
    GOOD_VALUES,
)
def test_good_values_are_taken(tmp_path: Path, section: str, key: str, values: list[str]) -> None:
    for value in values:
        load(tmp_path, file_with(section, key, value))


def test_a_section_whose_lines_are_all_commented_out_is_the_default(tmp_path: Path) -> None:
    assert load(tmp_path, MINIMAL + "sync:\n  # window: 3\nslurm:\n").sync == Sync()
    assert load(tmp_path, MINIMAL + "registry: {keep: 0}\n").registry.keep == 0


@pytest.mark.parametrize("nothing", ["", "null", "~"])
def test_a_section_that_is_null_is_the_default(tmp_path: Path, nothing: str) -> None:
    assert load(tmp_path, f"{MINIMAL}scan: {nothing}\n").scan == Scan()


@pytest.mark.parametrize("text", ["nodes: slurm\n", "controller:\nnodes: slurm\n", "controller: {port: 22}\n"])
def test_a_cluster_without_a_controller_is_refused(tmp_path: Path, text: str) -> None:
    found = mistakes(tmp_path, text)
    assert any("controller: host is missing" in mistake for mistake in found)


@pytest.mark.parametrize(
    "text", ["just words\n", "- a\n- b\n", "", "a: [1\n", "a: *b\n", "controller: !!python/name:x y\n"]
)
def test_a_file_that_is_something_else_is_refused(tmp_path: Path, text: str) -> None:
    assert mistakes(tmp_path, text)


def test_a_file_that_is_not_there_is_plain_wrong_use(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="there is no such file"):
        load_cluster(tmp_path / "missing.yaml", environ={})


def test_paths_begin_at_the_file_and_tilde_is_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    home, folder = tmp_path / "home", tmp_path / "etc"
    for place in (home, folder):
        place.mkdir()
        (place / "k").touch()
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.chdir(folder)
    assert load(folder, "controller: {host: c, key: ~/k}\n").controller.key == home / "k"
    path = write(folder, "controller: {host: c, key: k}\n")
    monkeypatch.chdir(tmp_path)
    assert load_cluster(Path("etc") / path.name, environ={}).controller.key == folder / "k"


class TestOverrides:
    def test_without_a_file_there_is_a_controller_that_asks_slurm(self) -> None:
        expected = Cluster(controller=Controller(name="head", host="head"))
        assert load_cluster(None, controller="head", environ={}) == expected
        assert load_cluster(None, environ={"TEST_CONTROLLER": "head"}) == expected
        assert load_cluster(None, controller="head", environ={"TEST_CONTROLLER": "other", "SSH_USER": ""}) == expected

    @pytest.mark.parametrize("environ", [{}, {"TEST_CONTROLLER": "", "HPC_CLUSTER": ""}])
    def test_with_nothing_at_all_it_says_what_to_give(self, environ: dict[str, str]) -> None:
        with pytest.raises(UsageError) as caught:
            load_cluster(None, environ=environ)
        for way in ("--cluster", "HPC_CLUSTER", "--controller"):
            assert way in caught.value.hint

    def test_hpc_cluster_names_the_file(self, tmp_path: Path) -> None:
        path = write(tmp_path, MINIMAL + "nodes: c1\n")
        assert load_cluster(None, environ={"HPC_CLUSTER": str(path)}).nodes == ("c1",)

    def test_another_word_for_the_same_controller_changes_nothing(self, tmp_path: Path) -> None:
        path = write(tmp_path, "controller: {name: head, host: 10.0.0.1, port: 2222}\n")
        plain = load_cluster(path, environ={})
        assert load_cluster(path, controller="head", environ={}) == plain
        assert load_cluster(path, controller="10.0.0.1", environ={}) == plain

    def test_another_controller_replaces_name_and_host_and_keeps_the_rest(self, tmp_path: Path) -> None:
        path = write(tmp_path, "controller: {name: head, host: 10.0.0.1, port: 2222}\nnodes: c1\n")
        cluster = load_cluster(path, environ={"TEST_CONTROLLER": "head2"})
        assert cluster.controller == Controller(name="head2", host="head2", port=2222)
        assert cluster.nodes == ("c1",)

    def test_an_argument_beats_the_environment_beats_the_file(self, tmp_path: Path) -> None:
        path = write(tmp_path, "controller: {host: c, user: filed, key: missing}\nregistry: {group: filed}\n")
        for name in ("k1", "k2"):
            (tmp_path / name).touch()
        environ = {
            "SSH_USER": "envy",
            "SSH_KEY_PATH": str(tmp_path / "k1"),
            "REGISTRY_BASE_PATH": "/srv/images",
            "EXPECTED_MODE": "0775",
            "EXPECTED_OWNER": "alice",
            "EXPECTED_GROUP": "hpc",
        }
        cluster = load_cluster(path, environ=environ)
        assert (cluster.controller.user, cluster.controller.key) == ("envy", tmp_path / "k1")
        assert cluster.registry == Registry(path="/srv/images", directory_mode=0o775, owner="alice", group="hpc")
        cluster = load_cluster(path, user="typed", key=tmp_path / "k2", environ=environ)
        assert (cluster.controller.user, cluster.controller.key) == ("typed", tmp_path / "k2")

    def test_a_typed_key_begins_where_it_was_typed(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        (tmp_path / "here").mkdir()
        (tmp_path / "here" / "k").touch()
        monkeypatch.chdir(tmp_path / "here")
        path = write(tmp_path, MINIMAL)
        assert load_cluster(path, key="k", environ={}).controller.key == tmp_path / "here" / "k"

    def test_a_bad_override_is_told_with_the_name_of_what_said_it(self) -> None:
        with pytest.raises(ConfigError) as caught:
            load_cluster(
                None, controller="-x", user="a b", environ={"EXPECTED_MODE": "9", "SSH_KEY_PATH": "~nobody-x/k"}
            )
        found = "\n".join(caught.value.mistakes)
        for place in (
            "--controller: controller.host",
            "--user: controller.user",
            "EXPECTED_MODE: registry.directory_mode",
        ):
            assert place in found
        assert "SSH_KEY_PATH: controller.key" in found

    def test_an_override_does_not_hide_a_broken_file(self, tmp_path: Path) -> None:
        path = write(tmp_path, "controller: text\nregistry: [a]\n")
        with pytest.raises(ConfigError):
            load_cluster(path, controller="head", environ={"EXPECTED_OWNER": "root"})


class TestSeedFormat:
    def test_the_example(self) -> None:
        cluster = load_cluster(INVENTORIES / "hpc-cluster.yaml", environ={})
        assert cluster == Cluster(
            controller=Controller(name="192.168.100.10", host="192.168.100.10"),
            nodes=("192.168.100.11", "192.168.100.12"),
        )

    def test_names_and_shared_storage(self, tmp_path: Path) -> None:
        text = """
clusters:
  only:
    controller: {ip_address: 10.0.0.1, hostname: head}
    compute_nodes: [{ip: 10.0.0.2, name: c1}, {ip: 10.0.0.3, hostname: c2}, {ip: 10.0.0.4}]
    storage: {beegfs: {enabled: true, mount_point: /mnt/b}}
"""
        cluster = load(tmp_path, text)
        assert cluster.controller == Controller(name="head", host="10.0.0.1")
        assert cluster.nodes == ("c1", "c2", "10.0.0.4")
        assert (cluster.registry.path, cluster.sync.method) == ("/mnt/b/containers", "shared")

    def test_several_clusters_of_which_none_is_hpc(self, tmp_path: Path) -> None:
        (mistake,) = mistakes(tmp_path, "clusters:\n  east: {}\n  west: {}\n")
        assert "east, west" in mistake

    @pytest.mark.parametrize(
        ("cluster", "words"),
        [
            ("{}", ["3: clusters.hpc.controller: must be", "3: clusters.hpc.compute_nodes: must be a list"]),
            ("{controller: {ip_address: 10.0.0.1}, compute_nodes: []}", ["no node is listed"]),
            (
                "{controller: {ip_address: -x}, compute_nodes: [{ip: '-y'}]}",
                ["'-y' is not a name", "controller.host: '-x' is neither"],
            ),
            (
                "{controller: {}, compute_nodes: [{cpu: 3}, x]}",
                ["nodes: an entry without a name", "controller: host is missing"],
            ),
            ("{controller: {ip_address: a}, compute_nodes: [{ip: b}, {ip: b}]}", ["listed twice: b"]),
            ("text", ["must be a mapping"]),
        ],
    )
    def test_mistakes(self, tmp_path: Path, cluster: str, words: list[str]) -> None:
        found = mistakes(tmp_path, f"version: 1\nclusters:\n  hpc: {cluster}\n")
        assert len(found) == len(words)
        for mistake, expected in zip(found, words, strict=True):
            assert mistake.startswith("cluster.yaml:")
            assert expected in mistake


class TestAnsible:
    @pytest.mark.parametrize("name", ["inventory.yaml", "inventory.ini"])
    def test_the_examples(self, name: str) -> None:
        cluster = load_cluster(INVENTORIES / name, environ={})
        assert cluster.controller == Controller(name="hpc-controller", host="192.168.100.10", port=22, user="root")
        assert cluster.nodes == ("c001", "c002", "c003", "gpu01")

    def test_variables_may_come_from_group_vars_and_the_vault_stays_shut(self, tmp_path: Path) -> None:
        (tmp_path / "group_vars").mkdir()
        (tmp_path / "group_vars" / "hpc_controllers.yml").write_text("ansible_port: 2222\nansible_user: ops\n")
        (tmp_path / "id").touch()
        text = """
hpc_controllers:
  hosts:
    head: {ansible_ssh_private_key_file: id}
  vars:
    password: !vault |
      $ANSIBLE_VAULT;1.1;AES256
      61626364
hpc_compute_nodes: {hosts: {"c[01:02]": }}
"""
        cluster = load(tmp_path, text, "hosts.yml")
        assert cluster.controller == Controller(name="head", host="head", port=2222, user="ops", key=tmp_path / "id")
        assert cluster.nodes == ("c01", "c02")

    @pytest.mark.parametrize(
        ("text", "words"),
        [
            ("[controllr]\nh\n[compute]\nc1\n", ['no group controller. Perhaps you meant "controllr"?']),
            ("[controller]\nh\n", ["no group compute"]),
            ("[controller]\nh\n[compute]\n", ["group compute"]),
            ("[controller]\nh1\nh2\n[compute]\nc1\n", ["group controller: one host, not 2: h1, h2"]),
            ("[controller]\nh ansible_host='-x'\n[compute]\nc+1\n", ["'c+1' is not", "host h: ansible_host: "]),
            (
                "[controller]\nh ansible_user=\"{{ lookup('pipe', 'id') }}\"\n[compute]\nc1\n",
                ["host h: ansible_user: "],
            ),
            ("[controller]\nh\n[compute\nc1\n", ["Ansible cannot read it: Failed to parse inventory: "]),
        ],
    )
    def test_mistakes(self, tmp_path: Path, text: str, words: list[str]) -> None:
        found = "\n".join(mistakes(tmp_path, text, "hosts.ini"))
        for expected in words:
            assert expected in found

    def test_an_inventory_script_is_refused_and_not_run(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.chdir(tmp_path)
        # To a shell the last line is a command that leaves a file; to Ansible's ini plugin it is a host.
        path = write(tmp_path, "#!/bin/sh\n[controller]\nh\n[compute]\nc1\ntouch ran=1\n", "hosts")
        path.chmod(0o755)
        with pytest.raises(ConfigError, match="this is an inventory script, which is not run here"):
            load_cluster(path, environ={})
        path.chmod(0o644)
        assert load_cluster(path, environ={}).nodes == ("c1", "touch")
        assert not (tmp_path / "ran=1").exists()


@pytest.mark.parametrize("policy", ["warn", "require"])
def test_signatures_of_nobody_are_a_mistake(tmp_path: Path, policy: str) -> None:
    text = f"{MINIMAL}registry: {{signatures: {policy}}}\n"
    expected = "cluster.yaml:2: registry.signatures: whose signatures? Name them in registry.signers"
    assert mistakes(tmp_path, text) == [expected]
    signers = f"['alice ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAI{'A' * 43}']"
    assert load(tmp_path, text.replace(policy, f"{policy}, signers: {signers}")).registry.signatures == policy
    assert load(tmp_path, f"{MINIMAL}registry: {{signatures: off}}\n").registry.signatures == "off"


@pytest.mark.parametrize(("file", "text"), [("keys/erin.asc", ERIN), ("ci.pem", ED25519)])
def test_keys_of_images_are_files_beside_the_cluster_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, file: str, text: str
) -> None:
    """Their text is the setting: it is what goes to the controller, and what is compared."""
    (tmp_path / "keys").mkdir()
    (tmp_path / file).write_text(text)
    monkeypatch.chdir("/")
    signers = f"['alice ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAI{'A' * 43}']"
    registry = f"registry: {{signatures: warn, signers: {signers}, image_keys: [{file}]}}\n"
    (key,) = load(tmp_path, f"{MINIMAL}{registry}").registry.image_keys
    assert key == read_file(file, tmp_path)
    (tmp_path / file).write_text("no key")
    (mistake,) = mistakes(tmp_path, f"{MINIMAL}{registry}")
    assert "cluster.yaml:2: registry.image_keys: " in mistake
    assert f"{file} is not one public key: armored PGP, or PEM" in mistake


@pytest.mark.parametrize("policy", ["", "signatures: off, "])
def test_keys_of_images_that_nobody_looks_at_are_a_mistake(tmp_path: Path, policy: str) -> None:
    (tmp_path / "erin.asc").write_text(ERIN)
    (mistake,) = mistakes(tmp_path, f"{MINIMAL}registry: {{{policy}image_keys: [erin.asc]}}\n")
    assert mistake == (
        "cluster.yaml:2: registry.image_keys: of no effect while registry.signatures is off: make that warn or require"
    )
    assert load(tmp_path, f"{MINIMAL}registry: {{image_keys: []}}\n").registry.image_keys == ()


def test_the_documented_example_names_every_key_and_every_default() -> None:
    example = FIXTURES / "cluster.yaml"
    assert load_cluster(example, environ={}).registry == Registry()
    text = re.sub(r"^  # (?=\w+: )", "  ", example.read_text(), flags=re.MULTILINE)
    data = documents.load(text, "cluster.yaml")
    assert set(data) == {*SECTIONS, "nodes"}
    for section, part in SECTIONS.items():
        assert set(data[section]) == set(settings_of(part.kind))
        for field in fields(part.kind):
            if field.default not in (MISSING, None):
                reader = Reader(str)
                shown = reader.value(settings_of(part.kind)[field.name].kind, data[section][field.name])
                assert shown == field.default, (section, field.name)


def test_ansible_is_not_imported() -> None:
    strangers = "[m for m in ('ansible', 'pytest', 'click') if m in sys.modules]"
    code = f"import sys, pytest_hpcregistry.config.load; print({strangers})"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout == "[]\n"


def test_suggest_names_all_when_nothing_is_near() -> None:
    assert suggest("qqq", ["a", "b"]) == " Known: a, b"
