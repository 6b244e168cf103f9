"""A session by itself, in this process: its first line, its patience, and what `have` and `prepare` do."""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Callable
from io import BytesIO, TextIOWrapper
from pathlib import Path
from typing import Any

import pytest

from pytest_hpcregistry import agent
from pytest_hpcregistry.agent import requests, session
from pytest_hpcregistry.agent.__main__ import main
from pytest_hpcregistry.agent.session import Session, have
from tests.fakes.registry import NAME, NEW, OLD, digest, make_registry, names_in, publish

FIRST = {"nonce": "n1", "seconds": 7}


@pytest.fixture
def registry(tmp_path: Path) -> Path:
    return make_registry(tmp_path / "registry")


@pytest.fixture(autouse=True)
def alarms(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """What is asked of the clock that ends a session, in order."""
    asked: list[Any] = []
    monkeypatch.setattr(signal, "signal", lambda number, handler: asked.append((number, handler)))
    monkeypatch.setattr(signal, "alarm", asked.append)
    monkeypatch.setenv("SSH_CONNECTION", "192.0.2.7 1234 192.0.2.1 22")
    return asked


def open_session(registry: Path, *lines: Any) -> Session:
    text = "".join((line if isinstance(line, str) else json.dumps(line)) + "\n" for line in (FIRST, *lines))
    return Session(str(registry), BytesIO(text.encode()))


def run(capsys: pytest.CaptureFixture[str], registry: Path, *lines: Any) -> list[dict[str, Any]]:
    """The answers to these requests."""
    open_session(registry, *lines).run()
    said = capsys.readouterr().out.split("\n")
    return [json.loads(line.removeprefix("hpcregistry n1 ")) for line in said if line]


# --- lines


def test_the_alarm_is_set_anew_by_each_line(registry: Path, alarms: list[Any]) -> None:
    open_session(registry, {"do": "have", "id": 1}, {"do": "have", "id": 2}).run()
    assert alarms == [(signal.SIGALRM, session.give_up), 60, 7, 7, 7]
    with pytest.raises(SystemExit, match="session closed"):
        session.give_up(signal.SIGALRM, None)


@pytest.mark.parametrize(
    ("line", "why"),
    [
        ("", "the first line"),
        ("{}\n", "the first line"),
        ('{"nonce": "n"}\n', "the first line"),
        ('{"nonce": "n", "seconds": 0}\n', "seconds"),
        ('{"do": "have", "id": 1}\n', "the first line"),
        ("hello\n", "a line that is no request"),
        ("[" * 100_000 + "\n", "a line that is no request"),
    ],
)
def test_a_first_line_that_the_controller_does_not_send_ends_it(registry: Path, line: str, why: str) -> None:
    with pytest.raises(SystemExit, match=rf"^hpcregistry: .*{why}"):
        Session(str(registry), BytesIO(line.encode()))


def test_a_line_is_read_to_its_end_or_to_the_limit(registry: Path) -> None:
    """Whoever holds the key and sends without an end costs no more memory than that."""

    class Endless:
        def readline(self, limit: int) -> bytes:
            assert limit == requests.LONGEST_REQUEST == 96 << 20
            return b"a" * limit

    with pytest.raises(SystemExit, match="a line that is no request"):
        Session(str(registry), Endless())  # type: ignore[arg-type]


def test_what_is_no_request_is_answered_and_the_next_one_too(
    registry: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    first, second, third = run(capsys, registry, [1], {"do": "gossip", "id": 5}, {"do": "have", "id": 6})
    assert (first["id"], second["id"], third["id"]) == (None, 5, 6)
    assert "does not understand" in first["error"]
    assert "does not understand" in second["error"]
    assert "error" not in third


# --- have


def test_have_is_everything_that_a_sync_goes_by(registry: Path) -> None:
    publish(registry, OLD, catalog="text", objects=[])
    (registry / "ml-frameworks" / "by-hand.sif").write_bytes(b"x")
    (registry / "base-images" / "copy.sif").write_bytes(OLD)
    room = os.statvfs(registry)
    found = have(str(registry), {})
    assert 0 < found.pop("free") <= room.f_blocks * room.f_frsize
    assert found == {
        "objects": {digest(OLD): len(OLD)},
        "names": {"base-images/copy.sif": None, "ml-frameworks/by-hand.sif": None, NAME: digest(OLD)},
        "changed": [],
        "blocked": [],
        "catalog_digest": digest(b"text"),
        "from": "192.0.2.7",
        "probe": None,
    }


def test_have_looks_into_directories_of_images_only(registry: Path, tmp_path: Path) -> None:
    publish(registry, OLD)
    (registry / "README.md").write_text("x")
    for name in (".hidden", "a b"):
        (registry / name).mkdir()
        (registry / name / "x.sif").write_bytes(b"x")
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "x.sif").write_bytes(b"x")
    (registry / "link").symlink_to(tmp_path / "elsewhere")
    assert list(have(str(registry), {})["names"]) == [NAME]


@pytest.mark.skipif(os.getuid() != 0, reason="only root can give a file away")
@pytest.mark.parametrize(
    "change",
    [lambda path: os.chown(path, 123, 0), lambda path: os.chown(path, 0, 123), lambda path: path.chmod(0o700)],
    ids=["owner", "group", "mode"],
)
def test_have_names_the_images_whose_owner_or_mode_somebody_changed(
    registry: Path, change: Callable[[Path], None]
) -> None:
    (registry / ".registry" / "config.yaml").write_text('registry:\n  file_mode: "0755"\n')
    publish(registry, OLD)
    publish(registry, NEW, name="ml-frameworks/y.sif")
    mine = registry / "ml-frameworks" / "mine.sif"
    mine.write_bytes(b"x")
    change(mine)
    assert have(str(registry), {})["changed"] == [], "a file of somebody else's is theirs to change"
    change(registry / NAME)
    assert have(str(registry), {})["changed"] == [NAME]


def test_where_phase_1_wrote_down_no_mode_any_will_do(registry: Path) -> None:
    publish(registry, OLD)
    (registry / NAME).chmod(0o700)
    assert have(str(registry), {})["changed"] == []


@pytest.mark.parametrize(
    ("connection", "seen"), [(None, None), ("", None), ("2001:db8::1 1 2001:db8::2 22", "2001:db8::1")]
)
def test_have_tells_where_the_node_sees_the_controller(
    registry: Path, monkeypatch: pytest.MonkeyPatch, connection: str | None, seen: str | None
) -> None:
    monkeypatch.delenv("SSH_CONNECTION")
    if connection is not None:
        monkeypatch.setenv("SSH_CONNECTION", connection)
    assert have(str(registry), {})["from"] == seen


@pytest.mark.parametrize(("modified", "seen"), [(4711.9, 4711), (0, 0), (-5, 0)])
def test_the_probe_s_time_is_in_whole_seconds_since_1970(registry: Path, modified: float, seen: int) -> None:
    probe = registry / ".registry" / ".probe-1"
    probe.touch()
    os.utime(probe, (9999, modified))
    assert have(str(registry), {"probe": ".probe-1"})["probe"] == seen


# --- prepare


def test_many_versions_before_are_refused_in_one_request_or_in_several(
    registry: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    publish(registry, OLD)
    most = requests.MOST_IMAGES
    news = [f"{number:064x}" for number in range(most + 1)]
    *_, enough, same, more = run(
        capsys,
        registry,
        *({"do": "prepare", "id": number, "bases": {new: digest(OLD)}} for number, new in enumerate(news[:most])),
        {"do": "prepare", "id": most, "bases": dict.fromkeys(news[:most], digest(OLD))},
        {"do": "prepare", "id": most + 1, "bases": {news[-1]: digest(OLD)}},
    )
    assert enough["address"] == same["address"] == "192.0.2.1"
    assert more["error"] == f"more than {most} versions before, in one session"
    assert names_in(registry / agent.BASES) == [], "the session's end takes all away"


def test_what_lies_in_bases_already_is_left(registry: Path) -> None:
    """Of a session that was killed, or of one that runs as well: the bytes are the same or rsync finds out."""
    publish(registry, OLD)
    one, other = open_session(registry), open_session(registry)
    for each in (one, other):
        assert each.do({"do": "prepare", "id": 1, "bases": {digest(NEW): digest(OLD)}}) == {"address": "192.0.2.1"}
        elsewhere = {"do": "prepare", "id": 2, "bases": {}, "network": "127.0.0.0/8"}
        assert each.do(elsewhere)["address"].startswith("127.0.0.")
    assert (registry / agent.BASES).stat().st_mode & 0o7777 == 0o700
    assert (registry / agent.BASES / digest(NEW)).stat().st_ino == (registry / NAME).stat().st_ino


def test_the_version_before_is_the_object_even_where_that_is_a_link(registry: Path, tmp_path: Path) -> None:
    """A link to a file of somebody else's must not become a name of that file."""
    (tmp_path / "secret").write_bytes(b"secret")
    (registry / agent.OBJECTS / digest(OLD)).symlink_to(tmp_path / "secret")
    open_session(registry).do({"do": "prepare", "id": 1, "bases": {digest(NEW): digest(OLD)}})
    assert (registry / agent.BASES / digest(NEW)).is_symlink()
    assert (tmp_path / "secret").stat().st_nlink == 1


@pytest.mark.parametrize("which", [agent.OBJECTS, agent.BASES])
def test_prepare_follows_no_link_to_another_directory(registry: Path, tmp_path: Path, which: str) -> None:
    publish(registry, OLD)
    if (registry / which).exists():
        (registry / which).rename(tmp_path / "moved")
    (tmp_path / "moved").mkdir(exist_ok=True)
    (tmp_path / "moved").chmod(0o700)
    (registry / which).symlink_to(tmp_path / "moved")
    with pytest.raises(NotADirectoryError):
        open_session(registry).do({"do": "prepare", "id": 1, "bases": {digest(NEW): digest(OLD)}})


def test_the_end_removes_what_this_session_prepared_and_nothing_else(registry: Path) -> None:
    publish(registry, OLD)
    one, other = open_session(registry), open_session(registry)
    one.do({"do": "prepare", "id": 1, "bases": {"a" * 64: digest(OLD)}})
    other.do({"do": "prepare", "id": 1, "bases": {"b" * 64: digest(OLD)}})
    (registry / agent.BASES / ("a" * 64)).rename(registry / agent.BASES / ("c" * 64))
    one.run()
    assert names_in(registry / agent.BASES) == ["b" * 64, "c" * 64]
    other.run()
    assert names_in(registry / agent.BASES) == ["c" * 64]


# --- relay


class FakeRelay:
    """In the place of one that listens."""

    made: list[FakeRelay]
    address, port = "192.0.2.1", 4711

    def __init__(self, registry: str, request: dict[str, Any], tell: Callable[[Any], None]) -> None:
        self.calls: list[Any] = [(registry, request["id"])]
        self.receiver = self
        self.tell = tell
        self.made.append(self)

    def expect(self, link: str) -> None:
        self.calls.append(("expect", link))

    def send_to(self, request: dict[str, Any]) -> None:
        self.calls.append(("send", request["node"]))

    def close(self) -> None:
        self.calls.append("close")


RELAY = {"do": "relay", "objects": [], "piece": 128 << 10, "index": "a" * 64, "certificate": "x"}
EXPECT = {"do": "expect", "link": "0" * 16}
SEND = {"do": "send", "node": "c2", "address": "192.0.2.2", "port": 4711, "link": "0" * 16, "rate": 0}


def test_a_session_has_one_transfer_at_a_time(
    registry: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    FakeRelay.made = []
    monkeypatch.setattr("pytest_hpcregistry.agent.relay.Relay", FakeRelay)
    lines: list[dict[str, Any]] = [EXPECT, SEND, RELAY, EXPECT, SEND, RELAY]
    answers = run(capsys, registry, *({**line, "id": number} for number, line in enumerate(lines)))
    nothing, place = {"error": "there is no transfer yet"}, {"address": "192.0.2.1", "port": 4711}
    assert [{key: one[key] for key in one if key != "id"} for one in answers] == [
        nothing,
        nothing,
        place,
        {},
        {},
        place,
    ]
    first, second = FakeRelay.made
    assert first.calls == [(str(registry), 2), ("expect", "0" * 16), ("send", "c2"), "close"]
    assert second.calls == [(str(registry), 5), "close"], "the end of the session is that of the transfer"
    first.tell({"event": "has"})
    assert json.loads(capsys.readouterr().out.removeprefix("\nhpcregistry n1 ")) == {"event": "has"}


def test_what_breaks_a_session_ends_its_transfer_too(registry: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    publish(registry, OLD)
    FakeRelay.made = []
    monkeypatch.setattr("pytest_hpcregistry.agent.relay.Relay", FakeRelay)
    broken = open_session(
        registry,
        {"do": "prepare", "id": 1, "bases": {digest(NEW): digest(OLD)}},
        {**RELAY, "id": 2},
        "no request",
    )
    with pytest.raises(SystemExit, match="a line that is no request"):
        broken.run()
    assert FakeRelay.made[0].calls[-1] == "close"
    assert names_in(registry / agent.BASES) == []


def test_a_gc_is_asked_for_by_the_session(registry: Path, capsys: pytest.CaptureFixture[str]) -> None:
    publish(registry, OLD)
    (registry / NAME).unlink()
    asked = {"catalog": "new", "objects": [], "keep": [], "names": [], "spare": [], "grace": 0, "dry_run": True}
    (answer,) = run(capsys, registry, {"do": "gc", "id": 1, "shared": False, **asked})
    assert answer["objects"] == [digest(OLD)]


def test_a_refusal_is_said_before_the_end_where_errors_are_buffered(monkeypatch: pytest.MonkeyPatch) -> None:
    """As before Python 3.9, in a pipe: what was not flushed then would be lost with os._exit."""

    def leave(code: int) -> None:
        raise SystemExit(code)

    said = BytesIO()
    monkeypatch.setattr(sys, "stderr", TextIOWrapper(said))
    monkeypatch.setattr(sys, "argv", ["agent.pyz", "serve", "--registry", "/r"])
    monkeypatch.setattr(os, "_exit", leave)
    monkeypatch.setenv("SSH_ORIGINAL_COMMAND", "ls")
    with pytest.raises(SystemExit):
        main()
    assert said.getvalue() == b"hpcregistry: this key can only sync the registry\n"
