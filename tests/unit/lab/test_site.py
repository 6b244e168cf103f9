"""Sites: what their files may say, how mistakes in them are reported, and what machines get of them."""

from __future__ import annotations

from pathlib import Path

import pytest

from pytest_hpcregistry.config.load import load_cluster
from pytest_hpcregistry.core import documents
from pytest_hpcregistry.core.errors import ConfigError, UsageError
from pytest_hpcregistry.lab import configuration, site, state
from pytest_hpcregistry.lab.site import Site

from .test_cluster import Calls, calls, home, write

__all__ = ["calls", "home"]  # fixtures

WHOLE = """\
about: a whole site
controller: login1
nodes: GPU_[1-2],big.example.org
count: 2
node_names: a,b,c
gate: gate
domain: example.org
login: ops
users: [ops]
home: /users
key: ecdsa
pythons:
  nodes: "3.6"
ports: {nodes: "2200", gate: 2022}
sshd:
  all: UseDNS no
  nodes: AllowUsers root
  GPU_2: MaxSessions 1
files:
  - {path: /etc/motd, text: hello, mode: "0600", owner: ops, on: nodes}
start: {gate: "true"}
running: sinfo
cluster: {registry: {path: /srv/images}}
refused: not here
limits: {gc: no such luck}
"""


def read(text: str) -> Site:
    return site.read(documents.parse(text, "x.yaml"), "x")


@pytest.mark.parametrize("name", site.names())
def test_every_site_makes_a_cluster_file_that_can_be_read(name: str, home: Path, calls: Calls) -> None:
    made = write(state.new("a", None, site.load(name)))
    cluster = load_cluster(made.cluster_file, environ={})
    assert cluster.controller.name == made.controller
    assert (cluster.controller.port or 22) == made.site.port(made.controller)
    assert (cluster.controller.jump is not None) == bool(made.site.gate)
    assert len(made.nodes) == made.site.count


def test_the_default_site_is_the_first_and_what_a_lab_always_was() -> None:
    assert site.names()[0] == site.DEMO
    made = state.new("a", None, site.load(site.DEMO))
    assert made.machines == ("hpc-controller", "c001", "c002", "c003")
    assert len(state.new("a", 64, site.load(site.DEMO)).nodes) == 64


def test_more_nodes_than_the_site_has_are_refused() -> None:
    with pytest.raises(UsageError, match="at most 3 nodes, not 4"):
        state.new("a", 4, read(WHOLE))


def test_an_unknown_site_is_refused_with_those_that_there_are() -> None:
    with pytest.raises(UsageError, match='Perhaps you meant "ports"') as caught:
        site.load("port")
    assert "lab sites" in caught.value.hint


@pytest.mark.parametrize(
    ("line", "mistake"),
    [
        ("nodes: c001\nnode: 1", 'x.yaml:3: node: unknown key. Perhaps you meant "nodes"?'),
        ("nodes: c001\nkey: dsa", "x.yaml:3: key: 'dsa' is not known"),
        ("nodes: c001\nports: {nodes: '0'}", "x.yaml:3: ports: '0' is not a port"),
        ("nodes: c001\npythons: {nodes: 3.6.15}", "x.yaml:3: pythons: '3.6.15' is no version such as 3.6"),
        ("nodes: c001\ndebian: sarge", "x.yaml:3: debian: 'sarge' is not known"),
        ("nodes: c001\nsshd:\n  node: UseDNS no", "x.yaml:4: 'node' is neither a role nor a machine"),
        ("nodes: c001\nfiles:\n  - path: /a\n    on: c002", "x.yaml:5: 'c002' is neither a role nor a machine"),
        ("nodes: c001\nfiles:\n  - path: a", "x.yaml:4: path: 'a' must be absolute"),
        ("nodes: c001\nfiles: [{text: a}]", "x.yaml:3: path is missing"),
        ("nodes: c[001-003]\nnode_names: a[1-2]", "x.yaml:3: node_names: one for each of nodes"),
        ("nodes: c001\ncount: 2", "x.yaml:3: count: at least 1, at most as many as nodes"),
        ("controller: a", "nodes: 1 to 64 hosts"),
        ("nodes: c[001-065]", "x.yaml:2: nodes: 1 to 64 hosts"),
        ("nodes: [c001]", "x.yaml:2: nodes: must be text"),
        ("nodes: c001\nusers: [a, a]", "x.yaml:3: users: must be a list, none of it twice"),
        ("nodes: c001\nstart: reboot", "x.yaml:3: start: must be a mapping"),
        ("nodes: c001\ncluster: none", "x.yaml:3: cluster: must be a mapping"),
    ],
)
def test_a_mistake_is_reported_with_its_line(line: str, mistake: str) -> None:
    with pytest.raises(ConfigError) as caught:
        read(f"about: wrong\n{line}\n")
    assert mistake in str(caught.value)


def test_a_site_says_what_it_is() -> None:
    with pytest.raises(ConfigError, match="about is missing"):
        read("nodes: c001\n")


def test_what_is_by_role_goes_from_all_over_the_role_to_the_machine() -> None:
    whole = read(WHOLE)
    assert whole.lines(whole.sshd, "GPU_2") == "UseDNS no\nAllowUsers root\nMaxSessions 1\n"
    assert whole.lines(whole.sshd, "login1") == "UseDNS no\n"
    assert [whole.port(machine) for machine in ("login1", "gate", "GPU_1")] == [22, 2022, 2200]


def test_a_machine_gets_its_files_its_accounts_and_its_sshd(home: Path, calls: Calls) -> None:
    made = write(state.new("a", None, read(WHOLE)))
    node, gate = (made.directory / "machines" / machine for machine in ("GPU_1", "gate"))
    assert (node / "sshd.conf").read_text() == "Port 2200\nUseDNS no\nAllowUsers root\n"
    script = (node / "site.sh").read_text()
    assert "ln -sf /opt/python/bin/python3.6 /usr/bin/python3\n" in script
    assert "install -D -m 0600 -o ops /lab/files/0 /etc/motd" in script
    assert script.index("useradd --no-create-home --uid 2002 --home-dir /users/ops") < script.index("install -D")
    assert "usermod --home /users/alice alice" in script
    assert (node / "files" / "0").read_text() == "hello"
    assert "install" not in (gate / "site.sh").read_text()
    assert "python" not in (gate / "site.sh").read_text()
    assert (gate / "site.sh").read_text().endswith("true\n")
    assert [(path / "role").read_text() for path in (node, gate)] == ["nodes\n", "gate\n"]


def test_everything_is_reached_through_the_gate(home: Path, calls: Calls) -> None:
    made = write(state.new("a", None, read(WHOLE)))
    assert made.machines == ("login1", "GPU_1", "GPU_2", "gate")
    text = (made.directory / "ssh_config").read_text()
    assert "Host login1\n    ProxyJump gate\n    Port 22\n" in text
    assert "Host gate\n    HostName 10.0.0.5\n    Port 2022\n" in text
    assert "Host GPU_2\n    ProxyJump login1\n    Port 2200\n" in text
    cluster = load_cluster(made.cluster_file, environ={})
    assert cluster.controller.jump is not None
    assert (cluster.controller.user, cluster.controller.jump.destination) == ("ops", "ops@10.0.0.5")
    assert cluster.registry.path == "/srv/images"
    known = [line.split()[0] for line in (made.directory / "known_hosts").read_text().splitlines()]
    assert known == [
        "login1,login1.example.org",
        "[GPU_1]:2200,[GPU_1.example.org]:2200",
        "[GPU_2]:2200,[GPU_2.example.org]:2200",
        "[gate]:2022,[gate.example.org]:2022",
        "10.0.0.2",
        "[10.0.0.5]:2022",
    ]


def test_slurm_calls_nodes_as_the_site_says(home: Path) -> None:
    text = configuration.slurm_conf(state.new("a", None, read(WHOLE)))
    assert "SlurmctldHost=login1\n" in text
    assert "NodeName=a NodeAddr=GPU_1 NodeHostname=GPU_1 CPUs=" in text
    assert text.endswith("PartitionName=main Nodes=ALL Default=YES MaxTime=INFINITE State=UP\n")
    full = configuration.slurm_conf(state.new("a", None, read("about: x\nnodes: big.example.org\n")))
    assert "NodeName=big.example.org NodeAddr=big.example.org NodeHostname=big CPUs=" in full


def test_a_lab_is_found_again_with_its_site(home: Path, calls: Calls) -> None:
    made = write(state.new("a", None, site.load("names")))
    state.save(made)
    assert state.load("a") == made
