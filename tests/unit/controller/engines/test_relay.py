"""The relay over nodes that are directories: real agents, real TLS on the loopback, nothing of ssh."""

from __future__ import annotations

import contextlib
import hashlib
import os
import socket
import ssl
import threading
import time
import zipfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from pytest_hpcregistry import agent
from pytest_hpcregistry.agent.relay import Relay, make_context
from pytest_hpcregistry.controller.engines import Job, relay
from pytest_hpcregistry.controller.engines.chain import Chain
from pytest_hpcregistry.controller.engines.relay import make_certificate
from pytest_hpcregistry.controller.sync import sync
from pytest_hpcregistry.testing.listener import recorder
from tests.fakes.nodes import FakeNodes, make_registry
from tests.fakes.settings import change

NAME, OTHER = "ml-frameworks/x.sif", "base-images/y.sif"
LINK = bytes(range(8))
NODES = tuple(f"c{number}" for number in range(1, 7))


@pytest.fixture
def nodes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeNodes:
    found = FakeNodes(tmp_path, *NODES)
    found.use(monkeypatch)
    found.settings = change(found.settings, method="relay")
    return found


def make_job(nodes: FakeNodes, say: Callable[[str], None]) -> Job[str]:
    """A job of nothing, for a part of the engine alone."""
    return Job(
        wanted={},
        sizes={},
        bases={},
        sessions={},
        settings=nodes.settings,
        arrived=lambda node: "",
        moved=lambda node, size: None,
        sent=lambda node, size: None,
        say=say,
        leave=lambda node: None,
        turns=contextlib.nullcontext(),
        failed=lambda node, error: None,
        open_object=lambda digest: -1,
    )


def run(nodes: FakeNodes) -> tuple[dict[str, str], list[dict[str, Any]]]:
    told: list[dict[str, Any]] = []
    outcomes = sync(nodes.settings, None, None, recorder(told))
    return {node: outcome.message or outcome.state for node, outcome in outcomes.items()}, told


def test_every_node_gets_every_byte(nodes: FakeNodes) -> None:
    digest = nodes.publish(NAME, os.urandom(3 << 20))
    states, told = run(nodes)
    assert states == dict.fromkeys(NODES, "synced")
    for node in NODES:
        assert hashlib.sha256((nodes.root / node / "registry" / NAME).read_bytes()).hexdigest() == digest
        assert nodes.asked(node) == ["session"], "one login"
        assert list((nodes.root / node / "registry" / agent.STAGING).iterdir()) == []
    assert [event["engine"] for event in told if event["event"] == "transfer_started"] == ["relay"]


def test_several_images_at_once_and_only_what_is_lacking(nodes: FakeNodes) -> None:
    nodes.publish(NAME, os.urandom(200_000))
    run(nodes)
    nodes.publish(OTHER, os.urandom(300_001))
    (nodes.root / "c2" / "registry" / NAME).unlink()
    for path in (nodes.root / "c2" / "registry" / agent.OBJECTS).iterdir():
        path.unlink()
    states, _ = run(nodes)
    assert states == dict.fromkeys(NODES, "synced")
    assert all(nodes.files(node) == nodes.files("c1") for node in NODES)


def make_liar(nodes: FakeNodes) -> None:
    """An agent that sends other bytes than it has."""
    honest = '        return b"".join(parts)\n'
    with zipfile.ZipFile(nodes.root / "agent.pyz") as program, zipfile.ZipFile(nodes.root / "liar.pyz", "w") as liar:
        for name in program.namelist():
            text = program.read(name).decode()
            if name.endswith("agent/pieces.py"):
                assert honest in text
                text = text.replace(honest, '        return b"".join(parts)[:-1] + b"?"\n')
            liar.writestr(name, text)


@pytest.mark.parametrize("liar", NODES)
def test_a_node_that_sends_wrong_bytes_costs_nobody_else_anything(
    nodes: FakeNodes, liar: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    tick = Chain.tick
    # Only once all have joined, so that c6 is the last, which sends to nobody.
    monkeypatch.setattr(Chain, "tick", lambda chain, now: len(chain.members) > len(NODES) and tick(chain, now))
    digest = nodes.publish(NAME, os.urandom(2 << 20))
    make_liar(nodes)
    nodes.trouble(liar, "lies")
    states, told = run(nodes)
    assert states == dict.fromkeys(NODES, "synced"), "the liar's own bytes are right"
    for node in NODES:
        assert hashlib.sha256((nodes.root / node / "registry" / NAME).read_bytes()).hexdigest() == digest
    blamed = [event["message"].split()[0] for event in told if "sent wrong bytes to" in event.get("message", "")]
    assert blamed == ([liar] if liar != NODES[-1] else [])


def test_a_node_that_cannot_write_is_named_and_the_others_finish(nodes: FakeNodes) -> None:
    nodes.publish(NAME, os.urandom(1 << 20))
    (nodes.root / "c3" / "registry" / agent.STAGING).rmdir()
    (nodes.root / "c3" / "registry" / agent.STAGING).symlink_to("/dev/full")
    states, _ = run(nodes)
    assert states.pop("c3").startswith("Not a directory: ")
    assert states == dict.fromkeys(set(NODES) - {"c3"}, "synced")


def test_no_chain_waits_for_another_nor_for_a_node_that_lacks_nothing(
    nodes: FakeNodes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """c1 lacks nothing, c2 and c3 lack different objects: each ends only when all three have begun."""
    one, two = nodes.publish(NAME, b"1"), nodes.publish("ml-frameworks/y.sif", b"2")
    together = threading.Barrier(3)

    class Meeting:
        def __init__(self, job: Job[str], digests: Sequence[str], rate: int) -> None:
            self.words = f"{digests[0]} at {rate}"

        def run(self, to: Sequence[str]) -> dict[str, str]:
            together.wait(20)
            return dict.fromkeys(to, self.words)

    def arrived(node: str) -> str:
        together.wait(20)
        return "nothing lacked"

    monkeypatch.setattr(relay, "Transfer", Meeting)
    settings = change(nodes.settings, limit_rate=1000)
    wanted = {"c1": [], "c2": [one], "c3": [two]}
    job = replace(make_job(nodes, lambda text: None), wanted=wanted, settings=settings, arrived=arrived)
    # The limit is one of all that the controller sends.
    assert relay.distribute(job) == {"c1": "nothing lacked", "c2": f"{one} at 500", "c3": f"{two} at 500"}


def test_who_sends_to_one_node_is_a_stranger_to_the_others(nodes: FakeNodes) -> None:
    """It may come late to where it was to send; everywhere else it has no business, whatever it is told to send."""
    said: list[str] = []
    transfer = relay.Transfer(make_job(nodes, said.append), [])
    transfer.places = {"c1": ("192.0.2.1", 1), "c2": ("192.0.2.2", 2), "c3": ("192.0.2.3", 3)}
    transfer.links = {"00": ("", "c1"), "01": ("c1", "c2")}
    transfer.tell_of_stranger("c2", "192.0.2.1")
    assert said == []
    for _ in range(2):
        transfer.tell_of_stranger("c3", "192.0.2.1")
        transfer.tell_of_stranger("c3", "198.51.100.9")
    assert said == [
        f"{who} connected to c3 without being told to: refused" for who in ("c1", "somebody at 198.51.100.9")
    ]


# --- one end alone


@pytest.fixture
def waiting(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[Relay, bytes, list[dict[str, Any]]]]:
    """A node that waits for an object; the object; and what the node says."""
    make_registry(tmp_path)
    monkeypatch.setenv("SSH_CONNECTION", "127.0.0.1 1 127.0.0.1 22")
    data = os.urandom(100_000)
    said: list[dict[str, Any]] = []
    digests = hashlib.sha256(data).digest()
    request = {
        "objects": [{"digest": hashlib.sha256(data).hexdigest(), "size": len(data)}],
        "piece": 128 << 10,
        "index": hashlib.sha256(digests).hexdigest(),
        "certificate": make_certificate(),
    }
    relay = Relay(str(tmp_path), request, said.append)
    relay.receiver.expect(LINK.hex())
    yield relay, digests + data, said
    relay.close()


def staged(relay: Relay) -> Path:
    return Path(relay.registry, agent.STAGING, relay.files[0][1])


def wait_until(is_so: Callable[[], Any], seconds: float = 10) -> None:
    deadline = time.monotonic() + seconds
    while not is_so():
        assert time.monotonic() < deadline, "it never came to that"
        time.sleep(0.01)


def connect(relay: Relay, context: ssl.SSLContext | None) -> socket.socket:
    plain = socket.create_connection((relay.address, relay.receiver.port), 5)
    plain.settimeout(5)
    if context is None:
        return plain
    link = context.wrap_socket(plain)
    try:
        link.sendall(LINK)
    except OSError:
        link.close()
        raise
    return link


def test_who_has_the_certificate_is_let_in(waiting: tuple[Relay, bytes, list[dict[str, Any]]]) -> None:
    relay, run_of_bytes, said = waiting
    with connect(relay, make_context(relay.certificate, server=False)) as link:
        assert link.recv(8) == bytes(8), "it has nothing yet"
        link.sendall(run_of_bytes)
        assert link.recv(1) == b""
    assert said[-1] == {"event": "has", "bytes": len(run_of_bytes), "arrived": len(run_of_bytes)}
    assert staged(relay).read_bytes() == run_of_bytes[32:]
    relay.close()
    assert not staged(relay).exists(), "what was not published does not stay"
    with pytest.raises(OSError, match="refused"):
        connect(relay, None)


def strangers(certificate: str) -> dict[str, ssl.SSLContext | None]:
    nobody = ssl.create_default_context()
    nobody.check_hostname, nobody.verify_mode = False, ssl.CERT_NONE
    other = make_context(make_certificate(), server=False)
    other.verify_mode = ssl.CERT_NONE
    return {"without TLS": None, "without a certificate": nobody, "with another certificate": other}


@pytest.mark.parametrize("who", ["without TLS", "without a certificate", "with another certificate"])
def test_a_stranger_gets_nothing_and_brings_nothing(
    waiting: tuple[Relay, bytes, list[dict[str, Any]]], who: str
) -> None:
    relay, run_of_bytes, said = waiting
    with contextlib.suppress(OSError), connect(relay, strangers(relay.certificate)[who]) as link:
        link.sendall(run_of_bytes)
        assert link.recv(8) == b""
    wait_until(lambda: said)
    assert said == [{"event": "stranger", "address": "127.0.0.1", "link": ""}]
    assert relay.pieces.have == 0
    assert relay.receiver.upstream is None


def test_silent_strangers_do_not_keep_the_upstream_out(waiting: tuple[Relay, bytes, list[dict[str, Any]]]) -> None:
    relay = waiting[0]
    with contextlib.ExitStack() as open_connections:
        for _ in range(100):
            open_connections.enter_context(connect(relay, None))
        link = open_connections.enter_context(connect(relay, make_context(relay.certificate, server=False)))
        assert link.recv(8) == bytes(8)


def test_another_upstream_goes_on_where_the_first_was(waiting: tuple[Relay, bytes, list[dict[str, Any]]]) -> None:
    relay, run_of_bytes, said = waiting
    context = make_context(relay.certificate, server=False)
    first = connect(relay, context)
    assert first.recv(8) == bytes(8)
    first.sendall(run_of_bytes[:32])
    while relay.pieces.have < 32:
        time.sleep(0.01)
    relay.receiver.expect(LINK.hex())
    with connect(relay, context) as second:
        assert second.recv(8) == (32).to_bytes(8, "big")
        second.sendall(run_of_bytes[32:])
        assert second.recv(1) == b""
    first.close()
    assert said[-1]["bytes"] == len(run_of_bytes)


def test_wrong_bytes_are_told_and_not_kept(waiting: tuple[Relay, bytes, list[dict[str, Any]]]) -> None:
    relay, run_of_bytes, said = waiting
    with connect(relay, make_context(relay.certificate, server=False)) as link:
        link.recv(8)
        link.sendall(run_of_bytes[:-1] + b"?" * 2)
        with contextlib.suppress(ConnectionError):
            link.recv(1)
    assert said[-1] == {"event": "bad_piece", "link": LINK.hex()}
    assert staged(relay).read_bytes() == b""


def test_a_full_disk_is_told(waiting: tuple[Relay, bytes, list[dict[str, Any]]]) -> None:
    relay, run_of_bytes, said = waiting
    full = os.open("/dev/full", os.O_RDWR)
    whole = relay.pieces.files
    relay.pieces.files = [(full, size) for _, size in whole]
    with connect(relay, make_context(relay.certificate, server=False)) as link:
        link.recv(8)
        link.sendall(run_of_bytes)
        with contextlib.suppress(ConnectionError):
            link.recv(1)
    relay.pieces.files = whole
    os.close(full)
    assert said[-1] == {"event": "failed", "why": "No space left on device"}


RIGHT = {"objects": [{"digest": "a" * 64, "size": 9}], "piece": 1 << 17, "index": "b" * 64}
TOO_LARGE = [{"digest": "a" * 64, "size": 1 << 49}]
WRONG = [{"certificate": "no certificate"}, {"network": "10.99.0.0/16"}, {"objects": TOO_LARGE}]


@pytest.mark.parametrize("wrong", WRONG)
def test_a_relay_that_is_refused_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, wrong: dict[str, Any]
) -> None:
    monkeypatch.setenv("SSH_CONNECTION", "127.0.0.1 1 127.0.0.1 22")
    make_registry(tmp_path)
    with pytest.raises((agent.Refused, ValueError, OSError)):
        Relay(str(tmp_path), {**RIGHT, "certificate": make_certificate(), **wrong}, lambda said: None)
    assert list((tmp_path / agent.STAGING).iterdir()) == []


def test_a_link_to_an_older_object_is_not_written_to(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A sync by star that was cut off may have left one in staging/, under the same digest."""
    monkeypatch.setenv("SSH_CONNECTION", "127.0.0.1 1 127.0.0.1 22")
    make_registry(tmp_path)
    older, digest = tmp_path / "older", "a" * 64
    older.write_bytes(b"older")
    (tmp_path / agent.STAGING / digest).hardlink_to(older)
    request = {
        "objects": [{"digest": digest, "size": 9}],
        "piece": 1 << 17,
        "index": "",
        "certificate": make_certificate(),
    }
    Relay(str(tmp_path), request, lambda said: None).close()
    assert older.read_bytes() == b"older"


def test_where_no_node_may_send_to_another_the_controller_sends_to_all(nodes: FakeNodes) -> None:
    """Phase 1 was not run there since the nodes came: they do not know one another, and say so."""
    for node in NODES:
        (nodes.root / node / "registry" / agent.PEERS).write_text("")
    nodes.publish(NAME, os.urandom(1 << 20))
    states, told = run(nodes)
    assert states == dict.fromkeys(NODES, "synced")
    said = " ".join(event.get("message", "") for event in told)
    assert "is not another node that phase 1 has seen" in said


def test_a_directory_in_staging_is_in_nobodys_way(nodes: FakeNodes) -> None:
    """A thief may have put it there, under the digest that is to come."""
    digest = nodes.publish(NAME, os.urandom(1 << 20))
    for node, method in (("c1", "relay"), ("c2", "relay")):
        (nodes.root / node / "registry" / agent.STAGING / digest / "full").mkdir(parents=True)
        nodes.settings = change(nodes.settings, method=method)
    states, _ = run(nodes)
    assert states == dict.fromkeys(NODES, "synced")


def test_pieces_of_another_size_are_refused(waiting: tuple[Relay, bytes, list[dict[str, Any]]]) -> None:
    """Small ones of a large image would cost the node a digest of each in memory."""
    relay, _, said = waiting
    sizes = {"objects": [{"digest": "a" * 64, "size": 1 << 32}], "piece": 128 << 10, "index": "b" * 64}
    with pytest.raises(agent.Refused, match="4294967296 bytes come in pieces of 1048576, not 131072"):
        Relay(relay.registry, {**sizes, "certificate": relay.certificate}, said.append)
