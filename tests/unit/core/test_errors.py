"""The error tree and its exit codes."""

from __future__ import annotations

import pytest

from pytest_hpcregistry.core.errors import CheckFailed, CommandFailed, Unreachable, UsageError, from_exit_code


@pytest.mark.parametrize("kind", [UsageError, CheckFailed, Unreachable, CommandFailed])
def test_an_exit_code_is_a_kind_of_failure(kind: type[CommandFailed]) -> None:
    assert from_exit_code(kind.exit_code) is kind


@pytest.mark.parametrize("code", [0, 5, 70, 255])
def test_any_other_is_work_that_failed(code: int) -> None:
    assert from_exit_code(code) is CommandFailed
