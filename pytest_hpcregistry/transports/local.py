"""The machine that this program runs on."""

from __future__ import annotations

from . import Command, CommandResult, Transport
from .process import run_command


class LocalTransport(Transport):
    """The machine that this program runs on."""

    def __init__(self, where: str = "this machine") -> None:
        self.where = where

    def execute(self, command: Command) -> CommandResult:
        """See Transport."""
        return run_command(self.where, command)
