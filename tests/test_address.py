"""To which addresses a node sends: those of other nodes, by phase 1's word."""

from __future__ import annotations

from pathlib import Path

import pytest

from pytest_hpcregistry import agent
from pytest_hpcregistry.agent.address import check_peer, own_address

from .one_registry import make_registry


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
