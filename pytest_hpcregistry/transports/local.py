"""The machine that this program runs on."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import BinaryIO

from . import CommandResult
from .process import run_process


class LocalTransport:
    """The machine that this program runs on."""

    def __init__(self, where: str = "this machine") -> None:
        self.where = where

    def run(
        self,
        argv: Sequence[str],
        *,
        timeout: float,
        stdin: bytes | BinaryIO | None = None,
        stdout: BinaryIO | None = None,
        on_line: Callable[[str], None] | None = None,
    ) -> CommandResult:
        return run_process(self.where, argv, timeout=timeout, stdin=stdin, stdout=stdout, on_line=on_line)

    def close(self) -> None:
        """Nothing is held open between two commands."""
