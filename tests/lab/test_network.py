"""A network for images beside the one for logins: bytes go there, to the same machines."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from pytest_hpcregistry import lab
from pytest_hpcregistry.lab.podman import podman

from .conftest import Cli
from .machines import Machines, edit_cluster

pytestmark = pytest.mark.lab
SIZE = 2 << 10  # kilobytes
Sifs = Callable[..., Path]


@pytest.fixture(scope="module")
def network(set_up_lab: lab.LabState) -> Iterator[str]:
    """A second network with all machines in it; its addresses (CIDR)."""
    name = f"{set_up_lab.network}-images"
    containers = list(map(set_up_lab.container, set_up_lab.machines))
    podman("network", "create", "--disable-dns", name).check()
    for container in containers:
        podman("network", "connect", name, container).check()
    yield podman("network", "inspect", "--format", "{{range .Subnets}}{{.Subnet}}{{end}}", name).check().stdout.strip()
    for container in containers:
        podman("network", "disconnect", "--force", name, container)
    podman("network", "rm", "--force", name)


@pytest.fixture(scope="module")
def cluster(network: str, set_up_lab: lab.LabState, cli: Cli, tmp_path_factory: pytest.TempPathFactory) -> Path:
    target = tmp_path_factory.mktemp("cluster") / "cluster.yaml"
    edit_cluster(set_up_lab.cluster_file, target, sync={"network": network})
    cli("registry", "setup", cluster=target).check()
    return target


@pytest.mark.parametrize("engine", ["star", "relay"])
def test_images_go_over_the_network_for_them(
    engine: str, cluster: Path, cli: Cli, set_up_lab: lab.LabState, sif: Sifs
) -> None:
    machines = Machines(set_up_lab)
    cli("deploy", "single", sif(f"by-{engine}", SIZE), cluster=cluster).check()

    def received(interface: str) -> list[int]:
        count = f"cat /sys/class/net/{interface}/statistics/rx_bytes"
        return [int(machines.tell(node, count)) for node in set_up_lab.nodes]

    before = {interface: received(interface) for interface in ("eth0", "eth1")}
    cli("sync", "--engine", engine, cluster=cluster).check()
    more = {name: [now - then for now, then in zip(received(name), old, strict=True)] for name, old in before.items()}
    assert all(count > SIZE << 10 for count in more["eth1"])
    assert all(count < SIZE << 9 for count in more["eth0"])
    assert len(machines.digests(f"ml-frameworks/by-{engine}.sif")) == 1


def test_a_network_that_a_node_is_not_in(cluster: Path, cli: Cli, sif: Sifs, tmp_path: Path) -> None:
    """The cluster file is not what the sync reads: phase 1 wrote it to the controller."""
    elsewhere = edit_cluster(cluster, tmp_path / "cluster.yaml", sync={"network": "198.51.100.0/24"})
    cli("registry", "setup", cluster=elsewhere).check()
    said = cli("deploy", "single", "-s", sif("nowhere"), cluster=elsewhere)
    assert said.exit_code == 4
    assert "c[001-003]: no address in 198.51.100.0/24 here" in said.stderr
