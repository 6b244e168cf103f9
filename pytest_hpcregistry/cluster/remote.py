"""The controller program, run from the workstation over a transport: its arguments, its events, its failures."""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Sequence
from typing import Any, TypeVar

from .. import __version__
from ..core import layout
from ..core.errors import RUN_SETUP, CommandFailed, HpcRegistryError, UsageError
from ..core.events import (
    Cancelled,
    Event,
    Failed,
    GcFinished,
    Listener,
    NodeFinished,
    Noticed,
    SyncFinished,
    SyncStarted,
    Waiting,
)
from ..core.history import WITHDRAWN
from ..core.model import Cluster
from ..core.wire import from_line
from ..transports import CommandResult, Transport
from .programs import build_controller

RUN_FROM_STDIN = """\
import subprocess, sys, tempfile
with tempfile.NamedTemporaryFile(suffix=".pyz") as program:
    program.write(sys.stdin.buffer.read())
    program.flush()
    sys.exit(subprocess.call([sys.executable, program.name] + sys.argv[1:], stdin=subprocess.DEVNULL))
"""

DAMAGED = ("can't find '__main__' module", "ModuleNotFoundError:", "ImportError:", "SyntaxError:")
"""What Python says of a program that lacks a part, and nothing else of it."""

OTHER_WORDS = ("invalid choice: ", "unrecognized arguments: ")
"""What the program says of a command or an option that it does not have, though it calls itself of this version."""

WITHDRAWING = 90
"""Seconds to have a command ended that waits for its turn."""
DONE = {"gc": "freed", "sync": "sent to the nodes"}
"""What was not done by a command that was withdrawn, where there is a better word than changed."""

Kind = TypeVar("Kind", bound=Event)


def ignore(_: Event) -> None:
    """The listener of who does not want to know."""


def last_of(events: Sequence[Event]) -> Event | None:
    """What a program ended with: what it only noticed may come after that."""
    return next((event for event in reversed(events) if not isinstance(event, Noticed)), None)


class RemoteProgram:
    """The controller program of one cluster: the one that phase 1 installed there, or this version's, sent along."""

    def __init__(self, cluster: Cluster, transport: Transport) -> None:
        self.cluster = cluster
        self.transport = transport

    def ask(
        self,
        kind: type[Kind],
        words: Sequence[str],
        *,
        timeout: float,
        stdin: Any = None,
        listener: Listener = ignore,
    ) -> Kind:
        """The event that the controller program answers with; what it notices beside that is the *listener*'s."""
        events = self.run(self.installed(*words), stdin=stdin, timeout=timeout)
        for event in events:
            if isinstance(event, Noticed):
                listener(event)
        last = last_of(events)
        if not isinstance(last, kind):
            raise self.unanswered(words[0])
        return last

    def unanswered(self, command: str) -> CommandFailed:
        """It ended well, and said nothing that answers the *command*."""
        return CommandFailed(f"no answer to {command}", where=self.cluster.controller.name, hint=RUN_SETUP)

    def installed(self, *words: str) -> list[str]:
        """The program that phase 1 installed; one of another version does nothing."""
        config = layout.inside(self.cluster.registry.path, layout.CONFIG)
        return ["python3", layout.PROGRAM, "--expect", __version__, "--config", config, "--json", *words]

    def pass_on(self, words: Sequence[str], *, timeout: float, listener: Listener) -> None:
        """Run the installed program, or one that is sent along where there is none of this version, as before phase 1.
        Its events go to the *listener* and are not kept: there may be many and large ones."""

        def listen(event: Event) -> None:
            if not isinstance(event, Failed):
                listener(event)

        try:
            self.run(self.installed(*words), timeout=timeout, listener=listen, keep=False)
        except UsageError:  # the installed one has done nothing; what else was wrong with the question is said again
            argv = ["python3", "-c", RUN_FROM_STDIN, "--json", *words]
            self.run(argv, stdin=build_controller(), timeout=timeout, listener=listener, keep=False)

    def run(
        self,
        argv: Sequence[str],
        *,
        timeout: float,
        stdin: Any = None,
        listener: Listener = ignore,
        keep: bool = True,
    ) -> list[Event]:
        """Run the controller program; return its events, without *keep* the last alone, as there may be many and large
        ones. Its failure is raised here as the same kind of failure."""
        events: deque[Event] = deque(maxlen=None if keep else 1)

        def on_line(line: str) -> None:
            try:
                event = from_line(line)
            except ValueError as error:
                raise CommandFailed(
                    f"the answer of the controller program is malformed: {error}",
                    where=self.cluster.controller.name,
                    hint=RUN_SETUP,
                ) from None
            if event:
                events.append(event)
                listener(event)

        result = self.transport.run(self.as_root(argv), stdin=stdin, timeout=timeout, on_line=on_line)
        failures = [event for event in events if isinstance(event, Failed)]
        if failures:
            raise failures[-1].error()
        # 3 and 4 are a sync's own, told by its events; anything else is a program that was ended or broke.
        if not events or result.exit_code not in (0, 3, 4):
            raise self.no_answer(result)
        return list(events)

    def as_root(self, argv: Sequence[str]) -> list[str]:
        return list(argv) if self.cluster.controller.user == "root" else ["sudo", "-n", *argv]

    def no_answer(self, result: CommandResult) -> HpcRegistryError:
        """The program did not even start: say why, in the user's terms."""
        name = self.cluster.controller.name
        said = result.last_words()
        if "No such file" in result.stderr or "can't open file" in result.stderr:
            return UsageError(
                f"phase 1 of version {__version__} has not been run",
                where=name,
                hint="hpc-container-manager registry setup",
            )
        if any(word in result.stderr for word in DAMAGED):
            return UsageError(f"the controller program there is damaged: {said}", where=name, hint=RUN_SETUP)
        if any(word in result.stderr for word in OTHER_WORDS):
            return UsageError(
                f"the controller program there is another one than this: {said}", where=name, hint=RUN_SETUP
            )
        if "sudo:" in result.stderr:
            user = self.cluster.controller.user
            terminal = f", and without a terminal (Defaults:{user} !requiretty)" if "tty" in said else ""
            return UsageError(said, where=name, hint=f"let {user} run `sudo -n` there without a password{terminal}")
        if not result.stderr.strip():
            what = f"the connection or the controller program ended (exit {result.exit_code}) without an answer"
            return CommandFailed(what, where=name, hint="see what became of it: hpc-container-manager history")
        return CommandFailed(f"the controller program said (exit {result.exit_code}): {said}", where=name)

    def to_its_end(
        self, end: type[Kind], command: str, arguments: Sequence[str], listener: Listener
    ) -> tuple[list[Event], Kind]:
        """Run a command that the controller must bring to its end; returns its events, and the one that is its end."""
        latest: Event | None = None
        awaited = set[str]()

        def listen(event: Event) -> None:
            nonlocal latest
            latest = event
            if isinstance(event, SyncStarted):
                awaited.update(event.nodes)
            elif isinstance(event, NodeFinished):
                awaited.discard(event.node)
            listener(event)

        argv = self.installed(command, *arguments)
        try:
            events = self.run(argv, timeout=self.cluster.sync.timeout * 2, listener=listen)
        except KeyboardInterrupt as interrupt:
            interrupt.add_note(self.after_interrupt(command, latest, awaited))
            raise
        last = last_of(events)
        if not isinstance(last, end):
            raise CommandFailed(
                f"the {command} ended before it was done",
                where=self.cluster.controller.name,
                hint="see its log there: " + self.cluster.sync.log,
            )
        return events, last

    def after_interrupt(self, command: str, latest: Event | None, awaited: Collection[str]) -> str:
        """What becomes of a *command* that nobody waits for any more, from the *latest* event of it and the nodes that
        are *awaited*: one that still waits for its turn is withdrawn."""
        name, stop = self.cluster.controller.name, "hpc-container-manager cancel"
        if isinstance(latest, (SyncFinished, GcFinished)):
            look = "hpc-container-manager history"
            return f"interrupted here. The {command} on {name} had come to its end: {look}"
        if isinstance(latest, NodeFinished) and not awaited:
            look = "hpc-container-manager running"
            return f"interrupted here. All nodes were done, and the {command} on {name} may have ended: {look}"
        if latest is None or isinstance(latest, Noticed):
            look = "hpc-container-manager running"
            return f"interrupted here. If the {command} has begun on {name}, it goes on there: {look}"
        if isinstance(latest, Waiting):
            try:
                answer = self.ask(Event, ["cancel", "--id", latest.id], timeout=WITHDRAWING)
            except HpcRegistryError as error:
                return f"interrupted here. What became of the {command}, which waited on {name}, is not known: {error}"
            if isinstance(answer, Cancelled) and answer.how.reason.startswith(WITHDRAWN):
                return f"withdrawn: nothing was {DONE.get(command, 'changed')}"
            if isinstance(answer, Cancelled):
                return f"interrupted here. The {command} on {name} ended as {answer.how.state}"
        return f"interrupted here. The {command} goes on on {name}. Stop it: {stop}"
