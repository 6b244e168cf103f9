"""An Ansible inventory is read as Ansible reads it, or refused with the name of what is not read."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from pytest_hpcregistry.config import ansible, connection
from pytest_hpcregistry.config.hostvars import as_text
from pytest_hpcregistry.config.load import load_cluster
from pytest_hpcregistry.core.errors import ConfigError
from pytest_hpcregistry.core.model import Cluster
from pytest_hpcregistry.core.role import OTHERS, settings_in_role
from pytest_hpcregistry.core.routes import Jump, NodeRoute, configured_route, read_jump
from pytest_hpcregistry.core.settings import written
from pytest_hpcregistry.setup import playbook
from tests.unit.config.inventories import EXAMPLES, HEAD, Example

PROGRAM = Path(__file__).with_name("list_inventories.py")
Truth = Mapping[str, Any]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """All inventories, each in a folder of its own."""
    root = tmp_path_factory.mktemp("inventories")
    for number, example in enumerate(EXAMPLES):
        for file, content in example.files.items():
            path = root / str(number) / file
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(content)
    return root


def place(folder: Path, example: Example) -> Path:
    return folder / str(EXAMPLES.index(example)) / example.target


@pytest.fixture(scope="module")
def truth(folder: Path) -> dict[str, Any]:
    """What Ansible prints as it is, for each inventory."""
    paths = [str(place(folder, example)) for example in EXAMPLES]
    result = subprocess.run([sys.executable, str(PROGRAM), *paths], capture_output=True, text=True, check=True)
    said: dict[str, Any] = json.loads(result.stdout)
    return said


@pytest.fixture(params=EXAMPLES, ids=lambda example: example.name)
def example(request: pytest.FixtureRequest) -> Iterator[Example]:
    yield request.param


@pytest.fixture
def path(folder: Path, example: Example) -> Path:
    return place(folder, example)


@pytest.fixture
def answered(monkeypatch: pytest.MonkeyPatch, truth: dict[str, Any]) -> None:
    """Have Ansible's answers at hand: it would be started a hundred times."""

    def ask(path: Path, plugins: str) -> Any:
        if isinstance(truth[str(path)], str):
            raise ConfigError(str(path), [f"{path}: Ansible cannot read it: {truth[str(path)]}"])
        return truth[str(path)]

    monkeypatch.setattr(ansible, "ask_ansible", ask)


def test_there_are_many_kinds() -> None:
    assert len(EXAMPLES) >= 80
    assert len({example.name for example in EXAMPLES}) == len(EXAMPLES)


@pytest.mark.parametrize("name", ["lists", "mapping", "unsafe text", "group_vars", "host_vars", "a directory"])
def test_asked_by_this_package_ansible_says_the_same(folder: Path, truth: Truth, name: str) -> None:
    (example,) = (one for one in EXAMPLES if one.name == name)
    path = place(folder, example)
    assert ansible.ask_ansible(path, ansible.PLUGINS) == truth[str(path)]


def test_what_is_read_is_what_ansible_says(example: Example, path: Path, truth: Truth, answered: None) -> None:
    if example.refused:
        with pytest.raises(ConfigError) as caught:
            load_cluster(path, environ={})
        for words in example.refused:
            assert words in str(caught.value)
        assert "hidden1" not in str(caught.value)
        return
    cluster = load_cluster(path, environ={})
    name, *more = hosts_of(truth[str(path)], "controller", "hpc_controllers")
    nodes = hosts_of(truth[str(path)], "compute", "hpc_compute_nodes")
    variables = truth[str(path)]["_meta"]["hostvars"]
    own = variables.get(name, {})
    assert (cluster.controller.name, more) == (name, [])
    assert cluster.controller.host == own.get("ansible_ssh_host", own.get("ansible_host", name))
    assert cluster.controller.port == own.get("ansible_ssh_port", own.get("ansible_port"))
    assert cluster.controller.user == own.get("ansible_ssh_user", own.get("ansible_user", "root"))
    assert cluster.controller.jump == (read_jump(example.jump) if example.jump else None)
    for node in nodes:
        check_node(cluster, node, variables.get(node, {}))
    check_role(cluster, nodes, variables)


def hosts_of(inventory: Truth, *groups: str) -> list[str]:
    """The hosts in these groups, found in another way than the package does."""
    found = {host for group in groups for host in inventory.get(group, {}).get("hosts", [])}
    for group in groups:
        found |= set(hosts_of(inventory, *inventory.get(group, {}).get("children", [])))
    return sorted(found)


def check_node(cluster: Cluster, node: str, variables: Truth) -> None:
    """Nothing that decides where a node is or as whom one logs in there says otherwise than phase 1 will do."""
    controller = cluster.controller
    port = controller.port or variables.get("ansible_port")  # without a word it is ssh_config's, here and there
    route = configured_route(node, cluster.routes)
    there = {"host": route.address or node, "port": route.port or 22}
    here = {"host": controller.host, "port": port} if node == controller.name else there
    for name, same in {**here, "user": controller.user}.items():
        for variable in (f"ansible_{name}", f"ansible_ssh_{name}"):
            assert variables.get(variable, same) == same


def check_role(cluster: Cluster, nodes: list[str], variables: Mapping[str, Truth]) -> None:
    """The role gets from phase 1 what plain ansible-playbook gives it on each host, and the cluster has the same."""
    given, settings = playbook.role_variables(cluster), settings_in_role()
    said = written(cluster)
    for host in {cluster.controller.name, *nodes}:
        own = {key: unsafe(value) for key, value in variables.get(host, {}).items() if key in {*settings, *OTHERS}}
        assert dict(cluster.role) == own
        assert {key: given[key] for key in own} == own
        for name, path in settings.items():
            later = [one for one, other in settings.items() if other == path and one in own][-1:]
            if [name] == later:
                value: Any = said
                for key in path:
                    value = value[key]
                assert meaning(value) == meaning(own[name])
    if not {"container_registry_nodes", "container_registry_sync_nodes"} & dict(cluster.role).keys():
        switch = dict(cluster.role).get("container_registry_slurm_container")
        switch = dict(cluster.role).get("container_registry_slurm_integration", True) if switch is None else switch
        assert given["container_registry_sync_nodes"] == ("slurm" if switch in (True, "yes") else nodes)
    assert cluster.nodes is not None
    assert sorted(cluster.nodes) == nodes


def unsafe(value: Any) -> Any:
    return value["__ansible_unsafe"] if isinstance(value, dict) and "__ansible_unsafe" in value else value


def meaning(value: Any) -> Any:
    """A setting so that its forms are the same: `no` and false, 100M and its bytes, a node set and its list."""
    words = {"no": "false", "100M": "104857600", "null": "", "c[001-003]": ["c001", "c002", "c003"]}
    text = as_text(value)
    return words.get(text, text) if isinstance(text, str) else text


@pytest.mark.parametrize(
    ("backend", "path", "method"),
    [
        ("local", "/opt/containers", "auto"),
        ("beegfs", "/mnt/beegfs/containers", "shared"),
        ("nfs", "/opt/containers", "shared"),
    ],
)
def test_a_storage_backend_means_what_it_means_to_the_role(
    tmp_path: Path, backend: str, path: str, method: str
) -> None:
    (tmp_path / "hosts").write_text(f"{HEAD}[all:vars]\ncontainer_registry_storage_backend={backend}\n")
    cluster = load_cluster(tmp_path / "hosts", environ={})
    assert (cluster.registry.path, cluster.sync.method) == (path, method)


# What the ssh connection and sudo take from variables, and neither decides where nor as whom.
NO_MATTER = {
    "inventory_hostname",
    "ansible_host_key_checking",
    "ansible_ssh_host_key_checking",
    "ansible_ssh_password_mechanism",
    "ansible_sshpass_prompt",
    "ansible_sftp_executable",
    "ansible_scp_executable",
    "ansible_scp_extra_args",
    "ansible_sftp_extra_args",
    "ansible_ssh_retries",
    "ansible_pipelining",
    "ansible_ssh_pipelining",
    "ansible_control_path",
    "ansible_control_path_dir",
    "ansible_sftp_batch_mode",
    "ansible_ssh_transfer_method",
    "ansible_ssh_use_tty",
    "ansible_ssh_timeout",
    "ansible_ssh_verbosity",
}


def variables_of_ansible() -> list[str]:
    """Every variable that Ansible's own documentation of its ssh connection and of sudo names."""
    code = "from ansible.plugins.connection import ssh; from ansible.plugins.become import sudo; import json;"
    code += "print(json.dumps([ssh.DOCUMENTATION, sudo.DOCUMENTATION]))"
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    options = [option for text in json.loads(told) for option in yaml.safe_load(text)["options"].values()]
    names = {one["name"] for option in options for one in option.get("vars", []) if "delegated" not in one["name"]}
    return sorted(names | {"ansible_connection", "ansible_become", "ansible_become_method"})


def test_all_that_decides_where_and_as_whom_is_read_or_named() -> None:
    names = variables_of_ansible()
    assert len(names) > 40
    assert NO_MATTER.issubset(names)
    for name in names:
        login = connection.read_login({"ansible_user": "ops", name: "no"})
        known = login.said != {"user": "ops"} or any(name in mistake for mistake in login.mistakes)
        assert known is (name not in NO_MATTER), name


@pytest.mark.parametrize(
    ("variables", "address"),
    [
        ({}, None),
        ({"ansible_host": "c1", "ansible_port": 22, "ansible_user": "ops"}, None),
        ({"ansible_host": "10.0.0.2"}, NodeRoute(address="10.0.0.2")),
        ({"ansible_ssh_port": 2222, "ansible_user": "root"}, NodeRoute(port=2222, user="root")),
        ({"ansible_ssh_common_args": "-J a@gate:23"}, NodeRoute(jump=Jump("gate", "a", 23))),
        ({"ansible_ssh_common_args": "-J ops@10.0.0.1:2200"}, None),
        ({"ansible_ssh_common_args": "-J head:2200"}, None),
        ({"ansible_ssh_common_args": "-J head"}, NodeRoute(jump=Jump("head"))),
        ({"ansible_ssh_common_args": "-J root@head:2200"}, NodeRoute(jump=Jump("head", "root", 2200))),
        ({"ansible_ssh_common_args": "-J front"}, None),
    ],
)
def test_how_a_node_is_reached_that_is_not_reached_by_its_name(
    variables: dict[str, Any], address: NodeRoute | None
) -> None:
    head = {
        "ansible_host": "10.0.0.1",
        "ansible_port": 2200,
        "ansible_user": "ops",
        "ansible_ssh_common_args": "-J front",
    }
    mistakes: dict[str, list[str]] = {}
    found = connection.node_addresses({"c1": variables}, connection.read_login(head), "head", mistakes)
    assert found == ({"c1": address} if address else {})
    assert mistakes == {}


def test_how_the_controller_reaches_nodes_is_the_roles_to_say(tmp_path: Path) -> None:
    """Where the inventory says it, it may also say how this machine reaches them."""
    nodes = "[compute]\nc1 ansible_port=2222\nc2 ansible_port=2222\n"
    said = '[all:vars]\ncontainer_registry_nodes={"c[1-2]": {"port": 2222}}\n'
    (tmp_path / "hosts").write_text(f"[controller]\nhead\n{nodes}{said}")
    cluster = load_cluster(tmp_path / "hosts", environ={})
    assert cluster.nodes == ("c1", "c2")
    assert cluster.routes == (NodeRoute(port=2222, nodes="c[1-2]"),)
    (tmp_path / "hosts").write_text(f"[controller]\nhead\n{nodes}")
    with pytest.raises(ConfigError, match=r"c\[1-2\]: ansible_port is not read: .* container_registry_nodes"):
        load_cluster(tmp_path / "hosts", environ={})


def test_the_environment_wins_over_the_inventory_in_the_role_too(tmp_path: Path) -> None:
    (tmp_path / "hosts").write_text(f"{HEAD}[all:vars]\ncontainer_registry_path=/a\ncontainer_registry_subdirs=['x']\n")
    cluster = load_cluster(tmp_path / "hosts", environ={"REGISTRY_BASE_PATH": "/b"})
    assert cluster.registry.path == "/b"
    given = playbook.role_variables(cluster)
    assert (given["container_registry_path"], given["container_registry_subdirs"]) == ("/b", ["x"])


VAULT = "61626364"


@pytest.mark.parametrize("whole", [True, False])
def test_an_encrypted_file_is_opened_by_ansibles_password_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, whole: bool
) -> None:
    """An inventory that is encrypted itself, and variables beside one."""
    monkeypatch.delenv("ANSIBLE_VAULT_PASSWORD_FILE", raising=False)
    for name in ("right", "wrong"):
        (tmp_path / name).write_text(name)
    inventory = tmp_path / "hosts"
    inventory.write_text(f"{HEAD}[all:vars]\ncontainer_registry_path=/srv/i\nansible_user=root\n" if whole else HEAD)
    secret = inventory if whole else tmp_path / "group_vars" / "all" / "vault.yml"
    if not whole:
        secret.parent.mkdir(parents=True)
        secret.write_text("container_registry_path: /srv/i\nmy_password: x\n")
    vault = [sys.executable, "-m", "ansible", "vault", "encrypt", "--vault-password-file", str(tmp_path / "right")]
    subprocess.run([*vault, str(secret)], check=True, capture_output=True)
    for password, reason in ((None, "it is encrypted"), ("wrong", "the password of its vault is another")):
        if password:
            monkeypatch.setenv("ANSIBLE_VAULT_PASSWORD_FILE", str(tmp_path / password))
        with pytest.raises(ConfigError, match=reason) as caught:
            load_cluster(inventory, environ={})
        assert "set ANSIBLE_VAULT_PASSWORD_FILE=" in caught.value.hint
    monkeypatch.setenv("ANSIBLE_VAULT_PASSWORD_FILE", str(tmp_path / "right"))
    assert load_cluster(inventory, environ={}).registry.path == "/srv/i"


@pytest.mark.parametrize(
    "variable",
    [
        "ANSIBLE_INVENTORY_EXPORT=True",
        "ANSIBLE_VERBOSITY=4",
        "ANSIBLE_DEBUG=True",
        "ANSIBLE_INVENTORY_ENABLED=host_list",
    ],
)
def test_the_users_own_settings_of_ansible_change_nothing_of_what_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, variable: str
) -> None:
    (tmp_path / "hosts").write_text(f"{HEAD}[all:vars]\ncontainer_registry_path=/srv/i\nansible_user=ops\n")
    monkeypatch.setenv(*variable.split("="))
    cluster = load_cluster(tmp_path / "hosts", environ={})
    assert (cluster.registry.path, cluster.controller.user) == ("/srv/i", "ops")
