"""The controller's end of a session with an agent that is a list of lines: what is passed over, and for how long."""

from __future__ import annotations

import json
import re
import time
from pathlib import Path
from typing import Any

import pytest

from pytest_hpcregistry.agent.requests import LONGEST_SILENCE
from pytest_hpcregistry.controller import session as sessions
from pytest_hpcregistry.controller.nodes import ASK_TIMEOUT
from pytest_hpcregistry.controller.probe import Probe
from pytest_hpcregistry.controller.session import MOST_EVENTS, PASSED_OVER, NodeSession
from pytest_hpcregistry.core.errors import CommandFailed, CommandTimeout, Unreachable
from pytest_hpcregistry.transports import CommandResult
from pytest_hpcregistry.transports.conversation import Ended
from tests.fakes.nodes import FakeNodes
from tests.fakes.settings import change


class Script:
    """In the place of ssh. A line in `lines` comes after so many seconds, which only pass while somebody waits."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 1000.0
        self.sent: list[Any] = []
        self.lines: list[tuple[float, str | Ended]] = []
        self.held = bytearray()
        self.argv: list[str] = []
        self.is_ended = self.is_full = False
        monkeypatch.setattr(sessions, "Conversation", self.start)
        monkeypatch.setattr(time, "monotonic", lambda: self.now)

    def start(self, where: str, argv: list[str]) -> Script:
        self.argv = argv
        return self

    def send(self, line: str, rest: bytes = b"") -> None:
        if self.is_full:
            raise CommandTimeout("no answer in time", where="c1")
        self.sent.append(json.loads(line + rest.decode()))

    def receive(self, timeout: float) -> str | Ended | None:
        assert timeout >= 0
        if not self.lines or self.lines[0][0] > timeout:
            if self.lines:
                self.lines[0] = (self.lines[0][0] - timeout, self.lines[0][1])
            self.now += timeout
            return None
        seconds, line = self.lines.pop(0)
        self.now += seconds
        return line

    def end(self) -> None:
        self.is_ended = True


@pytest.fixture
def script(monkeypatch: pytest.MonkeyPatch) -> Script:
    return Script(monkeypatch)


@pytest.fixture
def session(script: Script, tmp_path: Path) -> NodeSession:
    return NodeSession("c1", FakeNodes(tmp_path, "c1").settings)


def said(session: NodeSession, **words: Any) -> str:
    return f"hpcregistry {session.nonce} {json.dumps(words)}"


EMPTY: dict[str, Any] = {
    "objects": {},
    "names": {},
    "changed": [],
    "catalog_digest": None,
    "free": 1,
    "from": None,
    "probe": None,
}
EVENT: dict[str, Any] = {"event": "has", "bytes": 1, "arrived": 1}


@pytest.mark.parametrize(
    ("timeout", "seconds"),
    [(20, 20 + ASK_TIMEOUT), (LONGEST_SILENCE - ASK_TIMEOUT + 1, LONGEST_SILENCE), (10**9, LONGEST_SILENCE)],
)
def test_the_first_line_says_how_long_the_agent_waits(
    script: Script, tmp_path: Path, timeout: int, seconds: int
) -> None:
    settings = change(FakeNodes(tmp_path, "c1").settings, timeout=timeout)
    one, other = NodeSession("c1", settings), NodeSession("c1", settings)
    assert script.argv[-2:] == ["root@c1", "session"]
    assert script.sent == [{"nonce": each.nonce, "seconds": seconds} for each in (one, other)]
    assert len(one.nonce) == 16
    assert one.nonce != other.nonce


def test_requests_are_numbered_and_each_is_answered_once(script: Script, session: NodeSession) -> None:
    assert [session.tell("have", {"probe": None}), session.tell("have")] == [1, 2]
    assert script.sent[1:] == [{"do": "have", "id": 1, "probe": None}, {"do": "have", "id": 2}]
    for number in (2, 1):
        assert session.understand(said(session, id=number, **EMPTY))["id"] == number
    for number in (1, 3, 0, -1):
        with pytest.raises(CommandFailed, match=r"^c1: the agent answered a request that was not sent"):
            session.understand(said(session, id=number, **EMPTY))


@pytest.mark.parametrize("number", [True, 1.0, "1", None, [1], {}])
def test_a_number_is_a_number(session: NodeSession, number: Any) -> None:
    session.tell("have")
    with pytest.raises(CommandFailed, match="a request that was not sent"):
        session.understand(said(session, id=number, **EMPTY))


def test_ask_passes_over_what_else_is_said(script: Script, session: NodeSession) -> None:
    session.tell("have")
    script.lines = [
        (1, "Welcome to c1!"),
        (1, said(session, **EVENT)),
        (1, said(session, id=1, **EMPTY)),
        (1, said(session, id=2, **{**EMPTY, "free": 4711})),
    ]
    assert session.ask("have")["free"] == 4711


def test_an_answer_that_comes_late_is_none(script: Script, session: NodeSession) -> None:
    script.lines = [(59, said(session, **EVENT)), (1.5, said(session, id=1, **EMPTY))]
    with pytest.raises(Unreachable, match=r"^c1: no answer in time"):
        session.ask("have")
    assert script.now == 1060
    script.lines = [(99, said(session, id=2, **EMPTY))]
    assert session.ask("have", timeout=100)["id"] == 2


def test_an_error_is_the_agents_own_words(script: Script, session: NodeSession) -> None:
    script.lines = [(0, said(session, id=1, error="no room", hint="make some"))]
    with pytest.raises(CommandFailed, match=r"^c1: no room") as caught:
        session.ask("have")
    assert caught.value.hint == "make some"


def test_who_takes_no_line_any_more_is_unreachable(script: Script, session: NodeSession) -> None:
    script.is_full = True
    with pytest.raises(Unreachable, match="no answer in time"):
        session.tell("have")


def test_listen_ends_in_time_though_lines_come(script: Script, session: NodeSession) -> None:
    script.lines = [*[(0.5, "Welcome")] * 2, *[(0.0, "Welcome")] * 8]
    assert session.listen(1.0) is None
    assert script.now == 1001
    assert len(script.lines) == 8


def test_what_has_come_already_is_taken_without_any_time(script: Script, session: NodeSession) -> None:
    script.lines = [(0, said(session, **EVENT))]
    assert session.listen(0)["bytes"] == 1


@pytest.mark.parametrize(
    ("held", "exit_code", "kind", "says"),
    [
        (b"hpcregistry 0123 {", 255, CommandFailed, "the agent's answer was cut off"),
        (b"hpcregistryless", 255, Unreachable, ""),
        (b"", 255, Unreachable, ""),
        (b"", 1, CommandFailed, "the agent did not answer .exit 1.: nothing"),
    ],
)
def test_the_end_says_why(
    script: Script, session: NodeSession, held: bytes, exit_code: int, kind: type[Exception], says: str
) -> None:
    script.held.extend(held)
    script.lines = [(0, Ended(exit_code, ""))]
    with pytest.raises(kind, match=f"^c1: {says}"):
        session.listen(1)


def test_a_login_may_print_a_mib_and_no_more(session: NodeSession) -> None:
    assert PASSED_OVER == 1 << 20
    assert session.understand("x" * (PASSED_OVER - 2)) is None
    assert session.understand("") is None, "a line break is a byte as well"
    with pytest.raises(CommandFailed, match=r"^c1: its login prints too much before the agent answers"):
        session.understand("")


@pytest.mark.parametrize("other", ["hpcregistry 0000 {}", " hpcregistry", "hpcregistry"])
def test_a_line_without_the_nonce_is_the_logins(session: NodeSession, other: str) -> None:
    assert session.understand(other) is None
    assert session.other == len(other) + 1


def test_events_have_a_rate_and_answers_have_none(script: Script, session: NodeSession) -> None:
    event = said(session, **EVENT)
    free = MOST_EVENTS // len(event)
    for _ in range(free):
        assert session.understand(event)["event"] == "has"
    session.tell("have")
    assert session.understand(said(session, id=1, **EMPTY))["id"] == 1
    with pytest.raises(CommandFailed, match=r"^c1: the agent sends too many events"):
        session.understand(event)
    script.now += 1
    left = (MOST_EVENTS + 2000 - session.events) // len(event)
    for _ in range(left):
        session.understand(event)
    with pytest.raises(CommandFailed, match="sends too many events"):
        session.understand(event)


def test_the_limit_of_events_is_itself_within_it(session: NodeSession, monkeypatch: pytest.MonkeyPatch) -> None:
    event = said(session, **EVENT)
    monkeypatch.setattr(sessions, "MOST_EVENTS", len(event))
    assert session.understand(event)["event"] == "has"
    with pytest.raises(CommandFailed, match="sends too many events"):
        session.understand(event)


def test_the_end_of_the_block_hangs_up(script: Script, session: NodeSession) -> None:
    with session as entered:
        assert entered is session
        assert not script.is_ended
    assert script.is_ended


def test_an_answer_is_checked_and_an_error_is_handed_on(session: NodeSession) -> None:
    session.tell("have")
    with pytest.raises(CommandFailed, match="malformed"):
        session.understand(said(session, id=1, **{**EMPTY, "free": "much"}))
    session.tell("have")
    assert session.understand(said(session, id=2, error="no room"))["error"] == "no room"


def test_what_has_a_number_is_no_event(session: NodeSession) -> None:
    session.tell("have")
    assert session.understand(said(session, id=1, event="has", **EMPTY))["free"] == 1
    assert session.events == 0
    with pytest.raises(CommandFailed, match="a request that was not sent") as caught:
        session.understand(said(session, bytes=1))
    assert "registry setup" in caught.value.hint


@pytest.mark.parametrize(
    ("method", "how"),
    [
        ("auto", r"works, but root's login there prints 'Welcome to c1', .* or set sync.method to relay\)"),
        ("star", r"works, but root's login there prints 'Welcome to c1', .*"),
        ("relay", "works, refuses a shell"),
    ],
)
def test_a_login_that_prints_is_found_where_rsync_would_stumble(
    script: Script, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, method: str, how: str
) -> None:
    answer = CommandResult("c1", (), 1, "Welcome to c1\n", "", 0.0)
    monkeypatch.setattr(sessions, "run_process", lambda *_, **__: answer)
    monkeypatch.setattr(
        NodeSession, "ask", lambda self, *_: self.understand("") or self.understand("Welcome to c1") or {}
    )
    settings = change(FakeNodes(tmp_path, "c1").settings, method=method)
    assert re.fullmatch(how, sessions.try_sync_key("c1", settings))


@pytest.mark.parametrize(
    ("seen", "admitted", "code", "shown", "how"),
    [
        ("10.0.0.1", ["10.0.0.1"], 1, "", "works, refuses a shell"),
        ("10.0.0.1", [], 1, "", "works, refuses a shell"),
        ("10.0.0.1", ["192.0.2.7", "10.0.0.0/8"], 1, "", "works, refuses a shell"),
        ("10.0.0.1", ["10.0.0.1"], 0, "", "works, but also runs a shell command"),
        ("10.0.0.1", ["10.0.0.1"], 1, "{word}\n", "works, but also runs a shell command"),
        ("10.0.0.1", ["10.0.0.1"], 1, "Welcome to c1\n", "works, refuses a shell"),
        ("10.0.0.1", ["10.0.0.2"], 1, "", "works, but not by the line .* sees the controller at '10.0.0.1'"),
        ("fd00::1", ["10.0.0.0/8"], 1, "", "works, but not by the line .* sees the controller at 'fd00::1'"),
        (None, ["10.0.0.1"], 1, "", "works, but not by the line .* sees the controller at 'None'"),
        ("no address", ["10.0.0.1"], 1, "", "works, but not by the line .* sees the controller at 'no address'"),
    ],
)
def test_the_sync_key_is_tried_as_it_is_meant_and_as_a_thief_would(
    script: Script,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    seen: str | None,
    admitted: list[str],
    code: int,
    shown: str,
    how: str,
) -> None:
    asked: list[Any] = []
    monkeypatch.setattr(NodeSession, "ask", lambda self, verb, request: {"have": {"from": seen}}[verb])

    def run(where: str, argv: list[str], *, timeout: float) -> CommandResult:
        asked.append((where, argv, timeout))
        return CommandResult(where, tuple(argv), code, shown.format(word=argv[-1].split()[1]), "", 0.0)

    monkeypatch.setattr(sessions, "run_process", run)
    settings = change(FakeNodes(tmp_path, "c1").settings, admitted=tuple(admitted))
    assert re.fullmatch(how, sessions.try_sync_key("c1", settings))
    ((where, argv, timeout),) = asked
    assert (where, argv[0], argv[-2], timeout) == ("c1", "ssh", "root@c1", ASK_TIMEOUT)
    assert argv[-1].startswith("echo ")
    assert script.argv[-2:] == ["root@c1", "session"]
    assert script.is_ended


def test_a_node_that_shall_see_the_controllers_registry_and_does_not_is_named(
    script: Script, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    probe = Probe(".probe-1", 4711)
    monkeypatch.setattr(NodeSession, "ask", lambda self, verb, request: {"probe": 4711 if request["probe"] else 0})
    monkeypatch.setattr(sessions, "run_process", lambda *_, **__: CommandResult("c1", (), 1, "", "", 0.0))
    settings = change(FakeNodes(tmp_path, "c1").settings, admitted=())
    assert sessions.try_sync_key("c1", settings, probe) == "works, refuses a shell"
    monkeypatch.setattr(NodeSession, "ask", lambda self, verb, request: {"probe": None})
    said = sessions.try_sync_key("c1", settings, probe)
    assert said.startswith(
        f"works, but c1 has a {settings.registry.path} of its own: is the shared file system mounted"
    )


def test_what_many_are_asked_is_the_end_of_the_request(session: NodeSession, script: Script) -> None:
    common = sessions.encoded({"catalog": 'an "é"\n', "objects": ["a"]})
    number = session.tell("publish", {"images": []}, common)
    assert script.sent[-1] == {"do": "publish", "id": number, "images": [], "catalog": 'an "é"\n', "objects": ["a"]}
    assert "é".encode() in common, "at most two characters for one"
