"""What is in a SIF, seen without mounting it; what leads out of it, or would fill the disk, is never unpacked."""

from __future__ import annotations

import os
import shutil
import stat
from pathlib import Path

import pytest

from pytest_hpcregistry.core import sif
from pytest_hpcregistry.core.errors import CommandFailed, Undetermined, UsageError
from pytest_hpcregistry.core.pace import amount
from pytest_hpcregistry.images.inventory import contents
from pytest_hpcregistry.images.inventory.contents import Contents, extract, list_contents, unpack, unpacking_directory
from pytest_hpcregistry.testing.sif import Sif, system_partition
from tests.fakes.image import PLAIN, lay, pack

pytestmark = pytest.mark.usefixtures("temporary")


def listed(path: Path) -> Contents:
    return list_contents(sif.check(path))


def entry(name: str, kind: str = "-", size: int = 1) -> str:
    return f"{kind}rw-r--r-- 0/0 {size:20} 2026-01-31 12:00 squashfs-root/{name}"


def test_files_and_links_are_listed(tmp_path: Path) -> None:
    root = lay(tmp_path / "root", {"a b/f [1]": "123", "#c": "1", "dev/x": "", "ä\\": "", "new\nline": "1"})
    os.mkfifo(root / "pipe")
    for name, target in {"link": "/etc -> passwd", "a -> b": "ä", "back": "../../a b"}.items():
        (root / name).symlink_to(target)
    found = listed(pack(root, tmp_path / "x.sif"))
    assert found.files == {"a b/f [1]": 3, "#c": 1, "dev/x": 0, "ä\\": 0, "new": 1}
    assert found.links == {"link": "/etc -> passwd", "a -> b": "ä", "back": "../../a b"}
    assert (found.directories, found.bytes, found.strange, found.special) == ({"", "a b", "dev"}, 5, 1, ["pipe"])


def test_links_are_followed_inside_the_image() -> None:
    found = Contents(Path("x.sif"), 0)
    for line in (entry("usr/lib/f"), entry("lib -> usr/lib", "l", 7), entry("up -> ../../../lib/../lib", "l", 19)):
        found.add(line)
    found.add(entry("etc/f -> /lib/f", "l", 6))
    found.add(entry("loop -> loop", "l", 4))
    found.add(entry("usr/up -> ./../usr/./lib//", "l", 16))
    for number in range(41):
        target = str(number + 1) if number < 40 else "usr/lib/f"
        found.add(entry(f"{number} -> {target}", "l", len(target)))
    found.add(entry("out -> /etc/passwd", "l", 11))
    for path in ("usr/lib/f", "lib/f", "up/f", "etc/f", "/lib/./f", "usr/up/f", "1"):
        assert found.find(path) == "usr/lib/f", path
    for path in ("lib", "loop", "0", "out", "f", "lib/f/f", "no"):
        assert found.find(path) is None, path


@pytest.mark.parametrize(
    ("lines", "why"),
    [
        ([entry("../etc/passwd")], "../etc/passwd in it leads out of it"),
        ([entry("a/..", "d")], "a/.. in it leads out of it"),
        ([entry(".. -> x", "l")], ".. in it leads out of it"),
        ([entry(str(number)) for number in range(4)], "it holds more than 3 files"),
        ([entry("a"), entry("b", "d"), entry("c -> d", "l"), entry("d")], "it holds more than 3 files"),
        ([entry(str(number), "p") for number in range(4)], "it holds more than 3 files"),
    ],
)
def test_what_no_sound_image_has_is_refused(monkeypatch: pytest.MonkeyPatch, lines: list[str], why: str) -> None:
    monkeypatch.setattr(contents, "MOST_FILES", 3)
    found = Contents(Path("x.sif"), 0)
    with pytest.raises(Undetermined) as caught:
        for line in lines:
            found.add(line)
    assert str(caught.value) == f"x.sif: {why}"
    assert ("leads out" in why) == (caught.value.hint == contents.NOT_SOUND)


@pytest.mark.parametrize("second", [entry("a"), entry("a", "d"), entry("a -> b", "l")])
@pytest.mark.parametrize("first", [entry("a"), entry("a", "d"), entry("a -> b", "l")])
def test_what_is_listed_twice_is_not_looked_at(first: str, second: str) -> None:
    found = Contents(Path("x.sif"), 0)
    for line in (first, second, entry("b"), entry("c")):
        found.add(line)
    assert found.regular() == ["b", "c"]
    assert (found.find("c"), found.find("a") == "a", found.strange) == ("c", False, 0)
    assert found.bytes == 2 + sum(line.startswith("-") for line in (first, second))


@pytest.mark.parametrize(
    "line",
    [
        "",
        "x",
        entry("a").replace(" 1 ", f" {'1' * 5000} "),
        "squashfs-root/a",
        entry("a", "l", 1),
        entry("a -> bc", "l", 1),
        entry("a", "?"),
    ],
)
def test_a_line_that_is_none_is_counted(line: str) -> None:
    found = Contents(Path("x.sif"), 0)
    found.add(line)
    assert (found.files, found.links, found.strange) == ({}, {}, 1)


def test_the_chosen_files_are_unpacked_and_no_other(tmp_path: Path) -> None:
    names = ["a b/f [1]", "#c", "ä\\", "*", " x "]
    root = lay(tmp_path / "root", {name: name for name in [*names, "other", "a b/other"]})
    found = listed(pack(root, tmp_path / "x.sif"))
    with unpacking_directory() as directory:
        assert directory.stat().st_mode & 0o777 == 0o700
        extract(found, names, directory / "files")
        unpacked = {path for path in (directory / "files").rglob("*") if path.is_file()}
        assert {str(path.relative_to(directory / "files")): path.read_text() for path in unpacked} == {
            name: name for name in names
        }


def test_all_is_unpacked_but_devices_and_pipes(tmp_path: Path) -> None:
    root = lay(tmp_path / "root", {"a": "1", "dev/x": "1", "b/*": "1"})
    (root / "link").symlink_to("/etc/passwd")
    for name in ("pipe", "dev/p*", "#p", "line\nbreak"):
        os.mkfifo(root / name)
    if os.geteuid() == 0:
        os.mknod(root / "dev" / "null", stat.S_IFCHR | 0o666, os.makedev(1, 3))
    found = listed(pack(root, tmp_path / "x.sif"))
    with unpacking_directory() as directory:
        unpack(found, directory / "root")
        names = {str(path.relative_to(directory / "root")) for path in (directory / "root").rglob("*")}
        assert names == {"a", "b", "b/*", "dev", "dev/x", "link"}
        assert (directory / "root" / "link").is_symlink()


def test_what_does_not_fit_is_not_unpacked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    size = 1 << 22
    root = lay(tmp_path / "root", {"small": "1", "huge": bytes(size)})
    found = listed(pack(root, tmp_path / "x.sif"))
    assert found.path.stat().st_size < size / 10
    monkeypatch.setattr(contents, "MOST_BYTES", size - 1)
    free = size
    monkeypatch.setattr(shutil, "disk_usage", lambda path: shutil._ntuple_diskusage(size, 0, free))
    with unpacking_directory() as directory:
        with pytest.raises(
            Undetermined, match=f"x\\.sif: its package databases have {amount(size)} .* the most of them huge"
        ):
            extract(found, ["huge"], directory / "files")
        with pytest.raises(Undetermined, match=f"x\\.sif: {amount(size + 1)} would have to be unpacked") as caught:
            unpack(found, directory / "root")
        assert caught.value.hint == "set TMPDIR to a directory with more room"
        assert list(directory.iterdir()) == []
        extract(found, ["small"], directory / "files")
        free = size - 1
        monkeypatch.setattr(contents, "MOST_BYTES", size)
        with pytest.raises(Undetermined, match=f"{amount(size)} would have to be unpacked"):
            extract(found, ["huge"], directory / "more")
        free = size
        extract(found, ["huge"], directory / "more")


@pytest.mark.parametrize(
    ("files", "renamed"),
    [
        ({"xx/f": ""}, {b"xx": b".."}),
        ({"aXXXb": ""}, {b"aXXXb": b"a/../"}),
        ({"file1": "1", "file2": "2"}, {b"file2": b"file1"}),
    ],
)
def test_a_hostile_squashfs_is_an_error(tmp_path: Path, files: dict[str, str], renamed: dict[bytes, bytes]) -> None:
    path = pack(lay(tmp_path / "root", files), tmp_path / "x.sif", *PLAIN, renamed=renamed)
    with pytest.raises((CommandFailed, Undetermined), match=r"x\.sif"):
        listed(path)


def test_a_damaged_squashfs_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "x.sif"
    path.write_bytes(Sif().to_bytes())  # sound as far as its superblock says
    with pytest.raises(CommandFailed, match=r"unsquashfs could not read all of it \(exit code 1: ") as caught:
        listed(path)
    assert caught.value.hint


def test_another_file_system_is_not_looked_into(tmp_path: Path) -> None:
    path = tmp_path / "x.sif"
    ext3 = bytes(1080) + b"\x53\xef"
    part = system_partition(file_system=2)
    path.write_bytes(Sif(parts=(type(part)(part.kind, ext3.ljust(4096, b"\0"), part.name, part.extra),)).to_bytes())
    with pytest.raises(Undetermined, match="only a squashfs can be looked into, and its system partition is ext3"):
        listed(path)


def test_without_unsquashfs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = pack(lay(tmp_path / "root", {"a": ""}), tmp_path / "x.sif")
    monkeypatch.setenv("PATH", str(tmp_path))
    assert shutil.which("unsquashfs") is None
    with pytest.raises(UsageError) as caught:
        listed(path)
    assert caught.value.hint == "install the package squashfs-tools"
