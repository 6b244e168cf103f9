"""The error tree: one class per kind of failure, each with the exit code that the command line returns.

    HpcRegistryError            4  the work itself failed
    ├── UsageError              2  wrong use: a name, an argument, a file that is not what was asked for
    │   └── ConfigError         2  a configuration file is wrong; carries every mistake, not the first
    ├── CheckFailed             1  a check failed or drift was found
    ├── Unreachable             3  a machine could not be asked, so nothing is known about it
    ├── Undetermined            3  what was looked at gave no answer that can be used
    └── CommandFailed           4  a command ran on a machine and said no
        └── CommandTimeout      4  a command did not end before its deadline

Exit code 0 is "done and proven", 130 is "interrupted" (143 and 129: by SIGTERM and SIGHUP).
"""

from __future__ import annotations

from collections.abc import Sequence

RUN_SETUP = "run phase 1 again: hpc-container-manager registry setup"
"""What to do where phase 1 is the remedy, as where a machine has another version of this program."""

DEPLOY_FIRST = "deploy one first: hpc-container-manager deploy FILE.sif"
"""What to do where there is no image."""


class HpcRegistryError(Exception):
    """A failure that a user can act on: `what` happened, `where` (a node, a file), and in `hint` what to do."""

    exit_code = 4

    def __init__(self, what: object, *, where: object = "", hint: str = "") -> None:
        self.what, self.where, self.hint = str(what), str(where), hint
        super().__init__(f"{self.where}: {self.what}" if self.where else self.what)

    def reason(self, node: str) -> str:
        """What happened, for a message that names *node* itself."""
        return self.what if self.where in ("", node) else str(self)


class UsageError(HpcRegistryError):
    """The command was used wrongly; nothing was changed."""

    exit_code = 2


class ConfigError(UsageError):
    """A configuration is wrong. `mistakes` holds every mistake with its place."""

    def __init__(self, source: str, mistakes: Sequence[str], *, where: str = "", hint: str = "") -> None:
        count = len(mistakes)
        heading = f"{source}: {count} mistake{'s' if count != 1 else ''}"
        # A mistake quotes what is in the file, or its name: its line breaks make no lines of ours.
        lines = [line.replace("\n", "\\n") for line in (heading, *(f"  {mistake}" for mistake in mistakes))]
        super().__init__("\n".join(lines), where=where, hint=hint)
        self.source, self.mistakes = source, tuple(mistakes)

    def on(self, machine: str, hint: str) -> ConfigError:
        """The same of a file of *machine*; *hint* where there is none yet."""
        return ConfigError(self.source, self.mistakes, where=machine, hint=self.hint or hint)


class CheckFailed(HpcRegistryError):
    """Something was looked at and is not as it should be."""

    exit_code = 1


class Unreachable(HpcRegistryError):
    """A machine could not be asked."""

    exit_code = 3


class Undetermined(HpcRegistryError):
    """What was looked at gave no answer that can be used."""

    exit_code = 3


class CommandFailed(HpcRegistryError):
    """A command ran and failed."""


class CommandTimeout(CommandFailed):
    """A command was still running at its deadline and was stopped."""


def from_exit_code(code: int) -> type[HpcRegistryError]:
    """The kind of failure that a program of ours ended with."""
    kinds: tuple[type[HpcRegistryError], ...] = (UsageError, CheckFailed, Unreachable)
    return next((kind for kind in kinds if kind.exit_code == code), CommandFailed)
