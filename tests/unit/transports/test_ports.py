"""Why the controller passes no connection on to a node: real sockets, asked by the script that is sent there."""

from __future__ import annotations

import socket
import sys
from collections.abc import Iterator, Sequence

import pytest

from pytest_hpcregistry.core.routes import Route
from pytest_hpcregistry.transports import CommandResult
from pytest_hpcregistry.transports.ports import why_not_reached
from pytest_hpcregistry.transports.process import run_process


def run(argv: Sequence[str], stdin: bytes, timeout: float) -> CommandResult:
    return run_process("controller", [sys.executable, *argv[1:]], stdin=stdin, timeout=timeout)


@pytest.fixture
def listening() -> Iterator[int]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


@pytest.fixture
def closed() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port: int = server.getsockname()[1]
    return port


def test_each_node_has_its_own_reason(listening: int, closed: int) -> None:
    routes = {
        "c1": Route("127.0.0.1", listening),
        "c2": Route("127.0.0.1", closed),
        "no-such-name.invalid": Route(),
        "c4": Route("127.0.0.1", closed, proxy="ssh -W %h:%p gate"),  # the controller does not go there itself
    }
    assert why_not_reached(run, routes) == {
        "c1": "the controller reaches it, but its sshd passes nothing on to it (AllowTcpForwarding, PermitOpen)",
        "c2": f"connection refused by the port {closed}",
        "no-such-name.invalid": "the controller does not know the name no-such-name.invalid",
    }


def test_a_network_that_is_not_there() -> None:
    assert why_not_reached(run, {"c1": Route("255.255.255.255")}) == {"c1": "no route from the controller"}


def test_nobody_is_asked_about_nothing() -> None:
    def never(*_: object) -> CommandResult:
        raise AssertionError

    assert why_not_reached(never, {"c1": Route(proxy="nc %h %p")}) == {}


def test_what_else_the_controller_prints_says_nothing() -> None:
    said = "Welcome\nc1 hacked\nc2\nc3 refused of c3\nc1 reached\nc4 \x1b[31m\n"
    answer = CommandResult("controller", (), 0, said, "", 0.1)
    found = why_not_reached(lambda *_: answer, {"c1": Route(), "c4": Route()})
    assert list(found) == ["c1"]
    assert "AllowTcpForwarding" in found["c1"]
