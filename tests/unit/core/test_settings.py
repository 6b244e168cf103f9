"""config.yaml: the cluster file's keys, read by the same rules; what an older version wrote; what is not in force."""

from __future__ import annotations

from dataclasses import replace

import pytest

from pytest_hpcregistry.checks import configuration
from pytest_hpcregistry.config.role import settings_of_role
from pytest_hpcregistry.core import documents, layout, settings
from pytest_hpcregistry.core.errors import RUN_SETUP, ConfigError
from pytest_hpcregistry.core.facts import Machine
from pytest_hpcregistry.core.model import Cluster, Controller, Registry, Runtime, Slurm, Sync
from pytest_hpcregistry.core.role import settings_beside_role, settings_in_role
from pytest_hpcregistry.core.routes import Jump, NodeRoute
from pytest_hpcregistry.core.settings import Settings, chosen, differences, flat, written
from pytest_hpcregistry.testing.facts import gathered, host, machine
from tests.fakes.settings import config_text, earlier_text, make_settings

PEM_LINE = (
    "pem 81F85D5A667F08310299D9FCA06B5A0BAAD02AD5856143F341418B40793314D9 "
    "MCowBQYDK2VwAyEAGuIdjYYxkS4l4601ZbOqlkiPW2qS2MpWdllRSYzZmgQ="
)
CONTROLLER = Controller(name="ctl", host="ctl")
# No value is the default.
REGISTRY = Registry(
    path="/srv/images",
    owner="alice",
    group="hpc",
    directory_mode=0o750,
    file_mode=0o640,
    directories=("a", "b"),
    keep=5,
    signatures="require",
    signers=("alice ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAI" + "A" * 43,),
    image_keys=(PEM_LINE,),
)
SYNC = Sync(
    method="relay", limit_rate=1000, network="10.0.0.0/8", window=3, timeout=60, connect_timeout=4, key="/k",
    key_from=("10.0.0.1", "fd00::/8"), log="/l",
)  # fmt: skip
RUNTIME = Runtime(gpus="nv", binds=("/scratch", "/a:/b:ro"), environment=("A=b c",), options=("--no-home",))
EVERYTHING = Settings(
    REGISTRY,
    SYNC,
    Slurm(container=False, conf_dir="/opt/etc"),
    RUNTIME,
    ("c1", "c2"),
    ("10.0.0.1", "fd00::/8"),
    routes=(NodeRoute("d[1-2]", 23, Jump("g", "me"), "ops", "c[1-2]"),),
)


def read(text: str) -> Settings:
    return settings.read(documents.parse(text, "config.yaml"))


def mistakes(text: str) -> tuple[str, ...]:
    with pytest.raises(ConfigError) as caught:
        read(text)
    assert caught.value.hint == RUN_SETUP
    return caught.value.mistakes


@pytest.mark.parametrize("one", [EVERYTHING, make_settings("/r"), make_settings("/r", key_from=("any",))])
def test_what_is_written_is_read(one: Settings) -> None:
    assert read(config_text(one)) == one


@pytest.mark.parametrize("one", [EVERYTHING, make_settings("/r", admitted=("10.0.0.1", "127.0.0.0/8", "127.0.0.0/8"))])
def test_what_an_older_version_wrote_is_read(one: Settings) -> None:
    """The controller program is replaced before config.yaml, and a run that ends in between must leave a sync."""
    # It wrote the addresses that the key is admitted from, and not what the cluster file says of them.
    expected = replace(one, sync=replace(one.sync, key_from=("auto",)), runtime=Runtime(), outdated=True)
    expected = replace(expected, routes=(), registry=replace(one.registry, signatures="off", signers=(), image_keys=()))
    assert read(earlier_text(one)) == expected


def test_a_still_older_version_did_not_know_every_key() -> None:
    text = "".join(
        line
        for line in earlier_text(make_settings("/r")).splitlines(keepends=True)
        if line.split(":")[0].strip() not in ("keep", "limit_rate", "network", "key_from")
    )
    assert read(text) == replace(make_settings("/r"), outdated=True)


def test_the_least() -> None:
    assert read("registry: {path: /r}\n") == make_settings("/r")


def test_a_registry_that_could_be_another_is_not_guessed() -> None:
    assert mistakes("registry: {keep: 3}\n") == ("config.yaml:1: registry: path is missing",)


def test_mistakes_are_told_as_those_of_a_cluster_file_are() -> None:
    text = """\
version: 3
nodes: [c1, c1]
registry: {path: opt}
sync:
  windw: 3
  timeout: many
  keep: 3
admitted: [here]
"""
    assert mistakes(text) == (
        "config.yaml:1: version: '3' is not known. Known: 2",
        "config.yaml:2: nodes: listed twice: c1",
        "config.yaml:3: registry.path: 'opt' must be absolute",
        'config.yaml:5: sync.windw: unknown key. Perhaps you meant "window"?',
        "config.yaml:6: sync.timeout: 'many' is not a whole number above 0",
        "config.yaml:7: sync.keep: unknown key. It is a key of registry.",
        "config.yaml:8: admitted: 'here' is neither an address nor a network, such as 10.20.0.0/16",
    )


def test_mistakes_in_an_older_form_have_their_lines() -> None:
    text = "registry: {path: /r}\nsynchronization:\n  window: 0\n  nodes: []\n  key_from: x\n"
    assert mistakes(text) == (
        "config.yaml:3: sync.window: '0' is not a whole number above 0",
        "config.yaml:4: nodes: no node is listed; write slurm, a node set or a list",
        "config.yaml:5: admitted: must be a list of addresses and networks",
    )


def cluster_of(one: Settings) -> Cluster:
    return Cluster(CONTROLLER, one.nodes, one.registry, one.sync, one.slurm, one.runtime, routes=one.routes)


def not_in_force(text: str, cluster: Cluster) -> list[str]:
    """What the suite finds when the controller's config.yaml has a *text*."""
    path = layout.inside(cluster.registry.path, layout.CONFIG)
    here = Machine("controller", machine(host=host(texts={path: text})))
    return [one.found for one in configuration.in_force(here, gathered({}), cluster)]


@pytest.mark.parametrize("one", [EVERYTHING, make_settings("/r")])
def test_what_is_in_force_is_no_difference(one: Settings) -> None:
    text = config_text(one)
    assert not_in_force(text, cluster_of(one)) == []
    assert not_in_force(text, replace(cluster_of(one), nodes=one.nodes and one.nodes[::-1])) == []


def test_every_setting_that_differs_is_named() -> None:
    """All that config.yaml has: a new setting is compared without a line here, or in the suite."""
    default = make_settings("/opt/containers")
    found = not_in_force(config_text(EVERYTHING), cluster_of(default))
    data = written(default)
    keys = ["nodes", "routes", *(f"{name}.{key}" for name in settings.IN_FORCE for key in data[name])]
    assert [sentence.split()[0] for sentence in found] == ["how" if key == "routes" else key for key in keys]
    assert len(keys) == 27
    for sentence in (
        "nodes is slurm in the cluster file, and c[1-2] on the controller",
        (
            "how nodes are reached is not set in the cluster file, and c[1-2] address d[1-2] port 23 jump me@g user ops"
            " on the controller"
        ),
        "registry.keep is 2 in the cluster file, and 5 on the controller",
        "registry.file_mode is 0755 in the cluster file, and 0640 on the controller",
        "sync.network is not set in the cluster file, and 10.0.0.0/8 on the controller",
        "sync.key_from is auto in the cluster file, and [10.0.0.1, fd00::/8] on the controller",
        "slurm.container is true in the cluster file, and false on the controller",
    ):
        assert sentence in found


def test_an_older_form_is_a_difference() -> None:
    found = not_in_force(earlier_text(make_settings("/r")), cluster_of(make_settings("/r")))
    assert found == ["has the form of an older version"]


def test_a_key_that_only_one_side_knows_is_passed_over() -> None:
    assert differences({**flat(EVERYTHING), "sync.later": 1}, EVERYTHING) == []
    assert differences({"sync.later": 1, "sync.window": 4}, EVERYTHING) == [
        "sync.window is 4 in the cluster file, and 3 on the controller"
    ]


def test_what_a_cluster_file_does_not_say_is_not_compared() -> None:
    """As where there is none, but only --controller HOST, or an inventory."""
    assert chosen(Cluster(CONTROLLER)) == {}
    one = Cluster(CONTROLLER, ("c2", "c1"), Registry(keep=3), Sync(key_from=("any",)))
    assert chosen(one) == {"nodes": "c[1-2]", "registry.keep": 3, "sync.key_from": "any"}


def test_nodes_that_are_slurms_agree_whoever_phase_1_sets_up() -> None:
    """As of an inventory: its hosts are set up, and syncs go to Slurm's nodes."""
    cluster = replace(Cluster(Controller("hpc", "hpc")), nodes=("c1", "c2"), nodes_by_slurm=True)
    assert flat(cluster)["nodes"] == written(cluster)["nodes"] == "slurm"
    assert flat(replace(cluster, nodes_by_slurm=False))["nodes"] == "c[1-2]"


def test_an_inventory_has_names_for_settings_that_the_role_lacks() -> None:
    said = {"container_registry_slurm_run_as": "alice", "container_registry_keep": 2}
    mistakes: list[str] = []
    data = settings_of_role(said, ["c1"], mistakes)
    assert (data["slurm"], data["registry"], mistakes) == ({"run_as": "alice"}, {"keep": "2"}, [])
    assert set(settings_beside_role()).isdisjoint(settings_in_role())
