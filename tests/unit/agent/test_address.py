"""To which addresses a node sends: those of other nodes, by phase 1's word."""

from __future__ import annotations

import socket
from pathlib import Path
from typing import Any

import pytest

from pytest_hpcregistry import agent
from pytest_hpcregistry.agent.address import check_peer, own_address, peers
from tests.fakes.registry import make_registry


@pytest.fixture
def registry(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    make_registry(tmp_path)
    (tmp_path / agent.PEERS).write_text(
        "# written by phase 1\nc1 10.1.2.1 10.9.9.1\nc2 10.1.2.2 fd00::2\nlogin 10.1.2.9\n"
    )
    monkeypatch.setenv("SSH_CONNECTION", "10.1.2.250 4711 10.1.2.1 22")
    return str(tmp_path)


@pytest.mark.parametrize(("node", "address"), [("c2", "10.1.2.2"), ("c2", "fd00::2"), ("login", "10.1.2.9")])
def test_another_nodes_address_is_taken(registry: str, node: str, address: str) -> None:
    check_peer(registry, node, address)


@pytest.mark.parametrize(
    ("node", "address"),
    [
        *(
            ("c2", address)
            for address in ("10.1.2.1", "10.9.9.1", "127.0.0.1", "::1", "10.1.2.0", "10.1.2.250", "8.8.8.8")
        ),
        *(
            ("c2", address)
            for address in ("169.254.169.254", "fe80::1", "::ffff:10.1.2.2", "fd00:0::2", "10.1.2.02", "")
        ),
        *(("c1", address) for address in ("10.1.2.1", "10.9.9.1", "10.1.2.2")),
        *((name, "10.1.2.2") for name in ("c3", "#", "", "C2", "10.1.2.2")),
    ],
)
def test_no_other_address_is(registry: str, node: str, address: str) -> None:
    """Not its own, not loopback, not the controller's, not one that phase 1 has not seen, not another node's."""
    with pytest.raises(agent.Refused, match="is not another node that phase 1 has seen"):
        check_peer(registry, node, address)


@pytest.mark.parametrize("what", [None, "", "\0\n", "c2\n"])
def test_without_a_list_there_is_nobody_to_send_to(registry: str, what: str | None) -> None:
    path = Path(registry, agent.PEERS)
    path.unlink() if what is None else path.write_text(what)
    with pytest.raises(agent.Refused):
        check_peer(registry, "c2", "10.1.2.2")


def test_the_own_address_is_where_the_controller_came_to(registry: str) -> None:
    assert own_address(None) == "10.1.2.1"


def test_the_own_address_in_a_network_is_where_the_route_begins() -> None:
    assert own_address("127.0.0.0/8") == "127.0.0.1"


class Probe:
    """In the place of a socket: where it was to connect to, and the address that the route begins at."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, address: str) -> None:
        self.address, self.asked = address, list[Any]()
        monkeypatch.setattr(socket, "socket", self.open)

    def open(self, *kind: Any) -> Probe:
        self.asked.append(kind)
        return self

    def __enter__(self) -> Probe:
        return self

    def __exit__(self, *_: object) -> None:
        self.asked.append("closed")

    def connect(self, place: tuple[str, int]) -> None:
        self.asked.append(place)

    def getsockname(self) -> tuple[str, int]:
        return (self.address, 40000)


@pytest.mark.parametrize(
    ("network", "address", "family", "first"),
    [
        ("10.20.0.0/16", "10.20.0.7", socket.AF_INET, "10.20.0.1"),
        ("fd00:0:0:1::/64", "fd00:0:0:1::7", socket.AF_INET6, "fd00:0:0:1::1"),
    ],
)
def test_a_network_is_asked_for_by_its_first_address(
    network: str, address: str, family: int, first: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    probe = Probe(monkeypatch, address)
    assert own_address(network) == address
    assert probe.asked == [(family, socket.SOCK_DGRAM), (first, 9), "closed"]


def test_a_node_that_is_not_in_the_network(monkeypatch: pytest.MonkeyPatch) -> None:
    Probe(monkeypatch, "10.21.0.7")
    with pytest.raises(agent.Refused, match=r"^no address in 10\.20\.0\.0/16 here$"):
        own_address("10.20.0.0/16")


def test_what_phase_1_wrote_down(registry: str) -> None:
    path = Path(registry, agent.PEERS)
    path.write_text("# c0 10.1.2.9\n\n \nc1  10.1.2.1\t10.9.9.1 \nc2\nX#Y 10.1.2.3")
    assert peers(registry) == {"c1": ["10.1.2.1", "10.9.9.1"], "c2": [], "X#Y": ["10.1.2.3"]}
    path.unlink()
    assert peers(registry) == {}
