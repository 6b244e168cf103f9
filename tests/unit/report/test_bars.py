"""Bars on a terminal: short with many nodes, nothing that was said is lost, and the terminal is left as it was."""

from __future__ import annotations

import io
import os
import pty
import re
import signal
import subprocess
import sys
from collections.abc import Sequence
from typing import Any

import pytest
from rich.console import Console

from pytest_hpcregistry.core.events import (
    Asked,
    Asking,
    Event,
    ImageChecked,
    ImageProgress,
    ImageSent,
    NodeAnswered,
    NodeFinished,
    Noticed,
    Progress,
    Published,
    SyncFinished,
    SyncStarted,
    TransferStarted,
    Verified,
    Waiting,
)
from pytest_hpcregistry.core.history import Record
from pytest_hpcregistry.core.running import Running
from pytest_hpcregistry.report import lines as progress
from pytest_hpcregistry.report.bars import ROWS, Bars
from pytest_hpcregistry.testing.facts import DIGEST, NAME

MB = 1_000_000
HIDE, SHOW = "\x1b[?25l", "\x1b[?25h"
RED = "\x1b[31m"


def plain(text: str) -> str:
    """*text* without the terminal's control sequences; where a line is overwritten, another one begins."""
    return re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", text).replace("\r", "\n")


class Screen:
    """Bars on a terminal that is a string, with a clock that is set by hand and ticks that are too."""

    def __init__(self, height: int = 40, width: int = 100) -> None:
        self.now = 0.0
        self.file = io.StringIO()
        self.console = Console(
            file=self.file, force_terminal=True, width=width, height=height, color_system="standard", highlight=False
        )
        self.bars = Bars(self.console, clock=lambda: self.now)
        self.bars.run = lambda: None  # type: ignore[method-assign]
        self.bars.thread.run = lambda: None  # type: ignore[method-assign]

    def say(self, *events: Event, at: float = 0.0) -> None:
        self.now = at
        for event in events:
            self.bars.listen(event)

    def drawn(self) -> list[str]:
        """What the bars show now, without colours and blanks at the end."""
        paper = Console(file=io.StringIO(), width=self.console.width, height=40)
        with paper.capture() as capture:
            paper.print(self.bars.render())
        return [line.rstrip() for line in capture.get().splitlines()]

    def lines(self) -> list[str]:
        """The lines that were printed and stay, without colours."""
        return [
            line
            for line in plain(self.file.getvalue()).splitlines()
            if line[:1] in ("✓", "✗", "!") or line.startswith("  syncing")
        ]


def begin(*nodes: str, lacking: int = 100 * MB) -> list[Event]:
    return [
        SyncStarted(what="all images", nodes=list(nodes)),
        TransferStarted(engine="star", why="x", bytes=dict.fromkeys(nodes, lacking)),
    ]


def arrive(**arrived: int) -> Event:
    return Progress(bytes=arrived)


def end(node: str, state: str = "synced", message: str = "", seconds: float = 6.6) -> Event:
    return NodeFinished(node=node, state=state, bytes=67_100_000, seconds=seconds, message=message, what="x")


def names(number: int) -> list[str]:
    return [f"c{each:03}" for each in range(1, number + 1)]


# --- what is drawn


def test_the_whole_and_each_node_with_rate_and_time_left() -> None:
    screen = Screen()
    screen.say(*begin("c001", "c002"))
    screen.say(arrive(c001=10 * MB, c002=30 * MB), at=1)
    screen.say(arrive(c001=20 * MB, c002=60 * MB), at=2)
    drawn = [re.sub("[━╸╺]+ *", "▬  ", line) for line in screen.drawn()]
    assert drawn == [
        "0/2 nodes  ▬  40 %  80 MB of 200 MB  40 MB/s  0:08",
        "  c001     ▬  20 %  20 MB of 100 MB  10 MB/s  0:08",
        "  c002     ▬  60 %  60 MB of 100 MB  30 MB/s  0:02",
    ]


def test_a_narrow_terminal_has_shorter_bars_and_all_the_rest() -> None:
    screen = Screen(width=60)
    screen.say(*begin("gpu-a100-01"))
    screen.say(arrive(**{"gpu-a100-01": 10 * MB}), at=1)
    screen.say(arrive(**{"gpu-a100-01": 20 * MB}), at=2)
    drawn = [re.sub("[━╸╺]+ *", "▬  ", line) for line in screen.drawn()]
    assert drawn[1] == "  gpu-a100-01  ▬  20 %  20 MB of 100 MB  10 MB/s  0:08"


def test_only_the_slowest_of_many_have_a_bar() -> None:
    screen = Screen()
    nodes = names(800)
    screen.say(*begin(*nodes))
    screen.say(arrive(**{node: number * 100_000 for number, node in enumerate(nodes[:-100], start=1)}), at=1)
    screen.say(SyncStarted(what="", nodes=nodes), *begin(*nodes, "c900")[1:], at=1)
    screen.say(arrive(**{node: number * 100_000 for number, node in enumerate(nodes[:-100], start=1)}), at=2)
    drawn = screen.drawn()
    assert len(drawn) == 1 + ROWS + 1
    assert [line.split()[0] for line in drawn[1:-1]] == names(ROWS)
    assert drawn[-1] == f"  and {700 - ROWS} more, 101 waiting"


def test_nodes_that_have_not_answered_are_counted() -> None:
    screen = Screen()
    screen.say(begin("c001", "c002")[0])
    assert screen.drawn()[-1].endswith("asking 2 of 2 nodes")
    screen.say(end("c002", "unreachable", "no route"))
    assert screen.drawn()[-1].endswith("asking 1 of 2 nodes")
    screen.say(begin("c001", "c002", "c003")[0], begin("c001")[1])
    assert screen.drawn()[-1] == "  1 waiting, 2 not answered yet"


def test_a_node_that_has_all_is_verifying_and_then_gone() -> None:
    screen = Screen()
    screen.say(*begin("c001", "c002"), arrive(c001=100 * MB, c002=MB))
    assert [line.split()[-1] for line in screen.drawn()[1:]] == ["MB", "verifying"]
    screen.say(end("c001"))
    assert not [line for line in screen.drawn() if "c001" in line]


def test_a_low_window_keeps_its_lines() -> None:
    screen = Screen(height=8)
    screen.say(*begin(*names(20)), arrive(**dict.fromkeys(names(20), MB)))
    assert len(screen.drawn()) == 6
    assert screen.drawn()[-1] == "  and 16 more"


def test_an_upload_has_a_bar_until_it_is_there() -> None:
    screen = Screen()
    for second in (1, 2):
        screen.say(ImageProgress(name=NAME, size=100 * MB, bytes=second * 20 * MB), at=second)
    (drawn,) = screen.drawn()
    assert drawn.split()[0] == NAME.rpartition("/")[2]
    assert drawn.endswith("40 %  40 MB of 100 MB  20 MB/s  0:03")
    screen.say(ImageSent(name=NAME, bytes=100 * MB))
    assert screen.drawn() == []


def test_what_is_over_has_no_bar_below_the_line_that_says_so() -> None:
    screen = Screen()
    with screen.bars:
        screen.say(ImageProgress(name=NAME, size=100 * MB, bytes=20 * MB))
        screen.bars.tick()
        assert "━" in screen.file.getvalue()
        screen.say(ImageSent(name=NAME, bytes=100 * MB))
        assert "━" not in screen.file.getvalue().rpartition("sent to the controller")[2]


def test_nothing_to_move_needs_no_bar() -> None:
    screen = Screen()
    screen.say(*begin("c001", lacking=0))
    assert screen.drawn() == ["  1 waiting"]


# --- what stays


def test_nodes_that_finish_together_are_one_line() -> None:
    screen = Screen()
    with screen.bars:
        screen.say(*begin(*names(9)), *[end(node) for node in names(8)])
        screen.bars.tick()
        assert screen.lines() == ["  syncing all images to c[001-009]"]
        screen.now += 1.5
        screen.bars.tick()
        assert screen.lines()[-1] == "✓ c[001-008]: synced, 67 MB in 6.6 s"
        screen.say(end("c009"), SyncFinished(states={}, what="x"), at=9)
        assert screen.lines()[-1] == "✓ c009: synced, 67 MB in 6.6 s"


def test_lines_come_in_the_order_of_the_events() -> None:
    screen = Screen()
    with screen.bars:
        screen.say(*begin("c001"), end("c001"), Noticed(message="odd"))
    assert [line[0] for line in screen.lines()[-2:]] == ["✓", "!"]


def test_what_was_held_back_is_said_when_it_is_interrupted() -> None:
    screen = Screen()
    with pytest.raises(KeyboardInterrupt), screen.bars:
        screen.say(*begin("c001", "c002"), end("c001"), end("c002", "failed", "disk full"))
        raise KeyboardInterrupt
    assert screen.lines()[-2:] == ["✓ c001: synced, 67 MB in 6.6 s", "✗ c002: disk full"]
    assert screen.file.getvalue().rindex(SHOW) > screen.file.getvalue().rindex(HIDE)


def test_failures_are_red_and_tidy() -> None:
    screen = Screen()
    with screen.bars:
        screen.say(*begin("c001", "c002"), *[end(node, "failed", "[bold]full\x1b[2J") for node in ("c001", "c002")])
    assert f"{RED}✗ c[001-002]: [bold]full\\x1b[2J" in screen.file.getvalue()


def test_failures_are_whole_lines_and_an_error_file_stays_one(
    capfd: pytest.CaptureFixture[str],
) -> None:
    screen = Screen()
    message = "very " * 50 + "long"
    with screen.bars:
        screen.say(*begin("c001"), end("c001", "failed", message))
        print("a warning", file=sys.stderr)  # noqa: T201
    assert f"✗ c001: {message}" in screen.lines()
    assert "a warning" not in screen.file.getvalue()
    assert capfd.readouterr().err == "a warning\n"


def test_the_same_lines_as_without_a_terminal() -> None:
    events: list[Event] = [
        ImageChecked(name=NAME, size=MB, digest=DIGEST),
        ImageSent(name=NAME, bytes=MB),
        Published(name=NAME, changed=True, digest="x"),
        Noticed(message="odd"),
        Verified(name=NAME, states={"c1": "missing"}),
    ]
    screen = Screen()
    with screen.bars:
        screen.say(*events)
    assert screen.lines() == [progress.describe(event) for event in events]


class Gone(io.StringIO):
    def write(self, text: str) -> int:
        raise OSError(5, "Input/output error")


def test_a_terminal_that_goes_away_does_not_stop_the_work() -> None:
    screen = Screen()
    with screen.bars:
        screen.console.file = Gone()
        screen.say(*begin("c001"), end("c001"), SyncFinished(states={}, what="x"))
        screen.bars.tick()
    assert sys.stdout is not None
    print("still there")  # noqa: T201


# --- on a real one

PROGRAM = """
import sys, time
from pytest_hpcregistry import cli
from pytest_hpcregistry.cli import show
from pytest_hpcregistry.core.events import NodeFinished, SyncStarted
show.TELL_EVERY = 0
@cli.commands.command("wait")
def wait():
    with show.shown() as say:
        say(SyncStarted("all images", ["c001", "c002"]))
        say(NodeFinished("c001", "all images", "unchanged"))
        time.sleep({seconds})
sys.argv[1:] = ["wait"]
cli.main()
"""


def run_in_terminal(seconds: float, until: str, term: str = "xterm", **how: Any) -> tuple[str, int]:
    """Run it with a terminal, interrupt it once it has said *until*; return all that it said, and its exit code."""
    ours, theirs = pty.openpty()
    argv = [sys.executable, "-c", PROGRAM.format(seconds=seconds)]
    environment = {**os.environ, "TERM": term, "PYTHONIOENCODING": "utf-8"}
    process = subprocess.Popen(argv, stdout=theirs, stderr=theirs, env=environment, **how)
    os.close(theirs)
    said = b""
    while True:
        try:
            chunk = os.read(ours, 4096)
        except OSError:  # Linux: no writer is left
            break
        if not chunk:
            break
        said += chunk
        if until.encode() in said and process.poll() is None:
            process.send_signal(signal.SIGINT)
            until = "\0"
    os.close(ours)
    return said.decode(), process.wait()


def test_control_c_brings_the_cursor_back_and_is_130() -> None:
    said, code = run_in_terminal(60, "asking 1 of 2 nodes")
    assert code == 130
    assert said.rindex(SHOW) > said.rindex(HIDE)
    assert plain(said).index("✓ c001: nothing to send (names and sizes compared)") < plain(said).index("interrupted")


@pytest.mark.parametrize(("asked_for", "coloured"), [("", True), ("1", False)])
def test_marks_are_coloured_unless_nobody_wants_that(asked_for: str, coloured: bool) -> None:
    """https://no-color.org: a word that is empty does not count."""
    program = """
from pytest_hpcregistry.cli import show
from pytest_hpcregistry.core.errors import CheckFailed
from pytest_hpcregistry.core.events import Verified
show.show(Verified("x.sif", {"c1": "missing"}))
show.say_error(CheckFailed("it differs"))
"""
    said = run_on_terminal([sys.executable, "-c", program], NO_COLOR=asked_for)
    assert ("\x1b[31m✗ x.sif: missing c1\x1b[0m" in said) == coloured
    assert ("\x1b[31merror: it differs\x1b[0m" in said) == coloured
    assert ("\x1b" in said) == coloured


def run_on_terminal(argv: Sequence[str], **environment: str) -> str:
    ours, theirs = pty.openpty()
    subprocess.run(argv, stdout=theirs, stderr=theirs, check=True, env={**os.environ, "TERM": "xterm", **environment})
    os.close(theirs)
    said = os.read(ours, 65536)
    os.close(ours)
    return said.decode()


def test_a_dumb_terminal_gets_lines_only() -> None:
    said, code = run_in_terminal(60, "nothing to send", term="dumb")
    assert code == 130
    assert "\x1b" not in said
    assert "  all images: 0 of 2 nodes" in said


def test_no_terminal_gets_lines_only() -> None:
    argv = [sys.executable, "-c", PROGRAM.format(seconds=0)]
    environment = {**os.environ, "TERM": "xterm", "FORCE_COLOR": "1"}
    done = subprocess.run(argv, capture_output=True, text=True, check=True, env=environment)
    assert done.stdout.splitlines() == [
        "  syncing all images to c[001-002]",
        "  all images: 0 of 2 nodes",
        "✓ c001: nothing to send (names and sizes compared)",
        "  all images: 1 of 2 nodes",
    ]
    assert done.stderr == ""


def test_what_is_waited_for_is_drawn_in_place() -> None:
    record = Record("1" * 15, "2026-11-25T19:23:20Z", "sync", claimed="alice@ws2")
    screen = Screen()
    for age in (38, 40):
        screen.say(Waiting("2" * 15, Running(record, age=age)))
        assert f"waiting for a sync by alice@ws2, begun {age} s ago (Ctrl-C to give up)" in screen.drawn()[0]
    assert "waiting for" not in screen.file.getvalue(), "no line for each"
    screen.say(SyncStarted("x", ["c1"]))
    assert "waiting for" not in "".join(screen.drawn())


def test_nodes_that_are_asked_are_counted_and_the_last_are_named() -> None:
    screen = Screen()
    with screen.bars:
        screen.say(Asking(["c1", "c2", "c3"]))
        screen.bars.tick()
        screen.say(NodeAnswered("c1", 5 * MB), at=10.0)
        screen.bars.tick()
        shown = plain(screen.file.getvalue())
        screen.say(Asked(), at=11.0)
        screen.bars.tick()
    assert "0 of 3 nodes have answered, waiting for c[1-3]" in shown
    assert "1 of 3 nodes have answered after 0:10\n" in shown.replace(" \n", "\n")
    assert "waiting for c[2-3]" in shown


def test_reading_has_a_bar_with_rate_time_left_and_the_slowest() -> None:
    screen = Screen()
    screen.say(Asking(["c1", "c2", "c3"]), at=0.0)
    screen.say(NodeAnswered("c1", 500 * MB, 5.0), NodeAnswered("c2", 500 * MB, 10.0), at=10.0)
    screen.now = 6.0
    drawn = [re.sub("[━╸╺]+ *", "▬  ", line) for line in screen.drawn()]
    assert drawn == [
        "reading  ▬  66 %  1.0 GB of 1.5 GB  167 MB/s  0:01",
        "  2 of 3 nodes have answered after 0:06",
        "  slowest c2: 50 MB/s (others 100 MB/s)",
        "  waiting for c3",
    ]
