"""What a login prints is no command's output: not with a line break, not without one, and not in its place."""

from __future__ import annotations

import io
import os
import shutil
import subprocess
import sys
from collections.abc import Callable

import pytest

from pytest_hpcregistry.core.errors import CommandFailed
from pytest_hpcregistry.transports import Command, CommandResult
from pytest_hpcregistry.transports.frame import for_any_shell, framed, new_mark, printed
from pytest_hpcregistry.transports.process import Stream, run_command

CHATTER = ["", "Welcome\n", "gpu01 gpu02 ", "one\ntwo\nthree ", "\n\n", "x" * 300_000]
OUTPUT = bytes(range(256)) * 2000


def login(
    chatter: str, *argv: str, stdout: io.BytesIO | None = None, on_line: Callable[[str], None] | None = None
) -> CommandResult:
    """Run a command as sshd would by a shell that first prints *chatter*."""
    mark = new_mark()
    script = 'printf %s "$1"; eval "$2"'
    command = Command(
        ["sh", "-c", script, "sh", chatter[:100_000], framed(argv, mark)],
        timeout=20,
        stdout=stdout,
        on_line=on_line,
        mark=printed(mark),
    )
    return run_command("controller", command)


@pytest.mark.parametrize("chatter", CHATTER)
def test_only_the_commands_own_output_is_returned(chatter: str) -> None:
    assert login(chatter, "printf", "%s %s", "a b", "$(id)").stdout == "a b $(id)"
    lines: list[str] = []
    login(chatter, "printf", "one\ntwo", on_line=lines.append)
    assert lines == ["one", "two"]


def test_exit_code_and_standard_error_are_the_commands_own() -> None:
    result = login("hello ", "sh", "-c", "echo wrong >&2; exit 7")
    assert (result.exit_code, result.stdout, result.stderr) == (7, "", "wrong\n")
    assert login("hello ", "no-such-program").exit_code == 127


@pytest.mark.parametrize("size", [1, 2, 7, 4096, 1 << 20])
def test_the_mark_is_found_however_the_bytes_arrive(size: int) -> None:
    mark, sink = printed("m4rk"), io.BytesIO()
    stream = Stream("standard output", sink, mark=mark)
    whole = b"half a line m4rk" + mark + OUTPUT + mark
    for start in range(0, len(whole), size) if size > 2 else range(0, 400, size):
        stream.take(whole[start : start + size])
    assert sink.getvalue() == (OUTPUT + mark if size > 2 else (OUTPUT + mark)[: 400 - 16 - len(mark)])


def test_what_runs_in_the_place_of_the_command_is_no_success() -> None:
    """As a forced command does, or a shell that prints its menu."""
    command = Command(["echo", "choose 1 or 2"], timeout=20, mark=printed(new_mark()))
    with pytest.raises(CommandFailed, match="something else than the command, and said choose 1 or 2"):
        run_command("controller", command)


def test_the_words_of_a_login_that_refuses_are_its_reason() -> None:
    """nologin(8) prints on standard output."""
    command = Command(["sh", "-c", "echo 'not available'; exit 1"], timeout=20, mark=printed(new_mark()))
    result = run_command("controller", command)
    assert (result.exit_code, result.stdout, result.last_words()) == (1, "", "not available")


SHELLS = [shell for shell in ("sh", "dash", "bash", "ksh", "zsh", "fish", "tcsh") if shutil.which(shell)]
SHOW = "import os, sys; sys.stdout.buffer.write(b'\\0'.join(map(os.fsencode, sys.argv[1:])))"


@pytest.mark.parametrize("shell", SHELLS)
@pytest.mark.parametrize(
    "words",
    [
        ["plain", "a b", "", "$HOME `id` $(id) *", "it's", '"'],
        ["\\n", "\\\\n", "\\\\\\", "\\'", "'\\", "\\c", "\\0101"],
        ["one\ntwo\n", "!", "a!b", "^a^b", "~", "%s %b", "Größe", "\udcff", "\t"],
        ['{"commands": {"printf \\\\\\"a\\\\n\\\\\\"": ["x"]}}'],
    ],
)
def test_every_shell_takes_the_words_as_they_are(shell: str, words: list[str]) -> None:
    line = for_any_shell([sys.executable, "-c", SHOW, *words])
    done = subprocess.run([shell, "-c", line], capture_output=True, timeout=20, check=True)
    assert done.stdout == b"\0".join(os.fsencode(word) for word in words)


def test_what_every_shell_takes_alike_is_written_as_it_is() -> None:
    assert for_any_shell(["echo", "a b", "it's", "a\\n"]) == """echo 'a b' 'it'"'"'s' 'a\\n'"""
