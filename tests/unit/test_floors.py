"""What runs where: the agent on Python 3.6, the controller program on 3.9, the library without its fronts."""

from __future__ import annotations

import re
import subprocess
import sys
import zipfile
from collections.abc import Iterable
from io import BytesIO
from pathlib import Path

from pytest_hpcregistry import __version__
from pytest_hpcregistry.cluster import programs

PACKAGE = programs.PACKAGE


def least_python(paths: Iterable[Path], *options: str) -> tuple[int, int]:
    """The oldest Python that has everything these files use, as vermin says; its silence is an error."""
    argv = [str(Path(sys.executable).with_name("vermin")), "--no-tips", *options, *map(str, paths)]
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    found = re.search(r"^Minimum required versions: (?:.*, )?(3)\.(\d+)$", done.stdout, re.MULTILINE)
    assert found, done.stdout + done.stderr
    return int(found[1]), int(found[2])


def test_too_new_a_word_is_seen(tmp_path: Path) -> None:
    """If it were not, the tests below would pass whatever is written."""
    (tmp_path / "new.py").write_text("import tomllib\n")
    assert least_python([tmp_path / "new.py"]) == (3, 11)


def test_the_agent_runs_on_python_3_6() -> None:
    assert least_python([PACKAGE / "__init__.py", *(PACKAGE / "agent").glob("*.py")]) <= (3, 6)


def test_the_controller_program_runs_on_python_3_9() -> None:
    paths = [path for pattern in programs.CONTROLLER for path in PACKAGE.glob(pattern)]
    assert len(paths) > 15
    assert least_python(paths) <= (3, 9)


def test_hints_that_are_read_at_run_time_are_those_of_python_3_9() -> None:
    """records.build evaluates them: `X | None` would be an error there."""
    paths = [PACKAGE / "core" / "machine.py", *PACKAGE.glob("core/events/*.py")]
    assert least_python(paths, "--eval-annotations") == (3, 9)


def test_the_checks_can_go_to_the_controller_too() -> None:
    assert least_python((PACKAGE / "checks").glob("*.py")) <= (3, 9)


def test_what_the_controller_program_carries_runs_on_python_3_9() -> None:
    """Whatever a release says of the Python that pip may install it for."""
    for distribution, package in programs.CARRIED.items():
        assert least_python(programs.find(distribution, package).rglob("*.py")) <= (3, 9)


def test_the_archive_runs_on_its_own(tmp_path: Path) -> None:
    """Isolated from this environment's packages: only what is inside, and the standard library."""
    program = tmp_path / "controller.pyz"
    program.write_bytes(programs.build_controller())
    done = subprocess.run(
        [sys.executable, "-I", "-S", str(program), "--version"], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip()
    done = subprocess.run(
        [sys.executable, "-I", "-S", str(program), "--config", "/nowhere", "sync"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert "has phase 1 been run" in done.stderr
    assert "Traceback" not in done.stderr


def test_the_agent_tells_its_version_isolated(tmp_path: Path) -> None:
    """Phase 1 asks for it before the agent takes the place of another one: as the key's line calls it, with -I."""
    program = tmp_path / "agent.pyz"
    program.write_bytes(programs.build_agent())
    done = subprocess.run([sys.executable, "-I", str(program), "--version"], capture_output=True, text=True, check=True)
    assert done.stdout == f"{__version__}\n"


def test_the_archive_is_the_same_every_time() -> None:
    once = programs.build_controller()
    programs.build_controller.cache_clear()
    assert programs.build_controller() == once
    names = zipfile.ZipFile(BytesIO(programs.build_controller())).namelist()
    assert len(names) == len(set(names))


def test_the_library_works_without_its_fronts() -> None:
    code = (
        "import sys; from pytest_hpcregistry.cluster import client, deploy; import pytest_hpcregistry.config.load;"
        "fronts = ('pytest', 'click', 'rich', 'paramiko', 'ansible', 'junit_xml');"
        "print([name for name in fronts if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
