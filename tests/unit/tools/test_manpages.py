"""Man pages: one of each command, in the wheel, and man(1) has nothing to say against them."""

from __future__ import annotations

import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from tests import ROOT
from tests.unit.test_docs import all_commands
from tools.manpages import PROGRAM, escape, pages, write

PAGES = pages()


def test_each_command_has_its_page() -> None:
    names = {f"{PROGRAM}-{path.replace(' ', '-')}" for path, _ in all_commands()}
    assert names < PAGES.keys()
    assert {PROGRAM, f"{PROGRAM}-catalog"} <= PAGES.keys()


def test_a_page_has_what_the_help_has() -> None:
    page = PAGES[f"{PROGRAM}-rollback"]
    for part in (
        ".SH NAME\nhpc\\-container\\-manager\\-rollback \\- Go back to an older version of an image\n",
        ".nf\nExamples:\n  hpc\\-container\\-manager rollback pytorch.sif ",
        ".TP\n\\fB\\-\\-to VERSION\\fR\n",
        ".TP\n\\fB\\-h, \\-\\-help\\fR\n",
    ):
        assert part in page


def test_text_is_no_request_of_roff() -> None:
    assert escape(".so /etc/passwd") == "\\&.so /etc/passwd"
    assert escape(r"a\b -c") == r"a\eb \-c"


@pytest.mark.skipif(shutil.which("groff") is None, reason="no groff here")
@pytest.mark.parametrize("name", PAGES)
def test_roff_has_no_warning(name: str) -> None:
    argv = ["groff", "-man", "-ww", "-Kutf8", "-Tutf8", "-z"]
    done = subprocess.run(argv, input=PAGES[name], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def test_they_are_in_the_wheel(tmp_path: Path) -> None:
    argv = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path)]
    subprocess.run(argv, cwd=ROOT, capture_output=True, check=True)
    (wheel,) = tmp_path.glob("*.whl")
    found = {Path(name).name for name in zipfile.ZipFile(wheel).namelist() if "/data/share/man/man1/" in name}
    assert found == {f"{name}.1" for name in PAGES}


def test_they_can_be_written_by_hand(tmp_path: Path) -> None:
    assert {path.read_text() for path in write(tmp_path)} == set(PAGES.values())
