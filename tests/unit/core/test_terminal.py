"""Character sets that lack our signs."""

from __future__ import annotations

import io
import os
import subprocess
import sys

import pytest

from pytest_hpcregistry.core.terminal import never_fail_to_encode


@pytest.mark.parametrize(
    ("encoding", "expected"),
    [("utf-8", "✓ c001 … é 漢"), ("latin-1", "+ c001 ... é ?"), ("ascii", "+ c001 ... ? ?")],
)
def test_what_cannot_be_shown_is_shown_otherwise(encoding: str, expected: str) -> None:
    bytes_ = io.BytesIO()
    stream = io.TextIOWrapper(bytes_, encoding=encoding)
    never_fail_to_encode(stream, None)
    stream.write("✓ c001 … é 漢")
    stream.flush()
    assert bytes_.getvalue().decode(encoding) == expected


@pytest.mark.parametrize("words", [("lab", "nöpe漢"), ("--help",), ("image", "--help")])
def test_no_command_ends_for_its_terminal(words: tuple[str, ...]) -> None:
    environment = {**os.environ, "PYTHONIOENCODING": "latin-1", "PYTHONUTF8": "0"}
    argv = [sys.executable, "-c", "from pytest_hpcregistry.cli import main; main()", *words]
    done = subprocess.run(argv, env=environment, capture_output=True, check=False)
    assert b"Traceback" not in done.stderr
    assert done.returncode == (0 if words[-1] == "--help" else 2)
