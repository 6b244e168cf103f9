"""Events -> bars on a terminal: the whole, and the slowest nodes under way; lines are printed above them.

The one home of rich. A terminal that goes away does not stop the work.
"""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from types import TracebackType

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.spinner import Spinner
from rich.table import Table
from rich.text import Text

from ..core.asking import Answers
from ..core.events import Event, NodeFinished, SyncFinished, Waiting
from ..core.names import visible
from ..core.pace import Track, Transfers, amount, duration, percent
from .lines import COLOURS, describe, nodes_finished

TICK = 0.25  # seconds between two looks of the bars
ROWS = 8  # nodes that get a bar of their own
BAR = 40  # columns


class Bars:
    """While it is open, *console* shows the events of its listener `listen`."""

    def __init__(self, console: Console, clock: Callable[[], float] = time.monotonic) -> None:
        self.console = console
        self.clock = clock
        self.lock = threading.RLock()
        self.transfers = Transfers()
        self.waiting: str | None = None
        self.answers = Answers()
        self.held: list[NodeFinished] = []
        self.held_since = 0.0
        self.spinner = Spinner("dots")
        # An error output that is a file stays one: rich would bring it to the terminal.
        self.live = Live(
            console=console,
            auto_refresh=False,
            transient=True,
            redirect_stderr=sys.stderr.isatty(),
            get_renderable=self.render,
        )
        self.closing = threading.Event()
        self.thread = threading.Thread(target=self.run, daemon=True)

    def __enter__(self) -> Bars:
        with suppress(OSError):
            self.live.start()
        self.thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.closing.set()
        self.thread.join()
        with self.lock:
            self.flush()
            with suppress(OSError):
                self.live.stop()

    def run(self) -> None:
        while not self.closing.wait(TICK):
            self.tick()

    def tick(self) -> None:
        """Say what was held back long enough, and draw anew."""
        with self.lock:
            if self.held and self.clock() - self.held_since >= self.patience:
                self.flush()
            with suppress(OSError):
                self.live.refresh()

    def listen(self, event: Event) -> None:
        """Take one event; many threads may call it."""
        with self.lock:
            now = self.clock()
            self.transfers.take(event, now)
            self.waiting = describe(event) if isinstance(event, Waiting) else None
            if self.waiting:
                return  # in place: it is reported again and again
            self.answers.take(event, now)
            if isinstance(event, NodeFinished):
                self.held_since = self.held_since if self.held else now
                self.held.append(event)
                return
            line = describe(event)
            if line:
                self.flush()
                self.print(line)
            if isinstance(event, SyncFinished):
                self.flush()

    @property
    def patience(self) -> float:
        """Seconds that a finished node waits for others, to share a line with them: the more nodes, the longer."""
        return 1 + len(self.transfers.nodes) / 200

    def flush(self) -> None:
        for line in nodes_finished(self.held):
            self.print(line)
        self.held = []

    def print(self, line: str) -> None:
        text = Text(line)
        text.stylize(COLOURS.get(line[0], ""), 0, None if line[0] == "✗" else 1)
        with suppress(OSError):
            self.live.refresh()  # what the line says is over has no bar below it
            self.console.print(text, soft_wrap=True)

    # --- what is drawn

    def render(self) -> RenderableType:
        with self.lock:
            now = self.clock()
            transfers = self.transfers
            if not self.answers.idle:
                return self.spin(self.answers.text(now))
            table = Table.grid(padding=(0, 2, 0, 0))
            table.add_column(no_wrap=True)
            table.add_column()  # the bar: in a narrow terminal what may be wrapped is cut first
            for column in ("right", "right", "right", "left"):
                table.add_column(justify=column, no_wrap=True)
            for name, track in transfers.uploads.items():
                table.add_row(Text(visible(name.rpartition("/")[2])), *cells(track, now, track.left(now)))
            if self.waiting:
                return Group(table, self.spin(self.waiting.strip()))
            if not transfers.nodes:
                return table
            done = f"{len(transfers.finished - transfers.failed)}/{len(transfers.nodes)} nodes"
            if transfers.whole.size:
                table.add_row(Text(done, "bold"), *cells(transfers.whole, now, transfers.left(now)))
            elif not transfers.tracks:
                waiting = len(transfers.nodes) - len(transfers.finished)
                return Group(table, self.spin(f"asking {waiting} of {len(transfers.nodes)} nodes"))
            shown, rest = self.choose()
            for node in shown:
                track = transfers.tracks[node]
                table.add_row(Text(visible(f"  {node}")), *cells(track, now, track.left(now)))
            return Group(table, Text(rest, "dim")) if rest else table

    def spin(self, text: str) -> RenderableType:
        self.spinner.update(text=text)
        return self.spinner

    def choose(self) -> tuple[list[str], str]:
        """The nodes to show, the slowest first, and the others in words."""
        transfers = self.transfers
        open_nodes = [node for node in transfers.tracks if node not in transfers.finished]
        under_way = [node for node in open_nodes if transfers.tracks[node].arrived]
        under_way.sort(key=lambda node: percent(transfers.tracks[node]))
        rows = max(0, min(ROWS, self.console.height - 4))
        counts = {
            "more": len(under_way) - rows,
            "waiting": len(open_nodes) - len(under_way),
            "not answered yet": len(set(transfers.nodes) - set(transfers.tracks) - transfers.finished),
        }
        rest = ", ".join(f"{count} {word}" for word, count in counts.items() if count > 0)
        return under_way[:rows], f"  {'and ' * ('more' in rest)}{rest}" if rest else ""


def cells(track: Track, now: float, left: float | None) -> list[RenderableType]:
    """One row of the table, behind its name."""
    rate = track.rate(now)
    if track.size and track.arrived == track.size:
        last = ["", "verifying"]
    else:
        last = [f"{amount(rate)}/s" if rate else "", duration(left) if left else ""]
    bar = ProgressBar(total=track.size or 1, completed=track.arrived if track.size else 1, width=BAR)
    return [bar, f"{percent(track)} %", f"{amount(track.arrived)} of {amount(track.size)}", *last]


def on_this_terminal() -> Bars:
    """Bars on standard output."""
    return Bars(Console(highlight=False))
