"""Talking with a local program line by line: deadlines that hold, and little that is held."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from pytest_hpcregistry.core.errors import CommandFailed, CommandTimeout
from pytest_hpcregistry.transports import conversation
from pytest_hpcregistry.transports import process as local
from pytest_hpcregistry.transports.conversation import Conversation, Ended

Talk = Callable[..., Conversation]


@pytest.fixture
def talk() -> Iterator[Talk]:
    """Start a conversation with the words of a command; it is ended after the test."""
    started: list[Conversation] = []

    def start(*argv: str) -> Conversation:
        started.append(Conversation("c1", argv))
        return started[-1]

    yield start
    for one in started:
        one.end()


@pytest.fixture
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(conversation, "GOODBYE", 0.2)
    monkeypatch.setattr(local, "STOP_GRACE", 0.2)


def script(text: str) -> tuple[str, ...]:
    return ("sh", "-c", text)


def python(text: str) -> tuple[str, ...]:
    return (sys.executable, "-c", text)


def descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


def test_lines_go_and_come_until_the_program_ends(talk: Talk) -> None:
    one = talk(*script('read line; echo "got $line"; echo; printf rest; echo why >&2; exit 3'))
    assert one.receive(0) is None
    one.send("hello")
    assert [one.receive(20) for _ in range(3)] == ["got hello", "", Ended(3, "why\n")]
    assert one.held == b"rest"
    one.send("too late, and no error")
    assert one.receive(20) == Ended(3, "why\n")


def test_a_program_that_ends_by_a_signal(talk: Talk) -> None:
    assert talk(*script("kill -9 $$")).receive(20) == Ended(128 + 9, "")


def test_hanging_up_is_the_end_of_its_input(talk: Talk) -> None:
    assert talk(*script("cat > /dev/null; exit 5")).end() == Ended(5, "")


@pytest.mark.usefixtures("hasty")
def test_a_program_that_does_not_go_is_ended(talk: Talk) -> None:
    assert talk("sleep", "60").end().exit_code == 128 + 15


def test_a_long_line_goes_through_a_program_that_reads_as_it_writes(talk: Talk) -> None:
    one = talk("cat")
    line = "0123456789abcdef" * (4 << 16)
    sender = threading.Thread(target=one.send, args=(line,))
    sender.start()
    assert one.receive(20) == line
    sender.join()


def test_a_program_that_does_not_read_is_not_waited_for(talk: Talk) -> None:
    one = talk("sleep", "60")
    with pytest.raises(CommandTimeout, match="c1: no answer in time"):
        one.send("x" * (4 << 20), timeout=0.3)
    local.stop_process(one.process)


def test_what_it_said_is_not_lost_with_what_it_did_not_read(talk: Talk) -> None:
    """A socket is reset when its other end goes with bytes unread; a pipe is not."""
    one = talk(*script("echo last; sleep 0.3; echo why >&2; exit 3"))
    one.send("never read")
    one.process.wait(20)
    assert [one.receive(20), one.receive(20)] == ["last", Ended(3, "why\n")]


def test_sending_to_a_program_that_has_gone_is_no_error(talk: Talk) -> None:
    one = talk(*script("exit 3"))
    one.process.wait(20)
    one.send("x" * (4 << 20))
    assert one.receive(20) == Ended(3, "")


def test_its_own_end_is_as_any_program_expects_it(talk: Talk) -> None:
    one = talk(*python("import os; print(os.get_blocking(0), os.get_blocking(1), flush=True)"))
    assert one.receive(20) == "True True"


def test_two_descriptors_are_held_and_none_is_left() -> None:
    before = descriptors()
    one = Conversation("c1", ["cat"])
    assert descriptors() - before == 2
    one.send("x")
    assert one.receive(20) == "x"
    assert descriptors() - before == 2
    one.end()
    with pytest.raises(CommandFailed, match="c1: no-such-program cannot be run"):
        Conversation("c1", ["no-such-program"])
    assert descriptors() == before


def test_programs_are_started_one_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """While one starts, this program holds the other ends of its pipes as well."""
    real, at_once, most = subprocess.Popen, [0], [0]

    def popen(*words: object, **how: object) -> object:
        at_once[0] += 1
        most[0] = max(most[0], at_once[0])
        time.sleep(0.02)
        try:
            return real(*words, **how)  # type: ignore[call-overload]
        finally:
            at_once[0] -= 1

    monkeypatch.setattr(subprocess, "Popen", popen)
    threads = [threading.Thread(target=lambda: Conversation("c1", ["true"]).end()) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most[0] == 1


# --- a program that talks and talks


@pytest.mark.usefixtures("hasty")
@pytest.mark.parametrize(
    "text",
    [
        "while :; do printf x; sleep 0.02; done",
        "exec yes >&2",
        "while :; do printf x >&2; sleep 0.02; done",
    ],
)
def test_the_deadline_holds_while_bytes_come_but_no_line(talk: Talk, text: str) -> None:
    one = talk(*script(text))
    answers: list[object] = []
    waiting = threading.Thread(target=lambda: answers.append(one.receive(0.5)), daemon=True)
    waiting.start()
    waiting.join(10)
    assert answers == [None]
    assert 0 < len(one.last_words) + len(one.held) <= conversation.LAST_WORDS
    local.stop_process(one.process)  # now, or hanging up waits for it


@pytest.mark.usefixtures("hasty")
def test_empty_lines_come_one_by_one(talk: Talk) -> None:
    one = talk("yes", "")
    assert [one.receive(20) for _ in range(1000)] == [""] * 1000


def test_short_lines_cost_as_much_as_their_bytes(talk: Talk) -> None:
    """Where each line moves all that is held after it, this takes an hour."""
    one = talk("cat")
    count = (4 << 20) // 3
    one.held += b"ab\n" * count
    began = time.monotonic()
    for _ in range(count):
        assert one.receive(0) == "ab"
        if time.monotonic() - began > 60:
            break
    assert one.held == b""


def test_a_line_without_end_is_refused(talk: Talk) -> None:
    one = talk("cat", "/dev/zero")
    with pytest.raises(CommandFailed, match="c1: more than 16 MiB in one line"):
        one.receive(60)
    local.stop_process(one.process)
    assert len(one.held) < local.CAPTURE_LIMIT + local.CHUNK + 1


def test_no_descriptor_left_is_said_as_such(monkeypatch: pytest.MonkeyPatch) -> None:
    def none_left(*_: object, **__: object) -> None:
        raise OSError(24, os.strerror(24))

    for place, name in ((subprocess, "Popen"), (socket, "socketpair")):
        monkeypatch.setattr(place, name, none_left)
        with pytest.raises(CommandFailed, match="c1: cat cannot be run: Too many open files") as caught:
            Conversation("c1", ["cat"])
        assert "ulimit -n" in caught.value.hint
