"""Which older Python of this machine a lab takes."""

from __future__ import annotations

from pathlib import Path

import pytest

from pytest_hpcregistry.core.errors import UsageError
from pytest_hpcregistry.lab import pythons


def program(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)


@pytest.fixture
def pyenv(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("PYENV_ROOT", str(tmp_path / "pyenv"))
    monkeypatch.setenv("PATH", f"{tmp_path}/bin:/usr/bin:/bin")
    return tmp_path / "pyenv" / "versions"


def test_the_one_on_the_path_goes_first(pyenv: Path) -> None:
    program(pyenv / "3.6.15/bin/python3.6", "echo /elsewhere")
    program(pyenv.parent.parent / "bin/python3.6", "echo /prefix")
    assert pythons.find("3.6") == Path("/prefix")


def test_one_of_pyenv_that_is_not_chosen(pyenv: Path) -> None:
    program(pyenv.parent.parent / "bin/python3.6", "echo 'pyenv: python3.6: command not found' >&2; exit 127")
    program(pyenv / "3.6.15/bin/python3.6", "echo /pyenv/3.6.15")
    program(pyenv / "3.60.1/bin/python3.60", "echo /pyenv/3.60.1")
    assert pythons.find("3.6") == Path("/pyenv/3.6.15")


def test_none_is_said(pyenv: Path) -> None:
    with pytest.raises(UsageError, match=r"this machine has no Python 3\.6"):
        pythons.find("3.6")
