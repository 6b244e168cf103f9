"""Which route a command of the controller takes to a node, and how little it asks for that."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import pytest

from pytest_hpcregistry.controller import nodes, routes
from pytest_hpcregistry.core.fanout import fan_out
from pytest_hpcregistry.core.routes import Jump, NodeRoute, Route
from pytest_hpcregistry.transports import CommandResult
from pytest_hpcregistry.transports.routes import SLURM_SAYS, SSH_SAYS
from tests.fakes.settings import make_settings

SLURM = "slurm rack7-01 node01 node01\nslurm rack7-02 10.0.0.2 node02\n"


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """No name resolves, and Slurm knows two nodes: the scripts that were run."""
    found: list[str] = []

    def answer(where: str, argv: Sequence[str], *, stdin: bytes, timeout: float) -> CommandResult:
        found.append(argv[-1])
        said = SLURM if argv[-1] == SLURM_SAYS else f"node {stdin.decode()}hostname {stdin.decode()}"
        return CommandResult(where, tuple(argv), 0, said, "", 0.0)

    monkeypatch.setattr(routes, "run_process", answer)
    monkeypatch.setattr(routes, "resolves", lambda name: False)
    routes.address_beside.cache_clear()
    routes.slurm_hosts_once.cache_clear()
    yield found
    routes.address_beside.cache_clear()
    routes.slurm_hosts_once.cache_clear()


def test_a_name_that_resolves_asks_nobody(asked: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(routes, "resolves", lambda name: True)
    assert routes.route_to("rack7-01", ()) == Route()
    assert asked == []


def test_slurm_is_asked_once_however_many_nodes_wait_for_it(asked: list[str]) -> None:
    names = ["rack7-01", "rack7-02", "x"]
    found: dict[str, Any] = fan_out(names * 2, lambda node: routes.route_to(node, ()), window=6)
    assert {node: route.address for node, route in found.items()} == {
        "rack7-01": "node01",
        "rack7-02": "10.0.0.2",
        "x": None,
    }
    assert asked.count(SLURM_SAYS) == 1
    assert set(asked) == {SLURM_SAYS, SSH_SAYS}


def test_an_address_of_the_cluster_file_is_taken_as_it_is(asked: list[str]) -> None:
    wanted = (NodeRoute(nodes="rack7-[01-02]", address="10.1.1.[1-2]"),)
    assert routes.route_to("rack7-02", wanted) == Route("10.1.1.2")
    assert asked == []


def test_a_name_that_the_machine_in_front_knows_is_left_to_it(asked: list[str]) -> None:
    wanted = (NodeRoute(nodes="rack7-01", jump=Jump("gate")),)
    assert routes.route_to("rack7-01", wanted).address is None


@pytest.mark.parametrize("address", [None, "10.7.7.7"])
def test_the_host_key_is_that_of_the_name_whatever_the_way(asked: list[str], address: str | None) -> None:
    settings = make_settings("/r", routes=(NodeRoute(nodes="slurm", port=2200),))
    argv = nodes.sync_ssh("rack7-01", settings, address)
    assert argv[-3:] == ["-o", "HostKeyAlias=rack7-01", "root@rack7-01"]
    assert f"HostName={address or 'node01'}" in argv
    assert argv[argv.index("-p") + 1] == "2200"
