"""What is said while the cluster is asked, which may take long."""

from __future__ import annotations

import subprocess
import sys
import time

import pytest

from pytest_hpcregistry.testing.facts import gathered

from .runs import THREE, answer, phase

pytest_plugins = ["pytester"]
SLOW = 60
"""Seconds that an answer takes."""
FAKE_SSH = f"""\
#!/bin/sh
for word; do
    case $word in -G | -O) exit ;; --) exec /bin/sleep {SLOW} ;; esac
done
exit 255
"""
"""Says of itself what it is asked, at once, and lets a command wait."""


def test_an_answer_that_comes_at_once_needs_no_word(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> None:
    answer(monkeypatch, gathered(THREE))
    assert "asking" not in phase(pytester).stdout.str()


def test_who_is_asked_is_said_before_a_late_answer_comes(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Through a pipe, too: a run that is ended because it takes long has said whom it waited for."""
    ssh = pytester.mkdir("bin") / "ssh"
    ssh.write_text(FAKE_SSH)
    ssh.chmod(0o755)
    monkeypatch.setenv("PATH", f"{ssh.parent}:/usr/bin:/bin")
    argv = [sys.executable, "-m", "pytest", "-m", "infrastructure", "--hpc-controller=hpc"]
    began = time.monotonic()
    process = pytester.popen(argv, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    assert process.stdout
    try:
        assert b"hpc: asking hpc" in process.stdout.readline()
        assert time.monotonic() - began < SLOW * 0.75
    finally:
        process.terminate()
        process.wait()
        process.stdout.close()
