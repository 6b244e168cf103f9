"""A stand-in for Apptainer: it keeps the words that it was given, and runs the command on this machine."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

STANDS_IN = """#!/bin/sh
[ "$1" != --version ] || exit 0
echo "$@" >> "$STANDS_IN/asked"
shift 2
while [ "${1#--}" != "$1" ]; do
    case $1 in --memory=*) [ -e "$STANDS_IN/cgroups" ] || { echo no cgroup >&2; exit 255; } ;; esac
    shift
done
shift
exec "$@"
"""


@pytest.fixture
def apptainer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The directory with the stand-in, which keeps its words in `asked`, and takes --memory where `cgroups` is."""
    home = tmp_path / "apptainer"
    home.mkdir()
    (home / "apptainer").write_text(STANDS_IN)
    (home / "apptainer").chmod(0o755)
    monkeypatch.setenv("PATH", f"{home}:/usr/bin:/bin")
    monkeypatch.setenv("STANDS_IN", str(home))
    yield home
