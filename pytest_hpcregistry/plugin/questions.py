"""What tests of a site ask of every machine beside our own questions, in the same login: the ini options hpc_paths and
hpc_commands, and the hook pytest_hpc_request of a conftest.py.

All of it goes by your own login, as which root on the controller reaches root on the nodes; the sync key can do none of
it.
"""

from __future__ import annotations

import shlex
from dataclasses import dataclass, field, replace
from pathlib import PurePosixPath

import pytest

from ..core.errors import UsageError
from ..core.machine import Question
from ..core.names import excerpt

MOST_TEXTS = 20
LONGEST = 4096  # bytes of a path, as the kernel has it
MOST_COMMANDS = 10
LONGEST_COMMAND = 1000  # characters
OF_SHELLS = ("|", "||", "&", "&&", ";", ">", ">>", "<", "2>&1")
MOST_BYTES = 32 << 10  # of all paths: the question is one argument of a command, which Linux allows 128 KiB


@dataclass
class Request:
    """What is to be asked of every machine: `paths` for `machine.path()`, and `texts` for `machine.text()`, of each the
    first MiB, which are read as root, and never changed; `commands` for `machine.command()`, which are run as root."""

    paths: list[str] = field(default_factory=list)
    texts: list[str] = field(default_factory=list)
    commands: list[str] = field(default_factory=list)


@pytest.hookspec
def pytest_hpc_request(request: Request) -> None:
    """Add to `request.paths`, `request.texts` and `request.commands` what tests of yours look at.

    Called once, in the process that asks the cluster, before it does. It is seen in a conftest.py beside the ini file.
    """


def add_to(config: pytest.Config, question: Question) -> Question:
    """The question with what this project adds. Raises UsageError for what is no path or no command, or too much."""
    paths, commands = ([line for line in config.getini(name) if line] for name in ("hpc_paths", "hpc_commands"))
    request = Request(paths=paths, commands=commands)
    config.hook.pytest_hpc_request(request=request)
    paths, texts = list(map(check, request.paths)), list(map(check, request.texts))
    if len(texts) > MOST_TEXTS:
        raise UsageError(f"pytest_hpc_request: {len(texts)} texts are more than {MOST_TEXTS}")
    if sum(len(path.encode()) for path in (*paths, *texts)) > MOST_BYTES:
        raise UsageError(f"hpc_paths: all paths together are longer than {MOST_BYTES >> 10} KiB")
    if len(request.commands) > MOST_COMMANDS:
        raise UsageError(f"hpc_commands: {len(request.commands)} are more than {MOST_COMMANDS}")
    return replace(
        question,
        paths=list(dict.fromkeys([*question.paths, *paths])),
        texts=list(dict.fromkeys([*question.texts, *texts])),
        commands={text: split(text) for text in request.commands},
    )


def check(path: str) -> str:
    if not path.startswith("/") or ".." in PurePosixPath(path).parts or not path.isprintable():
        raise UsageError(f"hpc_paths: {excerpt(path)} is no absolute path")
    if len(path.encode()) > LONGEST:
        raise UsageError(f"hpc_paths: {excerpt(path, 80)} is longer than {LONGEST} bytes")
    return path.rstrip("/") or "/"


def split(text: str) -> list[str]:
    """The words of a command, which no shell reads."""
    try:
        words = shlex.split(text)
    except ValueError as error:
        raise UsageError(f"hpc_commands: {excerpt(text)}: {error}") from None
    if not words or not words[0] or not text.isprintable() or len(text) > LONGEST_COMMAND or words[0].startswith("-"):
        raise UsageError(f"hpc_commands: {excerpt(text)} is no command of at most {LONGEST_COMMAND} characters")
    if of_shell := [word for word in words if word in OF_SHELLS]:
        raise UsageError(f"hpc_commands: {excerpt(text)}: {of_shell[0]} is for a shell; write one command a line")
    return words
