"""A transport with prepared answers, which keeps the commands that it was given."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from ..core.events import Event
from ..core.wire import to_line
from ..transports import Command, CommandResult, Transport


class FakeTransport(Transport):
    """Answers every command with the same lines, and keeps what it was asked."""

    def __init__(self, *lines: Any, exit_code: int = 0, stderr: str = "") -> None:
        self.lines = [as_line(line) for line in lines]
        self.exit_code, self.stderr = exit_code, stderr
        self.asked: list[Sequence[str]] = []
        self.sent: list[bytes] = []
        self.timeouts: list[float] = []

    def execute(self, command: Command) -> CommandResult:
        self.asked.append(command.argv)
        self.timeouts.append(command.timeout)
        stdin = command.stdin
        self.sent.append(stdin if isinstance(stdin, bytes) else stdin.read() if stdin else b"")
        if command.on_line is not None:
            for line in self.lines:
                command.on_line(line)
        shown = "" if command.on_line else "\n".join(self.lines)
        return CommandResult("hpc", tuple(command.argv), self.exit_code, shown, self.stderr, 0.0)


def as_line(line: Any) -> str:
    """Text as it is, an event as on a wire, other data as JSON."""
    if isinstance(line, Event):
        return to_line(line)
    return line if isinstance(line, str) else json.dumps(line)
