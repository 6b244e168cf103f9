"""What the log says of commands: enough to repeat them, and no secret."""

from __future__ import annotations

import logging

import pytest

from pytest_hpcregistry.core.errors import Unreachable
from pytest_hpcregistry.testing.transport import FakeTransport
from pytest_hpcregistry.transports import Command, CommandResult
from pytest_hpcregistry.transports.log import LONGEST_WORD, describe


@pytest.mark.parametrize(
    ("argv", "shown"),
    [
        (["ls", "-l", "a b"], "ls -l 'a b'"),
        (["printf", "\x1b[2J\n"], r"printf '\x1b[2J\n'"),
        (["p", "x" * (LONGEST_WORD + 1)], f"p <{LONGEST_WORD + 1} characters>"),
        (["env", "DB_PASSWORD=hunter2", "X=1"], "env DB_PASSWORD=… X=1"),
        (["p", "--token=hunter2"], "p --token=…"),
        (["ansible-playbook", "--extra-vars", "x=hunter2", "-e", "hunter2"], "ansible-playbook --extra-vars … -e …"),
        (["curl", "https://me:hunter2@host/x"], "curl https://…@host/x"),
        ([], ""),
    ],
)
def test_a_command_is_one_line_without_secrets(argv: list[str], shown: str) -> None:
    assert describe(argv) == shown or describe(argv).replace("'", "") == shown
    assert "hunter2" not in describe(argv)


def test_each_command_is_logged_with_its_time_and_sizes(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, "pytest_hpcregistry")
    FakeTransport("one", "two").run(["cat"], timeout=1, stdin=b"12345", on_line=lambda line: None)
    assert caplog.messages == [
        "begun: cat",
        "hpc: cat: exit code 0 (0.00 s)",
        "hpc: sent 5 bytes, read 8 characters, 0 of errors",
    ]


def test_a_command_that_could_not_be_run_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    class Gone(FakeTransport):
        def execute(self, command: Command) -> CommandResult:
            raise Unreachable("no route", where="hpc")

    caplog.set_level(logging.INFO, "pytest_hpcregistry")
    with pytest.raises(Unreachable):
        Gone().run(["true"], timeout=1)
    assert caplog.messages == ["true: hpc: no route (0.00 s)"]
