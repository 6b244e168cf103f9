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
from pytest_hpcregistry.agent.pieces import Pieces
from pytest_hpcregistry.agent.relay import Relay, make_context
from pytest_hpcregistry.controller.engines import Job, relay
from pytest_hpcregistry.controller.engines.chain import MOST_FAULTS, Chain
from pytest_hpcregistry.controller.engines.relay import make_certificate
from pytest_hpcregistry.controller.sync import sync
from pytest_hpcregistry.core.errors import CommandFailed, HpcRegistryError, Unreachable
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


# --- the controller's end alone


class Agent:
    """In the place of a session: keeps what it is told."""

    def __init__(self) -> None:
        self.told: list[tuple[str, dict[str, Any]]] = []
        self.is_gone = False

    def tell(self, verb: str, request: dict[str, Any]) -> int:
        if self.is_gone:
            raise Unreachable("no answer in time")
        self.told.append((verb, request))
        return len(self.told)


@pytest.fixture
def transfer(nodes: FakeNodes, monkeypatch: pytest.MonkeyPatch) -> tuple[relay.Transfer, dict[str, Agent], list[str]]:
    """A transfer of 1000 bytes to c1, c2 and c3, which have joined; and what is said of it."""
    said: list[str] = []
    monkeypatch.setattr(relay, "make_certificate", lambda: "certificate")
    agents = {name: Agent() for name in ("c1", "c2", "c3")}
    job = replace(make_job(nodes, said.append), sessions=agents, sizes={"a" * 64: 1000})  # type: ignore[arg-type]
    found = relay.Transfer(job, ["a" * 64], 7)
    found.chain = Chain(found.pieces.total, "", lambda upstream, node: None, said.append)
    for number, name in enumerate(agents, 1):
        found.places[name] = (f"192.0.2.{number}", 4710 + number)
        found.chain.join(name, 0.0)
    return found, agents, said


def has(proven: int, arrived: int) -> dict[str, Any]:
    return {"event": "has", "bytes": proven, "arrived": arrived}


@pytest.mark.parametrize(("proven", "arrived"), [(500, 500), (501, 501), (500, 1032), (600, 1032), (1032, 1032)])
def test_numbers_that_go_forward_are_taken(transfer: Any, proven: int, arrived: int) -> None:
    found, _, _ = transfer
    found.chain.has("c1", 500, 500, 0.0)
    assert found.take_event("c1", has(proven, arrived), 1.0) == (proven == 1032)
    assert found.chain.members["c1"].history[-1] == (1.0, proven, arrived)


@pytest.mark.parametrize(("proven", "arrived"), [(499, 500), (1033, 1033), (600, 599), (600, 1033), (-1, 0)])
def test_numbers_that_go_back_or_beyond_the_end_are_that_nodes_failure(
    transfer: Any, proven: int, arrived: int
) -> None:
    found, _, _ = transfer
    found.chain.has("c1", 500, 500, 0.0)
    with pytest.raises(
        CommandFailed, match=rf"^c1: .* {proven} of 1032 bytes are there, {arrived} have come, and 500 "
    ):
        found.take_event("c1", has(proven, arrived), 1.0)
    assert found.chain.members["c1"].have == 500


@pytest.mark.parametrize(("piece", "most"), [(100, 100), (352, 352), (10, 320)])
def test_what_is_not_proven_yet_is_one_piece_or_all_digests(transfer: Any, piece: int, most: int) -> None:
    found, _, _ = transfer
    found.pieces = Pieces([(-1, 100 * 1000 if piece == 100 else 1000)], piece, "")
    found.pieces.digests = bytes(most if piece < most else 32)
    found.piece, found.pieces.total = piece, 5000
    found.check_progress("c1", 0, most)
    with pytest.raises(CommandFailed, match="is malformed"):
        found.check_progress("c1", 0, most + 1)


def test_progress_is_of_the_image_not_of_its_digests(transfer: Any) -> None:
    found, _, _ = transfer
    moved: list[tuple[str, int]] = []
    found.job = replace(found.job, moved=lambda node, size: moved.append((node, size)))
    for proven in (0, 32, 132):
        found.take_event("c1", has(proven, proven), 1.0)
    assert moved == [("c1", 0), ("c1", 0), ("c1", 100)]


def test_who_receives_is_told_before_who_sends(transfer: Any) -> None:
    found, agents, said = transfer
    found.connect("c1", "c2")
    ((verb, request),) = agents["c2"].told
    link = request["link"]
    assert (verb, len(link)) == ("expect", 16)
    assert found.links[link] == ("c1", "c2")
    assert agents["c1"].told == []
    assert not found.heard("c2", {"id": 1})
    order = {"node": "c2", "address": "192.0.2.2", "port": 4712, "link": link, "rate": 7}
    assert agents["c1"].told == [("send", order)]
    assert not found.heard("c2", {"id": 1}), "an answer is one answer"
    assert len(agents["c1"].told) == 1
    assert not found.heard("c1", {"id": 1, "error": "no", "hint": "why"})
    assert said == ["c1 does not send to c2: no: why"]


def test_an_answer_that_comes_too_late_sends_nobody(transfer: Any) -> None:
    found, agents, _ = transfer
    found.connect("c1", "c2")
    found.connect("c3", "c2")
    found.heard("c2", {"id": 1})
    assert agents["c1"].told == []
    found.heard("c2", {"id": 2})
    assert [verb for verb, _ in agents["c3"].told] == ["send"]
    links = [request["link"] for _, request in agents["c2"].told]
    assert len(set(links)) == 2


def test_who_will_not_expect_anybody_has_failed(transfer: Any) -> None:
    found, agents, _ = transfer
    found.connect("c1", "c2")
    with pytest.raises(CommandFailed, match=r"^c2: there is no transfer yet"):
        found.heard("c2", {"id": 1, "error": "there is no transfer yet"})
    assert agents["c1"].told == []


def test_who_cannot_be_told_is_no_failure_yet(transfer: Any) -> None:
    """It shows as a stall, and the chain knows what to do about that."""
    found, agents, _ = transfer
    agents["c2"].is_gone = True
    found.connect("c1", "c2")
    assert found.orders == {}


def test_one_that_refuses_is_taken_out_of_the_way(transfer: Any) -> None:
    found, _, _ = transfer
    found.chain.connect = found.connect
    c1, c2 = found.chain.members["c1"], found.chain.members["c2"]
    found.chain.link(c1, c2, 0.0)
    found.heard("c2", {"id": 1})
    found.heard("c1", {"id": 1, "error": "no"})
    assert c1.banned


def test_events_reach_the_chain(transfer: Any) -> None:
    found, _, _ = transfer
    calls: list[Any] = []
    found.chain.blame = lambda *words: calls.append(("blame", *words))
    found.chain.link_failed = lambda *words: calls.append(("link_failed", *words))
    found.links = {"aa": ("c1", "c2")}
    for event in (
        {"event": "bad_piece", "link": "aa"},
        {"event": "bad_piece", "link": "bb"},
        {"event": "send_failed", "node": "c3"},
        {"event": "whatever"},
    ):
        assert not found.take_event("c2", event, 5.0)
    assert calls == [("blame", "c1", "c2", 5.0), ("blame", "", "c2", 5.0), ("link_failed", "c2", "c3", 5.0)]
    assert not found.heard("c2", None)
    with pytest.raises(CommandFailed, match=r"^c2: cannot write there: No space\\x1b"):
        found.take_event("c2", {"event": "failed", "why": "No space\x1b"}, 5.0)


def test_a_transfer_has_a_deadline_and_stuck_nodes_have_failed(transfer: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    found, _, _ = transfer
    monkeypatch.setattr(time, "monotonic", lambda: found.deadline)
    found.check("c1")
    found.chain.members["c1"].faults = MOST_FAULTS - 1
    found.check("c1")
    found.chain.members["c1"].faults = MOST_FAULTS
    with pytest.raises(CommandFailed, match=r"^c1: received 0 of 1032 bytes; no other node could send it the rest"):
        found.check("c1")
    found.check("c2")
    monkeypatch.setattr(time, "monotonic", lambda: found.deadline + 0.1)
    with pytest.raises(CommandFailed, match=r"^c2: not all bytes came within 20 s"):
        found.check("c2")
    found.broken = "KeyError: x"
    with pytest.raises(relay.Ended, match="KeyError: x"):
        found.check("c2")


def test_the_controller_sends_to_one_node_at_a_time(transfer: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    found, _, said = transfer
    calls: list[Any] = []

    class Sender:
        def __init__(self, pieces: Pieces, certificate: str, order: dict[str, Any], tell: Any) -> None:
            assert (pieces, certificate) == (found.pieces, "certificate")
            self.node, self.tell = order["node"], tell

        def start(self) -> None:
            calls.append(("start", self.node))

        def stop(self) -> None:
            calls.append(("stop", self.node))

    monkeypatch.setattr(relay, "Sender", Sender)
    for number, node in enumerate(("c1", "c2")):
        found.chain.link(found.chain.controller, found.chain.members[node], 0.0)
        found.connect("", node)
        found.heard(node, {"id": 1})
        assert len(calls) == 2 * number + 1
    assert calls == [("start", "c1"), ("stop", "c1"), ("start", "c2")]
    found.sender.tell({"event": "send_failed", "node": "c2"})
    assert said == ["c2 cannot be sent to by the controller: taken out of the chain, it gets its bytes later"]


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


class Asked:
    """A session that refuses, and keeps what it was asked."""

    def __init__(self, node: str, answer: Callable[[], None]) -> None:
        self.node, self.answer = node, answer
        self.asked: list[dict[str, Any]] = []

    def ask(self, verb: str, request: dict[str, Any]) -> dict[str, Any]:
        self.asked.append({"verb": verb, **request})
        self.answer()
        raise CommandFailed("no", where=self.node)


def test_a_failure_is_told_before_the_others_have_ended(nodes: FakeNodes) -> None:
    """And each node is asked for its address in the network of the transfers."""
    failed, told = threading.Event(), list[str]()

    def wait() -> None:
        assert failed.wait(20)

    def tell(node: str, error: HpcRegistryError) -> None:
        told.append(f"{node}: {error.what}")
        failed.set()

    sessions: Any = {"c1": Asked("c1", lambda: None), "c2": Asked("c2", wait)}
    work = replace(make_job(nodes, pytest.fail), sessions=sessions, failed=tell)
    work = replace(work, settings=change(nodes.settings, network="10.20.0.0/16"))
    outcomes = relay.Transfer(work, []).run(["c1", "c2"])
    assert told == ["c1: no", "c2: no"]
    assert {node: str(one) for node, one in outcomes.items()} == {"c1": "c1: no", "c2": "c2: no"}
    for session in sessions.values():
        ((asked),) = session.asked
        assert (asked["verb"], asked["network"], asked["objects"]) == ("relay", "10.20.0.0/16", [])
