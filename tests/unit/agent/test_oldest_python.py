"""The agent on the oldest Python that it is for, where this machine has one: vermin knows words, not what they do."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from pytest_hpcregistry.core.errors import UsageError
from pytest_hpcregistry.lab import pythons

OLDEST = "3.6"
FILES = ("test_agent.py", "test_sync_key.py")


def test_the_agents_own_tests_pass_on_it() -> None:
    try:
        program = pythons.find(OLDEST) / "bin" / f"python{OLDEST}"
    except UsageError as error:
        pytest.skip(str(error))
    here = Path(__file__).parent
    argv = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *(str(here / name) for name in FILES)]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}
    environment["HPCREG_AGENT_PYTHON"] = str(program)
    done = subprocess.run(argv, capture_output=True, text=True, env=environment, timeout=300, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
