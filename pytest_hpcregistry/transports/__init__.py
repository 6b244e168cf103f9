"""How a command reaches another machine: one small interface, one file for each way.

Runs on the workstation and the controller; Python 3.9.
"""

from __future__ import annotations

import shlex
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, BinaryIO

from ..core.errors import CommandFailed, HpcRegistryError
from ..core.names import excerpt, last_line
from .log import LOG, describe

if TYPE_CHECKING:
    from ..core.model import Cluster


@dataclass(frozen=True)
class CommandResult:
    """What a command did. `seconds` is the wall-clock time; `stdout` is empty when it was streamed elsewhere."""

    where: str
    argv: tuple[str, ...]
    exit_code: int
    stdout: str
    stderr: str
    seconds: float

    def last_words(self, otherwise: str = "nothing") -> str:
        """The last line of what it wrote to standard error, as an excerpt; *otherwise* when that is none."""
        return last_line(self.stderr, otherwise)

    def check(self) -> CommandResult:
        """Return itself if the exit code is 0; raise CommandFailed with the last words of the command if not."""
        if self.exit_code != 0:
            last_words = (self.stderr.strip() or self.stdout.strip()).splitlines()[-3:]
            raise CommandFailed(
                f"{excerpt(shlex.join(self.argv), 200)} exited with {self.exit_code}"
                + "".join(f"\n  {excerpt(line)}" for line in last_words),
                where=self.where,
            )
        return self


def open_transport(cluster: Cluster) -> Transport:
    """The way to *cluster*'s controller that its file asks for. Nothing is connected before the first command."""
    if cluster.ssh.transport == "paramiko":
        from .paramiko import ParamikoTransport

        return ParamikoTransport(cluster)
    from .openssh import OpensshTransport

    return OpensshTransport(cluster)


@dataclass(frozen=True)
class Command:
    """What a transport is to run, within *timeout* seconds.

    *argv* is a list: nothing in it reaches a shell unquoted. *stdin* is sent to the command; *stdout*, when given,
    receives its output as bytes; *on_line*, when given, is called with each line of output as it comes. What comes
    before *mark* is not the command's. *keep* are descriptors that a program on this machine gets, too.
    """

    argv: Sequence[str]
    timeout: float
    stdin: bytes | BinaryIO | None = None
    stdout: BinaryIO | None = None
    on_line: Callable[[str], None] | None = None
    mark: bytes = b""
    keep: Sequence[int] = ()


class Transport(ABC):
    """One machine that commands can be run on. A subclass has `execute`, and `close` if it holds anything open."""

    def run(
        self,
        argv: Sequence[str],
        *,
        timeout: float,
        stdin: bytes | BinaryIO | None = None,
        stdout: BinaryIO | None = None,
        on_line: Callable[[str], None] | None = None,
    ) -> CommandResult:
        """Execute a Command of these fields, and log it."""
        shown, began, read = describe(argv), time.monotonic(), 0

        def count(line: str) -> None:
            nonlocal read
            read += len(line) + 1
            assert on_line is not None
            on_line(line)

        LOG.debug("begun: %s", shown)
        try:
            result = self.execute(Command(argv, timeout, stdin, stdout, count if on_line else None))
        except HpcRegistryError as error:
            LOG.info("%s: %s (%.2f s)", shown, error, time.monotonic() - began)
            raise
        LOG.info("%s: %s: exit code %d (%.2f s)", result.where, shown, result.exit_code, result.seconds)
        sent = f"{len(stdin)} bytes" if isinstance(stdin, bytes) else "a file" if stdin else "nothing"
        answered = read or len(result.stdout)
        LOG.debug("%s: sent %s, read %d characters, %d of errors", result.where, sent, answered, len(result.stderr))
        return result

    @abstractmethod
    def execute(self, command: Command) -> CommandResult:
        """Run a command to its end, and return what it did.

        It never raises for a non-zero exit. It raises Unreachable when the machine cannot be asked and CommandTimeout
        when the command is still running after its timeout.
        """

    def close(self) -> None:  # noqa: B027 - there may be nothing to close
        """Close what is held open between two commands."""
