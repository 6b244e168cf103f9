"""The Dockerfiles of fixtures/images, by hadolint: also that of an image which no test can build."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests import ROOT

HADOLINT = Path(sys.executable).parent / "hadolint"
DOCKERFILES = sorted((ROOT / "fixtures" / "images").glob("*/Dockerfile"))


def lint(dockerfile: Path) -> subprocess.CompletedProcess[str]:
    argv = [str(HADOLINT), "--config", str(ROOT / ".hadolint.yaml"), "--no-color", str(dockerfile)]
    return subprocess.run(argv, capture_output=True, text=True, check=False, timeout=60)


@pytest.mark.parametrize("dockerfile", DOCKERFILES, ids=lambda path: path.parent.name)
def test_a_dockerfile_is_sound(dockerfile: Path) -> None:
    found = lint(dockerfile)
    if found.returncode or found.stdout:
        pytest.fail(f"{found.stdout}{found.stderr}", pytrace=False)


def test_all_are_looked_at() -> None:
    assert {"mpi-base", "mpich-base", "python-base", "pytorch-cpu", "pytorch-cuda"} <= {
        path.parent.name for path in DOCKERFILES
    }


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("RUN cd /x && ls", "DL3003"),
        ("RUNN ls", "missing whitespace"),
        ('RUN true && rm -rf "$HOME" || false', "SC2015"),
    ],
)
def test_what_is_wrong_is_seen(tmp_path: Path, line: str, says: str) -> None:
    """If it were not, the test above would pass whatever a Dockerfile says."""
    dockerfile = tmp_path / "Dockerfile"
    dockerfile.write_text(f"ARG BASE\nFROM ${{BASE}}\n{line}\n")
    found = lint(dockerfile)
    assert found.returncode == 1
    assert says in found.stdout
