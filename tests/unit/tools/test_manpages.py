"""Man pages: one of each command, in the wheel, and man(1) has nothing to say against them."""

from __future__ import annotations

import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from pytest_hpcregistry.config.load import ENVIRONMENT as FILE_VARIABLES
from tests import ROOT
from tests.unit.test_docs import all_commands
from tools.manpages import ENVIRONMENT as VARIABLES
from tools.manpages import EXIT_STATUS, PROGRAM, escape, pages, write

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


def test_each_page_has_exit_codes_and_environment() -> None:
    readme = (ROOT / "README.md").read_text().partition("## Exit codes")[2].partition("\nZero nodes")[0]
    table = [line.strip("|").split("|") for line in readme.splitlines() if line.startswith("| ") and "code" not in line]
    assert {code.strip(): meaning.strip() for code, meaning in table} == EXIT_STATUS
    named = {word for names in VARIABLES for word in names.split(", ")}
    assert {*FILE_VARIABLES, "HPC_CLUSTER", "TEST_CONTROLLER"} <= named
    for text in PAGES.values():
        assert ".SH EXIT STATUS\n.TP\n\\fB0\\fR\ndone and proven\n" in text
        assert ".SH ENVIRONMENT\n.TP\n\\fBHPC_CLUSTER\\fR\n" in text


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
