"""Who has a file open: what is read of a process and of a loop device, and what the kernel is asked."""

from __future__ import annotations

import fcntl
import glob
import os
import signal
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pytest_hpcregistry import agent
from pytest_hpcregistry.agent import in_use
from pytest_hpcregistry.agent.in_use import Hidden, inode, is_open_elsewhere, open_in_process


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "file"
    path.write_bytes(b"x")
    return path


# --- one process


class Process:
    """What /proc tells of a process that has nothing open yet."""

    def __init__(self, directory: Path) -> None:
        self.path = directory
        for name in ("fd", "fdinfo"):
            (directory / name).mkdir(parents=True)
        (directory / "maps").write_text("")

    def open(self, number: int, path: Path, told: str) -> None:
        (self.path / f"fd/{number}").symlink_to(path)
        (self.path / f"fdinfo/{number}").write_text(f"pos:\t0\nflags:\t0100000\nmnt_id:\t29\n{told}")

    def look(self, *files: Path) -> set[in_use.Inode]:
        wanted = {path.stat().st_ino: inode(path.stat()) for path in files}
        return open_in_process(str(self.path), wanted)


@pytest.fixture
def process(tmp_path: Path) -> Process:
    return Process(tmp_path / "proc/7")


def number(path: Path) -> int:
    return path.stat().st_ino


def test_a_file_is_its_device_and_number(file: Path) -> None:
    assert inode(file.stat()) == (file.stat().st_dev, file.stat().st_ino)


def test_what_a_process_has_open(process: Process, file: Path) -> None:
    process.open(3, file, f"ino:\t{number(file)}\n")
    assert process.look(file) == {inode(file.stat())}


def test_what_nobody_asks_for_is_not_looked_at(process: Process, file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It may lie where a network file system hangs."""
    wanted = {number(file): inode(file.stat())}
    process.open(3, Path("/nowhere"), "ino:\t1\n")
    monkeypatch.setattr(os, "stat", lambda path: 1 // 0)
    assert open_in_process(str(process.path), wanted) == set()


def test_what_is_closed_meanwhile_hides_nothing_else(process: Process, file: Path) -> None:
    for closed in (3, 5):
        process.open(closed, Path("/nowhere"), f"ino:\t{number(file)}\n")
        process.open(closed + 1, file, f"ino:\t{number(file)}\n")
    (process.path / "fdinfo/5").unlink()
    (process.path / "maps").unlink()
    assert process.look(file) == {inode(file.stat())}


@pytest.mark.parametrize("place", ["fdinfo/3", "maps"])
def test_a_process_that_ends_meanwhile(
    process: Process, file: Path, place: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    process.open(3, file, f"ino:\t{number(file)}\n")
    opened = open

    def ended(path: str, *words: Any, **how: Any) -> Any:
        if path.endswith(place):
            raise ProcessLookupError(3, "No such process")
        return opened(path, *words, **how)

    monkeypatch.setattr("builtins.open", ended)
    assert process.look(file) == (set() if place == "fdinfo/3" else {inode(file.stat())})


def test_a_process_that_has_ended(tmp_path: Path, file: Path) -> None:
    assert open_in_process(str(tmp_path / "proc/8"), {number(file): inode(file.stat())}) == set()


def test_what_a_process_has_mapped(process: Process, file: Path, tmp_path: Path) -> None:
    """By the number alone: the device is not always what stat says."""
    other = tmp_path / "other"
    other.touch()
    lines = [
        b"7f00-7f01 r--p 00000000 00:00 0",
        b"7f01-7f02 r--p 00000000 00:99 %d    /a b/c d (deleted)" % number(file),
        b"7f02-7f03 r--p 00000000 00:99 12345678    /\xff\xfe",
    ]
    (process.path / "maps").write_bytes(b"\n".join(lines) + b"\n")
    assert process.look(file, other) == {inode(file.stat())}


def test_a_process_that_hides(process: Process, file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def denied(path: Any) -> Any:
        raise PermissionError(13, "Permission denied", path)

    monkeypatch.setattr(os, "listdir", denied)
    with pytest.raises(Hidden) as caught:
        process.look(file)
    assert str(caught.value) == (
        f"nothing is freed, because {process.path} does not show what it has open: is this root?"
    )


def test_linux_before_5_14_tells_no_number_so_that_the_file_is_looked_at(
    process: Process, file: Path, tmp_path: Path
) -> None:
    process.open(3, file, "")
    assert process.look(file) == {inode(file.stat())}
    assert in_use.inode_number(str(process.path / "fdinfo/3"), {4: (1, 4), 5: (1, 5)}) in (4, 5)


# --- all processes


@pytest.fixture
def no_loops(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The loop devices that there are, none yet."""
    found: list[str] = []
    monkeypatch.setattr(glob, "glob", lambda pattern: found if pattern == "/sys/block/loop*/loop/backing_file" else 0)
    return found


def listed(monkeypatch: pytest.MonkeyPatch, rounds: Iterator[list[str]]) -> list[str]:
    """Let /proc have these entries, one list for each look; returns the processes that were looked at."""
    looked: list[str] = []
    monkeypatch.setattr(os, "listdir", lambda path: next(rounds) if path == "/proc" else [])

    def look(process: str, wanted: Any) -> set[in_use.Inode]:
        looked.append(process)
        if process == "/proc/13":
            raise Hidden(process)
        return {(1, int(process.removeprefix("/proc/")))}

    monkeypatch.setattr(in_use, "open_in_process", look)
    return looked


@pytest.mark.usefixtures("no_loops")
def test_processes_that_are_born_meanwhile_are_looked_at_once(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    looked = listed(monkeypatch, iter([["1", "self"], ["1", "2"], ["1", "2", "3"], ["1", "3"], ["4"]]))
    assert in_use.in_use("/r", [file.stat()]) == ({(1, 1), (1, 2), (1, 3)}, None)
    assert looked == ["/proc/1", "/proc/2", "/proc/3"]


@pytest.mark.usefixtures("no_loops")
def test_a_machine_where_processes_are_always_born_is_not_looked_at_for_ever(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    looked = listed(monkeypatch, iter([str(number)] for number in range(100, 200)))
    in_use.in_use("/r", [file.stat()])
    assert len(looked) == 20


@pytest.mark.usefixtures("no_loops")
def test_one_that_hides_is_told_and_the_others_are_looked_at(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    listed(monkeypatch, iter([["13"], ["14"], ["14"]]))
    monkeypatch.setattr(in_use, "filesystem", {"/r": {"type": "ext4"}}.__getitem__)
    used, hidden = in_use.in_use("/r", [file.stat()])
    assert (used, str(hidden)) == ({(1, 14)}, "/proc/13")


@pytest.mark.usefixtures("no_loops")
def test_none_may_hide_where_a_lease_does_not_know_of_mappings(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    listed(monkeypatch, iter([["14"], ["14"], ["13", "14"], ["13", "14"]]))
    monkeypatch.setattr(in_use, "filesystem", {"/r": {"type": "overlay"}}.__getitem__)
    assert in_use.in_use("/r", [file.stat()]) == ({(1, 14)}, None)
    with pytest.raises(Hidden, match="/proc/13"):
        in_use.in_use("/r", [file.stat()])


def test_for_no_file_nobody_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "listdir", lambda path: 1 // 0)
    assert in_use.in_use("/r", []) == (set(), None)


# --- loop devices

BACKING = "/sys/block/loop7/loop/backing_file"


def test_a_loop_device_is_asked_for_the_inode(file: Path, no_loops: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    opened, real, asked = list[Any](), os.open, list[Any]()

    def answer(descriptor: int, question: int, room: bytes) -> bytes:
        asked.append((descriptor, question, room))
        return struct.pack("=QQQ", 5, 77, 99).ljust(232, b"\1")

    def open_device(path: str, flags: int) -> int:
        opened.append((path, flags))
        return real("/dev/null", flags)

    monkeypatch.setattr(fcntl, "ioctl", answer)
    monkeypatch.setattr(os, "open", open_device)
    no_loops.append(BACKING)
    listed(monkeypatch, iter([[]]))
    assert in_use.in_use("/r", [file.stat()]) == ({(5, 77)}, None)
    assert opened == [("/dev/loop7", os.O_RDONLY | os.O_CLOEXEC)]
    assert [one[1:] for one in asked] == [(0x4C05, bytes(232))]
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(asked[0][0])


@pytest.mark.parametrize("path", ["/r/x.sif", "/r/a/x.sif (deleted)"])
def test_a_loop_device_of_this_registry_must_answer(path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    closed(monkeypatch, path)
    with pytest.raises(agent.Refused) as caught:
        in_use.file_of_loop_device(BACKING, "/r")
    assert str(caught.value) == f"/dev/loop7 has {path} mounted, and cannot be asked (Permission denied)"


@pytest.mark.parametrize("path", ["/elsewhere", "/rr/x.sif", "/r.old/x.sif", "", None])
def test_another_loop_device_need_not(path: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    closed(monkeypatch, path)
    assert in_use.file_of_loop_device(BACKING, "/r") == (0, 0)


def closed(monkeypatch: pytest.MonkeyPatch, path: str | None) -> None:
    """Let a loop device not be opened, and its file have this path."""

    def denied(*_: Any) -> int:
        raise PermissionError(13, "Permission denied", "/dev/loop7")

    monkeypatch.setattr(os, "open", denied)
    monkeypatch.setattr(in_use, "read_text", {BACKING: None if path is None else f"{path}\n"}.__getitem__)


# --- the kernel


@pytest.mark.parametrize("mode", ["rb", "r+b"])
def test_a_lease_is_refused_while_another_has_the_file_open(file: Path, mode: str) -> None:
    with file.open("rb") as mine:
        with file.open(mode):
            assert is_open_elsewhere(mine.fileno()) is True
        assert is_open_elsewhere(mine.fileno()) is False
        assert fcntl.fcntl(mine, fcntl.F_GETLEASE) == fcntl.F_WRLCK
        assert fcntl.fcntl(mine, fcntl.F_GETSIG) == signal.SIGURG


def test_where_there_are_no_leases_nothing_is_known() -> None:
    with Path(os.devnull).open("rb") as device:
        assert is_open_elsewhere(device.fileno()) is None
