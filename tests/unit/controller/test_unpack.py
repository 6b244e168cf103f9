"""The controller program, unpacked and compiled beside its archive."""

from __future__ import annotations

import hashlib
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from pytest_hpcregistry import __version__
from pytest_hpcregistry.cluster.programs import build_controller, pack
from pytest_hpcregistry.controller.unpack import unpack
from pytest_hpcregistry.core.errors import CommandFailed

SAYS = 'import sys; sys.path[0] = __import__("os").path.realpath(sys.path[0]); {}\n'


def archive(directory: Path, code: str) -> Path:
    path = directory / "controller.pyz"
    path.write_bytes(pack([("__main__.py", SAYS.format(code).encode()), ("late.py", f"# {code}\n".encode())]))
    return path


def say(program: Path, *words: str) -> str:
    argv = [sys.executable, "-I", "-S", str(program), *words]
    return subprocess.run(argv, capture_output=True, text=True, check=True).stdout.strip()


def test_the_program_unpacks_itself_with_all_of_its_bytecode(tmp_path: Path) -> None:
    program = tmp_path / "controller.pyz"
    program.write_bytes(build_controller())
    assert say(program, "unpack") == "unpacked"
    assert say(tmp_path / "controller", "--version") == __version__
    sources = set(tmp_path.glob("controller-*/**/*.py"))
    compiled = {path.parent.parent / path.name.partition(".")[0] for path in tmp_path.glob("controller-*/**/*.pyc")}
    assert sources == {path.with_suffix(".py") for path in compiled}
    assert {path.stat().st_mode & 0o777 for path in tmp_path.glob("controller-*/**/*")} == {0o755, 0o644}
    assert say(program, "unpack") == "already unpacked"


def test_the_link_leads_to_the_archives_own_files(tmp_path: Path) -> None:
    link = tmp_path / "controller"
    for code in ("print(1)", "print(2)", "print(1)"):
        assert unpack(archive(tmp_path, code))
        assert say(link) == code[6]
        assert not unpack(archive(tmp_path, code))
    assert len(list(tmp_path.glob("controller-*"))) == 2
    assert unpack(archive(tmp_path, "print(3)"))
    assert sorted(path.name for path in tmp_path.iterdir() if path.is_dir() and not path.is_symlink()) == sorted(
        path.name for path in tmp_path.glob("controller-*")
    )
    assert len(list(tmp_path.glob("controller-*"))) == 2  # the one in use, and the one before it


DAMAGES: list[Callable[[Path], object]] = [
    lambda program: (program / "__main__.py").unlink(),
    lambda program: (program / "late.py").write_text(""),
    lambda program: (program / "late.py").unlink(),
    lambda program: (program / "json.py").write_text("import os"),
    lambda program: program.unlink(),
]


@pytest.mark.parametrize("damage", DAMAGES)
def test_what_was_damaged_is_made_again(tmp_path: Path, damage: Callable[[Path], object]) -> None:
    program = tmp_path / "controller"
    assert unpack(archive(tmp_path, "print(1)"))
    damage(program)
    assert unpack(archive(tmp_path, "print(1)"))
    assert say(program) == "1"
    assert sorted(path.name for path in program.glob("*.py")) == ["__main__.py", "late.py"]
    assert not unpack(archive(tmp_path, "print(1)"))


@pytest.mark.parametrize("make", [Path.mkdir, Path.touch])
def test_what_is_no_link_of_ours_is_left_and_named(tmp_path: Path, make: Callable[[Path], None]) -> None:
    make(tmp_path / "controller")
    with pytest.raises(CommandFailed, match=f"{tmp_path}/controller is in the way") as caught:
        unpack(archive(tmp_path, "print(1)"))
    assert caught.value.hint == f"move {tmp_path}/controller away"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["controller", "controller.pyz"]


def test_what_a_killed_run_left_goes_with_the_next(tmp_path: Path) -> None:
    unpack(archive(tmp_path, "print(1)"))
    (tmp_path / ".controller.4711").symlink_to("nowhere")
    (tmp_path / ".controller-0123.abcd").mkdir()
    (tmp_path / "controller-backup").symlink_to("controller")
    path = archive(tmp_path, "print(2)")
    (tmp_path / f"controller-{hashlib.sha256(path.read_bytes()).hexdigest()[:12]}").touch()
    assert unpack(path)
    assert say(tmp_path / "controller") == "2"
    assert len(list(tmp_path.iterdir())) == 4  # the archive, the link, and two directories


def test_a_running_program_keeps_its_own_files(tmp_path: Path) -> None:
    """What it imports late is of the version that was started."""
    unpack(archive(tmp_path, "print(0, flush=True); input(); import late; print(open(late.__file__).read())"))
    argv = [sys.executable, str(tmp_path / "controller")]
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as running:
        assert running.stdout is not None
        assert running.stdout.readline() == "0\n"
        unpack(archive(tmp_path, "print(2)"))
        said, _ = running.communicate("go on\n", timeout=60)
    assert "input()" in said


def test_what_cannot_be_compiled_takes_nobodys_place(tmp_path: Path) -> None:
    unpack(archive(tmp_path, "print(1)"))
    with pytest.raises(CommandFailed, match="cannot be compiled"):
        unpack(archive(tmp_path, "print("))
    assert say(tmp_path / "controller") == "1"
    assert not list(tmp_path.glob(".controller*"))
