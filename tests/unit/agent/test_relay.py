"""What one end of a relay does by itself. Two ends and the controller: tests/unit/controller/engines/test_relay.py."""

from __future__ import annotations

import contextlib
import os
import socket
import ssl
import stat
import threading
import time
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from pytest_hpcregistry import agent
from pytest_hpcregistry.agent import relay
from pytest_hpcregistry.agent.facts import RESERVE
from pytest_hpcregistry.agent.pieces import Pieces
from pytest_hpcregistry.agent.relay import MOST_AT_DOOR, MOST_TOLD_OF, Receiver, Relay
from pytest_hpcregistry.controller.engines.relay import make_certificate
from tests.fakes.registry import NEW, make_registry, names_in

SIZE = 1 << 20  # bytes


class Link:
    """The other end has nothing yet; what is sent to it is kept with the time, in seconds that only pass in sleep."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 0.0
        self.came: list[tuple[float, bytes]] = []
        monkeypatch.setattr(time, "monotonic", lambda: self.now)
        monkeypatch.setattr(time, "sleep", self.sleep)

    def sleep(self, seconds: float) -> None:
        self.now += seconds

    def settimeout(self, seconds: float | None) -> None:
        pass

    def recv(self, length: int) -> bytes:
        return bytes(length)

    def sendall(self, data: bytes) -> None:
        self.came.append((self.now, data))


def send(tmp_path: Path, link: Any, rate: int) -> bytes:
    """What a sender has sent at a *rate* (bytes/s; 0: no limit); returns what it should have."""
    file = tmp_path / "object"
    file.write_bytes(os.urandom(SIZE))
    with file.open("rb") as opened:
        pieces = Pieces([(opened.fileno(), SIZE)], 128 << 10, "")
        pieces.load_index()
        order = {"node": "c2", "address": "192.0.2.1", "port": 1, "link": "ab" * 8, "rate": rate}
        relay.Sender(pieces, "", order, lambda said: None).send(link)
    return bytes.fromhex("ab" * 8) + pieces.digests + file.read_bytes()


@pytest.mark.parametrize("rate", [1_000, 100_000, 500_000])
def test_a_limited_rate_is_even(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, rate: int) -> None:
    """Whoever gets nothing for two seconds is taken for dead: a block of 256 KiB at once would be that."""
    link = Link(monkeypatch)
    assert send(tmp_path, link, rate) == b"".join(data for _, data in link.came)
    times = [now for now, _ in link.came]
    assert max(later - earlier for earlier, later in pairwise(times)) <= 0.25
    assert times[-1] == pytest.approx(SIZE / rate, rel=0.1, abs=0.3)


def test_without_a_limit_nothing_waits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    link = Link(monkeypatch)
    assert send(tmp_path, link, 0) == b"".join(data for _, data in link.came)
    assert link.now == 0
    assert len(link.came) < 10


# --- the door


class Caller:
    """A connection that can only be hung up on."""

    def __init__(self) -> None:
        self.is_open = True


Told = list[dict[str, Any]]


@pytest.fixture
def door(monkeypatch: pytest.MonkeyPatch) -> tuple[Receiver, Told]:
    """A receiver that nobody can call, and what it tells."""
    receiver, told = Receiver.__new__(Receiver), Told()
    receiver.turn = threading.Lock()
    receiver.at_door, receiver.told_of = {}, set()
    receiver.expected, receiver.upstream = None, None
    receiver.tell, receiver.told = told.append, 0.0
    monkeypatch.setattr(relay, "hang_up", lambda caller: setattr(caller, "is_open", False))
    return receiver, told


def test_a_crowd_at_the_door_costs_the_crowd_its_oldest(door: tuple[Receiver, Told]) -> None:
    receiver, _ = door
    callers: Any = [Caller() for _ in range(MOST_AT_DOOR + 2)]
    receiver.open_door(callers[0], "192.0.2.1")
    for caller in callers[1:MOST_AT_DOOR]:
        receiver.open_door(caller, "198.51.100.9")
    assert all(caller.is_open for caller in callers), "so many may wait"
    receiver.open_door(callers[MOST_AT_DOOR], "192.0.2.2")
    receiver.open_door(callers[MOST_AT_DOOR + 1], "192.0.2.1")
    assert [caller for caller in callers if not caller.is_open] == callers[1:3]
    assert list(receiver.at_door) == [callers[0], *callers[3:]]
    assert receiver.at_door[callers[MOST_AT_DOOR]] == "192.0.2.2"


@pytest.fixture(scope="module")
def certificate() -> str:
    return make_certificate()


@pytest.mark.parametrize("address", ["127.0.0.1", "::1"])
def test_a_receiver_listens_at_its_own_address_only(certificate: str, address: str) -> None:
    try:
        receiver = Receiver(Pieces([(-1, 1000)], 100, ""), certificate, address, lambda said: None)
    except OSError:
        pytest.skip(f"this machine has no {address}")
    try:
        assert receiver.listener.getsockname()[:2] == (address, receiver.port)
    finally:
        receiver.close()


def is_hung_up(caller: socket.socket, within: float) -> bool:
    caller.settimeout(within)
    try:
        return caller.recv(1) == b""
    except ConnectionResetError:
        return True
    except TimeoutError:
        return False


def test_who_proves_nothing_is_hung_up_on(certificate: str, monkeypatch: pytest.MonkeyPatch) -> None:
    assert 0 < relay.HANDSHAKE <= 10
    monkeypatch.setattr(relay, "HANDSHAKE", 0.3)
    receiver = Receiver(Pieces([(-1, 1000)], 100, ""), certificate, "127.0.0.1", lambda said: None)
    with socket.create_connection(("127.0.0.1", receiver.port)) as silent:
        assert is_hung_up(silent, within=20)
    receiver.close()


def test_more_than_fit_at_the_door_cost_the_oldest(certificate: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(relay, "MOST_AT_DOOR", 2)
    monkeypatch.setattr(relay, "HANDSHAKE", 60)
    receiver = Receiver(Pieces([(-1, 1000)], 100, ""), certificate, "127.0.0.1", lambda said: None)
    with contextlib.ExitStack() as closing:
        one, two, three = (
            closing.enter_context(socket.create_connection(("127.0.0.1", receiver.port))) for _ in range(3)
        )
        assert is_hung_up(one, within=20)
        assert not is_hung_up(two, within=0.2)
        assert not is_hung_up(three, within=0.2)
    receiver.close()


def test_strangers_are_told_of_once_each_and_not_without_end(door: tuple[Receiver, Told]) -> None:
    receiver, told = door
    for number in range(MOST_TOLD_OF + 5):
        for _ in range(2):
            receiver.refuse(f"192.0.2.{number}", "ab")
    assert told == [
        {"event": "stranger", "address": f"192.0.2.{number}", "link": "ab"} for number in range(MOST_TOLD_OF)
    ]


def test_an_expected_link_is_let_in_once_and_takes_the_place_of_the_one_before(door: tuple[Receiver, Told]) -> None:
    receiver, _ = door
    callers: list[Any] = [Caller() for _ in range(3)]
    first, second, third = callers
    assert not receiver.take_upstream(first, ""), "nobody is expected"
    receiver.expect("aa")
    for name in ("", "a", "ab", "aaaa"):
        assert not receiver.take_upstream(first, name)
    assert receiver.take_upstream(first, "aa")
    assert receiver.upstream == first
    assert not receiver.take_upstream(second, "aa"), "once"
    receiver.expect("bb")
    receiver.expect("cc")
    assert not receiver.take_upstream(second, "bb"), "the last one only"
    assert first.is_open
    assert receiver.take_upstream(third, "cc")
    assert (receiver.upstream, first.is_open, third.is_open) == (third, False, True)


@pytest.mark.parametrize(
    ("error", "why"),
    [
        (OSError(28, "whatever"), "No space left on device"),
        (OSError("odd"), "odd"),
        (ConnectionResetError(104, "reset"), None),
        (ssl.SSLError(1, "bad record"), None),
        (socket.timeout("late"), None),  # noqa: UP041 - no TimeoutError where the agent runs
    ],
)
def test_only_a_disk_that_cannot_be_written_is_the_end(
    door: tuple[Receiver, Told], error: OSError, why: str | None
) -> None:
    receiver, told = door
    link: Any = Caller()
    receiver.failed(link, error)
    assert told == [], "it is the upstream no more"
    receiver.upstream = link
    receiver.failed(link, error)
    assert told == ([{"event": "failed", "why": why}] if why else [])


def test_progress_is_told_some_times_a_second_and_at_the_end(
    door: tuple[Receiver, Told], monkeypatch: pytest.MonkeyPatch
) -> None:
    receiver, told = door
    receiver.pieces = Pieces([(-1, 1000)], 100, "")
    clock = [100.0]
    monkeypatch.setattr(relay, "TELL_EVERY", 0.25)
    monkeypatch.setattr(time, "monotonic", lambda: clock[0])
    for step in range(9):
        clock[0] = 100 + step / 16
        receiver.pieces.have = step
        receiver.tell_progress(7)
    assert [event["bytes"] for event in told] == [0, 4, 8]
    assert told[-1] == {"event": "has", "bytes": 8, "arrived": 15}
    clock[0] += 0.25
    receiver.tell_progress(1)
    assert told[-1]["arrived"] == 9, "just as long ago is long enough"
    receiver.pieces.have = receiver.pieces.total
    receiver.tell_progress()
    assert told[-1]["bytes"] == receiver.pieces.total


# --- what is said first


class Slow:
    """A connection on which few bytes come at once."""

    def __init__(self, data: bytes) -> None:
        self.data = data

    def recv(self, length: int) -> bytes:
        assert length > 0
        count = min(length, 3)
        some, self.data = self.data[:count], self.data[count:]
        return some


def test_a_word_is_read_to_its_end_and_no_further() -> None:
    link: Any = Slow(b"12345678more")
    assert relay.receive_exactly(link, 8) == b"12345678"
    assert link.data == b"more"
    with pytest.raises(ConnectionError, match="it hung up"):
        relay.receive_exactly(link, 8)


# --- a transfer


CERTIFICATE: Any = object()


@pytest.fixture
def registry(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A node, for transfers that nothing comes to."""

    class Nobody:
        def __init__(self, *words: Any) -> None:
            self.is_open = True

        def close(self) -> None:
            self.is_open = False

    monkeypatch.setattr(relay, "Receiver", Nobody)
    monkeypatch.setenv("SSH_CONNECTION", "192.0.2.7 1 192.0.2.1 22")
    yield make_registry(tmp_path / "registry")


def no_one(said: dict[str, Any]) -> None:
    """Who is told what nobody needs to know."""


def make(registry: Path, *sizes: int) -> Relay:
    objects = [{"digest": f"{number:064x}", "size": size} for number, size in enumerate(sizes)]
    request = {"objects": objects, "piece": 128 << 10, "index": "a" * 64, "certificate": CERTIFICATE}
    return Relay(str(registry), request, no_one)


def test_what_comes_must_leave_the_reserve(registry: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(relay, "filesystem", lambda path: {"free": RESERVE + 1000})
    make(registry, 400, 600).close()
    with pytest.raises(agent.Refused, match="0 MB and a reserve needed, 67 MB free"):
        make(registry, 400, 601)
    assert names_in(registry / agent.STAGING) == []


def test_a_file_that_comes_is_new_and_the_owners_alone(registry: Path) -> None:
    before = os.umask(0)
    try:
        found = make(registry, 1, 2)
    finally:
        os.umask(before)
    for path in (registry / agent.STAGING).iterdir():
        status = path.lstat()
        assert (stat.S_IMODE(status.st_mode), status.st_nlink, status.st_size) == (0o600, 1, 0)
    assert [digest for _, digest in found.files] == names_in(registry / agent.STAGING)
    assert [size for _, size in found.pieces.files] == [1, 2]
    assert not any(os.get_inheritable(descriptor) for descriptor, _ in found.files)
    found.close()
    assert not found.receiver.is_open  # type: ignore[attr-defined]
    assert names_in(registry / agent.STAGING) == []


@pytest.mark.parametrize("kind", ["a link", "a file"])
def test_what_somebody_puts_in_its_place_is_not_written_to(
    registry: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    victim = registry / "victim"
    victim.write_bytes(NEW)

    def put(name: str, directory: int) -> None:
        """In the moment after what was there was removed."""
        path = registry / agent.STAGING / name
        path.symlink_to(victim) if kind == "a link" else path.hardlink_to(victim)

    monkeypatch.setattr(relay, "unlink_if_there", put)
    with pytest.raises(FileExistsError):
        make(registry, 1)
    assert victim.read_bytes() == NEW


def test_only_its_own_files_go_at_the_end(registry: Path) -> None:
    found = make(registry, 1, 2)
    _, other = sorted((registry / agent.STAGING).iterdir())
    other.unlink()
    other.write_bytes(NEW)
    found.close()
    assert names_in(registry / agent.STAGING) == [other.name]


def test_a_file_that_was_published_does_not_keep_the_next_from_going(registry: Path) -> None:
    found = make(registry, 1, 2)
    first, _ = sorted((registry / agent.STAGING).iterdir())
    first.unlink()
    found.close()
    assert names_in(registry / agent.STAGING) == []


def test_a_node_sends_to_one_other_at_a_time(registry: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[Any] = []

    class Sender:
        def __init__(self, pieces: Pieces, certificate: str, order: dict[str, Any], tell: Any) -> None:
            assert (pieces, certificate, tell) == (found.pieces, CERTIFICATE, found.tell)
            self.node = order["node"]

        def start(self) -> None:
            calls.append(("start", self.node))

        def stop(self) -> None:
            calls.append(("stop", self.node))

    monkeypatch.setattr(relay, "Sender", Sender)
    (registry / agent.PEERS).write_text("c1 192.0.2.1\nc2 192.0.2.2\nc3 192.0.2.3\n")
    found = make(registry, 1)
    for node, address in (("c2", "192.0.2.2"), ("c3", "192.0.2.3")):
        found.send_to({"node": node, "address": address})
    with pytest.raises(agent.Refused, match="not another node"):
        found.send_to({"node": "c1", "address": "192.0.2.1"})
    assert found.tell is no_one
    found.close()
    assert calls == [("start", "c2"), ("stop", "c2"), ("start", "c3"), ("stop", "c3")]


def test_why_nobody_can_be_sent_to_is_not_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """It would tell what listens at any port of any machine."""
    told: Told = []
    order = {"node": "c2", "address": "192.0.2.2", "port": 4711, "link": "ab" * 8, "rate": 0}

    def refuse(to: tuple[str, int], seconds: float) -> None:
        assert (to, seconds) == (("192.0.2.2", 4711), relay.HANDSHAKE)
        raise ConnectionRefusedError(111, "Connection refused")

    monkeypatch.setattr(socket, "create_connection", refuse)
    sender = relay.Sender(Pieces([], 1, ""), "", order, told.append)
    sender.run()
    assert told == [{"event": "send_failed", "node": "c2"}]
    sender.stop()
    sender.run()
    assert len(told) == 1, "who was told to stop has not failed"


# --- both ends, over TLS

LINK = "ab" * relay.WORD


@pytest.fixture
def source(tmp_path: Path) -> Iterator[Pieces]:
    """An object that is there as a whole: more than the buffers of a connection hold."""
    file = tmp_path / "source"
    file.write_bytes(os.urandom(SIZE))
    os.truncate(file, 64 << 20)
    with file.open("rb") as opened:
        pieces = Pieces([(opened.fileno(), 64 << 20)], 1 << 20, "")
        pieces.load_index()
        yield pieces


@pytest.fixture
def receiver(tmp_path: Path, certificate: str, source: Pieces) -> Iterator[tuple[Receiver, Told]]:
    """One that nothing has come to yet."""
    told = Told()
    with (tmp_path / "copy").open("w+b") as opened:
        pieces = Pieces([(opened.fileno(), 64 << 20)], 1 << 20, source.index)
        made = Receiver(pieces, certificate, "127.0.0.1", told.append)
        yield made, told
        made.close()


@contextlib.contextmanager
def calling(certificate: str, port: int, name: bytes) -> Iterator[ssl.SSLSocket]:
    """A caller that has the certificate and says a name."""
    with relay.make_context(certificate, server=False).wrap_socket(
        socket.create_connection(("127.0.0.1", port), 20)
    ) as link:
        link.sendall(name)
        yield link


def wait_for(what: Any) -> None:
    deadline = time.monotonic() + 20
    while not what():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_who_leaves_before_its_name_is_whole_is_refused(certificate: str, receiver: tuple[Receiver, Told]) -> None:
    made, told = receiver
    with calling(certificate, made.port, b"abc"):
        pass
    wait_for(lambda: told)
    assert told == [{"event": "stranger", "address": "127.0.0.1", "link": ""}]


def test_what_has_come_of_a_piece_is_told_before_it_is_whole(
    certificate: str, receiver: tuple[Receiver, Told], source: Pieces, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(relay, "TELL_EVERY", 0.0)
    made, told = receiver
    made.expect(LINK)
    with calling(certificate, made.port, bytes.fromhex(LINK)) as link:
        assert relay.receive_exactly(link, relay.WORD) == bytes(relay.WORD), "nothing is there"
        link.sendall(source.digests + bytes(1000))
        wait_for(lambda: told and told[-1]["arrived"] == len(source.digests) + 1000)
    assert told[-1] == {"event": "has", "bytes": len(source.digests), "arrived": len(source.digests) + 1000}


def test_the_end_of_a_receiver_is_the_end_of_its_connection(certificate: str, receiver: tuple[Receiver, Told]) -> None:
    made, _ = receiver
    made.expect(LINK)
    with calling(certificate, made.port, bytes.fromhex(LINK)) as link:
        relay.receive_exactly(link, relay.WORD)
        assert not is_hung_up(link, within=0.2)
        made.close()
        assert is_hung_up(link, within=20)


@pytest.fixture
def slow_reader(certificate: str, source: Pieces) -> Iterator[tuple[relay.Sender, socket.socket, Told]]:
    """A sender at work, the connection on which nobody reads what it sends, and what it tells."""
    told = Told()
    with socket.create_server(("127.0.0.1", 0)) as server:
        place = {"node": "c2", "address": "127.0.0.1", "port": server.getsockname()[1]}
        sender = relay.Sender(source, certificate, {**place, "link": LINK, "rate": 0}, told.append)
        sender.start()
        caller, _ = server.accept()
        with relay.make_context(certificate, server=True).wrap_socket(caller, server_side=True) as link:
            link.settimeout(20)
            assert relay.receive_exactly(link, relay.WORD).hex() == LINK
            link.sendall(bytes(relay.WORD))
            yield sender, link, told


def test_a_sender_waits_for_whoever_reads_slowly(
    monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest, source: Pieces
) -> None:
    """The seconds of a handshake are not those of a transfer: the controller decides who is too slow."""
    monkeypatch.setattr(relay, "HANDSHAKE", 1.0)
    sender, link, told = request.getfixturevalue("slow_reader")
    time.sleep(2.0)
    assert sender.is_alive()
    left = len(source.digests) + (64 << 20)
    while left:
        left -= len(link.recv(min(left, 1 << 20)))
    sender.join(20)
    assert (sender.is_alive(), told) == (False, [])


def test_a_sender_that_is_stopped_ends_in_the_middle_of_a_block(
    slow_reader: tuple[relay.Sender, socket.socket, Told],
) -> None:
    sender, _, told = slow_reader
    wait_for(lambda: sender.link)
    sender.join(0.5)
    assert sender.is_alive(), "nobody reads"
    sender.stop()
    sender.join(20)
    assert (sender.is_alive(), told) == (False, [])
