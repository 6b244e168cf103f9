"""Reading SIF files that are whole, damaged, foreign or hostile."""

from __future__ import annotations

import gzip
import io
import os
import random
import resource
import struct
import subprocess
import sys
import tarfile
import time
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path

import pytest

from pytest_hpcregistry.core import sif
from pytest_hpcregistry.core.errors import UsageError
from pytest_hpcregistry.core.names import visible
from pytest_hpcregistry.core.sif_format import Descriptor
from pytest_hpcregistry.testing.sif import DATA_OFFSET, Part, Sif, label_object, superblock, system_partition
from tests import ROOT

GOOD = Sif(parts=(label_object({"maintainer": "A"}), system_partition()))


def write(directory: Path, data: bytes) -> Path:
    path = directory / "x.sif"
    path.write_bytes(data)
    return path


def problem(directory: Path, data: bytes, *, architecture: str | None = None) -> str:
    """What `check` says about *data*; the path is cut off."""
    path = write(directory, data)
    with pytest.raises(UsageError) as caught:
        sif.check(path, architecture=architecture)
    message = str(caught.value)
    assert message.startswith(f"{path}: ")
    return message.removeprefix(f"{path}: ")


def test_a_good_image(tmp_path: Path) -> None:
    data = GOOD.to_bytes()
    found = sif.check(write(tmp_path, data), architecture="amd64")
    assert found.size == len(data)
    assert found.architecture == "amd64"
    assert found.header.version == "01"
    assert found.header.uuid == "00010203-0405-0607-0809-0a0b0c0d0e0f"
    assert found.created == "2023-11-14T22:13:20+00:00"
    assert [(one.id, one.type) for one in found.descriptors] == [(1, "labels"), (2, "partition")]
    primary = found.primary
    assert primary is not None
    assert (primary.name, primary.file_system, primary.architecture) == ("squashfs-1.img", "squashfs", "amd64")
    assert primary.offset + primary.size == len(data)
    assert found.warnings == ()
    assert not found.truncated


def test_check_header_agrees(tmp_path: Path) -> None:
    data = GOOD.to_bytes()
    assert sif.check_header(data[:128], len(data)) is None
    assert sif.check_header(data[:128], len(data) + 5) is None
    assert sif.check_header(data[:128], len(data) - 1) == problem(tmp_path, data[:-1])
    assert sif.check_header(data[:127], len(data)) == "not a SIF image but a file of only 127 bytes"
    assert "web page" in (sif.check_header(b"<!DOCTYPE html><title>Log in", 28) or "")


def test_a_reproducible_image_has_no_date(tmp_path: Path) -> None:
    found = sif.check(write(tmp_path, replace(GOOD, created=-62135596800).to_bytes()))
    assert found.created == ""
    assert sif.check(write(tmp_path, replace(GOOD, created=2**62).to_bytes())).created == ""


@pytest.mark.parametrize(("name", "ok"), [("amd64", True), ("x86_64", True), ("arm64", False), ("aarch64", False)])
def test_architecture(tmp_path: Path, name: str, ok: bool) -> None:
    if ok:
        sif.check(write(tmp_path, GOOD.to_bytes()), architecture=name)
    else:
        assert problem(tmp_path, GOOD.to_bytes(), architecture=name) == "made for amd64, but needed for arm64"


@pytest.mark.parametrize(
    ("code", "name"),
    [
        *(("00", "unknown"), ("01", "386"), ("02", "amd64"), ("03", "arm"), ("04", "arm64"), ("05", "ppc64")),
        *(("06", "ppc64le"), ("07", "mips"), ("08", "mipsle"), ("09", "mips64"), ("10", "mips64le"), ("11", "s390x")),
        *(("12", "riscv64"), ("13", "loong64"), ("14", "unknown (14)"), ("2", "unknown (2)"), ("x1", "unknown (x1)")),
        *(("²1", "unknown (²1)"), ("002", "unknown (002)"), ("", "unknown ()")),
    ],
)
def test_every_architecture_by_its_code(tmp_path: Path, code: str, name: str) -> None:
    good = Sif(parts=(system_partition(code),), architecture=code)
    found = sif.check(write(tmp_path, good.to_bytes()), architecture=name)
    assert found.architecture == name


@pytest.mark.parametrize(("uname", "code"), [("x86_64", "02"), ("aarch64", "04"), ("i686", "01"), ("riscv64", "12")])
def test_every_machine_by_its_name(tmp_path: Path, uname: str, code: str) -> None:
    path = write(tmp_path, Sif(parts=(system_partition(code),), architecture=code).to_bytes())
    sif.check(path, architecture=uname)
    with pytest.raises(UsageError, match="but needed for ppc64"):
        sif.check(path, architecture="ppc64")


@pytest.mark.parametrize(
    ("kind", "name"),
    [
        *((0x4001, "definition file"), (0x4002, "environment"), (0x4005, "signature"), (0x4006, "JSON")),
        *((0x4007, "generic"), (0x4008, "cryptographic message"), (0x4009, "SBOM"), (0x400A, "OCI root index")),
        *((0x400B, "OCI blob"), (0x4000, "unknown (0x4000)"), (0x400C, "unknown (0x400c)")),
    ],
)
def test_every_kind_of_object(tmp_path: Path, kind: int, name: str) -> None:
    part = Part(kind, b"data", "its name", b"\1\0\0\0\1\0\0\0002\0")
    found = sif.check(write(tmp_path, Sif(parts=(part, system_partition())).to_bytes()))
    assert found.descriptors[0] == Descriptor(1, name, DATA_OFFSET + 592, 4, "its name", 0)


@pytest.mark.parametrize(
    ("file_system", "kind", "says"),
    [
        *((1, 1, ("squashfs", "system")), (2, 3, ("ext3", "data")), (3, 4, ("archive", "overlay"))),
        *((4, 1, ("raw", "system")), (5, 2, ("encrypted squashfs", "primary system"))),
        *((0, 0, ("unknown (0)", "unknown (0)")), (6, 5, ("unknown (6)", "unknown (5)"))),
    ],
)
def test_every_partition(tmp_path: Path, file_system: int, kind: int, says: tuple[str, str]) -> None:
    parts = (system_partition(file_system=file_system, kind=kind), system_partition())
    found = sif.inspect(write(tmp_path, Sif(parts=parts).to_bytes())).descriptors[0]
    assert (found.file_system, found.partition, found.architecture) == (*says, "amd64")


def test_architectures_of_header_and_partition_differ(tmp_path: Path) -> None:
    assert problem(tmp_path, replace(GOOD, architecture="04").to_bytes()) == (
        "its header says arm64, its system partition amd64"
    )


@pytest.mark.parametrize("missing", [1, 4096, 5000])
def test_truncated(tmp_path: Path, missing: int) -> None:
    data = GOOD.to_bytes()
    assert problem(tmp_path, data[:-missing]) == (
        f"truncated: {len(data) - missing} bytes of {len(data)}, {missing} are missing"
    )


def test_what_to_do_about_it(tmp_path: Path) -> None:
    bad = Sif(parts=(label_object({}),))
    layout = "its header is damaged: copy or build it again"
    for data, hint in (
        (GOOD.to_bytes()[:-1], "copy or build it again: only a part of it is here"),
        (bad.to_bytes(), "build it again"),
        (replace(GOOD, total=0).to_bytes(), layout),
    ):
        with pytest.raises(UsageError) as caught:
            sif.check(write(tmp_path, data))
        assert caught.value.hint == hint


@pytest.mark.parametrize("kept", [128, 129, 4095, 4096, 5000, DATA_OFFSET - 1, DATA_OFFSET])
def test_truncated_early(tmp_path: Path, kept: int) -> None:
    assert problem(tmp_path, GOOD.to_bytes()[:kept]).startswith(f"truncated: {kept} bytes of ")
    assert sif.inspect(tmp_path / "x.sif").truncated


def test_more_bytes_than_the_header_says_are_a_warning(tmp_path: Path) -> None:
    found = sif.check(write(tmp_path, GOOD.to_bytes() + b"signature"))
    assert found.warnings == ("9 bytes more than its header says",)
    assert sif.check(write(tmp_path, GOOD.to_bytes() + b"x")).warnings == ("1 bytes more than its header says",)


def tar_of(name: str) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        archive.addfile(tarfile.TarInfo(name))
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "an empty file"),
        (bytes(100_000), "nothing but zeros"),
        (b"\n <!DOCTYPE html>\n<html><body>Please log in", "a web page"),
        (tar_of("etc/passwd"), "a tar archive"),
        (tar_of("blobs/"), "a Docker or OCI archive"),
        (tar_of(f"{'a' * 64}.tar"), "a Docker or OCI archive"),
        (gzip.compress(b"x" * 1000, mtime=0), "gzip"),
        (Path(sys.executable).read_bytes()[:4096], "ELF"),
        (superblock() + bytes(5000), "a bare squashfs"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "Git LFS pointer"),
        (b'{"version": 1}', "JSON"),
        (b"#!/bin/sh\necho hello\n" + b"x" * 200, "a script"),
        (b"just a few words", "a file of only 16 bytes"),
        (b"\x01\x02\x03\x04" * 100, "something unknown that begins with 01 02 03 04"),
        (replace(GOOD, magic=b"SIF_MAGIX\0").to_bytes(), "something unknown that begins with 23 21"),
        (replace(GOOD, magic=bytes(10)).to_bytes(), "something unknown"),
        (replace(GOOD, version=b"02\0").to_bytes(), "unknown version '02'"),
    ],
)
def test_foreign_files_are_called_what_they_are(tmp_path: Path, data: bytes, words: str) -> None:
    assert words in problem(tmp_path, data)


@pytest.mark.parametrize(
    ("bad", "words"),
    [
        (replace(GOOD, total=2**40), "counts 1099511627776 descriptors"),
        (replace(GOOD, total=4097), "counts 4097 descriptors (1 to 4096 can be right)"),
        (replace(GOOD, total=4096), "before the descriptors end"),
        (replace(GOOD, total=0), "counts 0 descriptors"),
        (replace(GOOD, total=-1), "counts -1 descriptors"),
        (replace(GOOD, total=1), "free descriptors"),
        (replace(GOOD, table_offset=64), "into the header itself"),
        (replace(GOOD, table_offset=-4096), "into the header itself"),
        (replace(GOOD, table_offset=2**62), "before the descriptors end"),
        (replace(GOOD, data_offset=8192), "before the descriptors end"),
        (replace(GOOD, data_offset=-1), "before the descriptors end"),
        (replace(GOOD, data_size=-1), "-1 bytes of data"),
        (replace(GOOD, table_offset=2**62, data_offset=2**63 - 1), "truncated"),
        (replace(GOOD, data_size=2**63 - 1), "truncated"),
    ],
)
def test_a_header_that_cannot_be(tmp_path: Path, bad: Sif, words: str) -> None:
    began = time.monotonic()
    data = bad.to_bytes()
    assert words in problem(tmp_path, data)
    assert words in (sif.check_header(data[:128], len(data)) or "")
    assert time.monotonic() - began < 1


@pytest.mark.parametrize(
    ("place", "number", "says"),
    [
        (80, 0, None),  # free descriptors
        (80, 48, None),
        (80, -1, "-1 free descriptors"),
        (80, 49, "49 free descriptors"),
        (96, 128, None),  # the table
        (96, 127, "at byte 127, into the header itself"),
        (112, 4096 + 48 * 585, None),  # the data
        (112, 4096 + 48 * 585 - 1, "before the descriptors end at 32176"),
        (120, 0, None),  # their size
        (120, -1, "-1 bytes of data"),
    ],
)
def test_the_bounds_of_a_header(place: int, number: int, says: str | None) -> None:
    data = bytearray(GOOD.to_bytes())
    struct.pack_into("<q", data, place, number)
    found = sif.check_header(bytes(data[:128]), 1 << 20)
    assert found is None if says is None else says in (found or "")


@pytest.mark.parametrize(
    ("offset", "size"), [(0, 100), (4096, 10), (DATA_OFFSET, 2**62), (2**62, 10), (-5, 10), (DATA_OFFSET, -1)]
)
def test_an_object_outside_its_place(tmp_path: Path, offset: int, size: int) -> None:
    stray = Part(0x4007, b"data", "stray", offset=offset, size=size)
    assert f"object 1 (generic) claims bytes {offset} to {offset + size}" in problem(
        tmp_path, Sif(parts=(stray, system_partition())).to_bytes()
    )


def test_no_system_partition(tmp_path: Path) -> None:
    data = Sif(parts=(system_partition(kind=3), label_object({}))).to_bytes()
    assert problem(tmp_path, data) == "no primary system partition"
    assert "OCI-SIF" in problem(tmp_path, Sif(parts=(Part(0x400A, b"{}"),)).to_bytes())


def test_a_system_partition_that_is_no_squashfs(tmp_path: Path) -> None:
    extra = system_partition().extra
    for content in (bytes(4096), b"hsqs"):
        data = Sif(parts=(Part(0x4004, content, "", extra),)).to_bytes()
        assert problem(tmp_path, data) == "its system partition holds no squashfs"


def test_a_squashfs_cut_short_inside_a_whole_sif(tmp_path: Path) -> None:
    part = replace(system_partition(), data=superblock(used=9999).ljust(4096, b"\0"))
    assert problem(tmp_path, Sif(parts=(part,)).to_bytes()) == (
        "its squashfs has 9999 bytes, more than the partition of 4096"
    )


@pytest.mark.parametrize(("size", "good"), [(96, True), (95, False)])
def test_the_smallest_squashfs(tmp_path: Path, size: int, good: bool) -> None:
    part = replace(system_partition(), data=superblock(used=size)[:size])
    path = write(tmp_path, Sif(parts=(part,)).to_bytes().ljust(1 << 16, b"\0"))
    with nullcontext() if good else pytest.raises(UsageError, match="its system partition holds no squashfs"):
        sif.check(path)


def test_an_encrypted_partition_is_left_to_apptainer(tmp_path: Path) -> None:
    part = replace(system_partition(file_system=5), data=b"LUKS".ljust(4096, b"\0"))
    primary = sif.check(write(tmp_path, Sif(parts=(part,)).to_bytes())).primary
    assert primary is not None
    assert primary.file_system == "encrypted squashfs"


def test_every_place_of_the_table_is_read(tmp_path: Path) -> None:
    """The last one, and those after one that is not in use."""
    parts = tuple(Part(0x4007, b"data") for _ in range(47))
    data = bytearray(Sif(parts=(*parts, system_partition())).to_bytes())
    data[4096 + 4] = 0
    assert [one.id for one in sif.check(write(tmp_path, bytes(data))).descriptors] == list(range(2, 49))


def test_names_in_the_file_cannot_write_to_a_terminal(tmp_path: Path) -> None:
    part = replace(system_partition(), name="\x1b[2Jgone\n")
    primary = sif.check(write(tmp_path, Sif(parts=(part,)).to_bytes())).primary
    assert primary is not None
    assert primary.name == "?[2Jgone?"


def test_what_is_no_regular_file(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe.sif"
    os.mkfifo(pipe)
    for path, words in ((pipe, "a named pipe"), (tmp_path, "a directory"), (Path("/dev/zero"), "a device")):
        with pytest.raises(UsageError, match=f"not a SIF image but {words}"):
            sif.check(path)
    for path, words in ((tmp_path / "missing", "No such file or directory"), (tmp_path / "a\0b", "embedded null byte")):
        with pytest.raises(UsageError) as caught:
            sif.check(path)
        assert str(caught.value) == f"{visible(path)}: cannot be read: {words}"


def test_what_has_become_a_pipe_just_now_is_not_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    regular, pipe, real = write(tmp_path, GOOD.to_bytes()).stat(), tmp_path / "pipe.sif", os.open
    os.mkfifo(pipe)

    def opened(path: Path, flags: int) -> int:
        assert flags == os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC
        return real(path, flags)

    monkeypatch.setattr(Path, "stat", lambda path: regular)
    monkeypatch.setattr(os, "open", opened)
    with pytest.raises(UsageError, match=r"cannot be read: .* not seekable"):
        sif.check(pipe)


def test_a_link_that_the_user_gives_is_followed(tmp_path: Path) -> None:
    target = write(tmp_path, GOOD.to_bytes())
    link = tmp_path / "link.sif"
    link.symlink_to(target)
    assert sif.check(link).architecture == "amd64"


def test_labels(tmp_path: Path) -> None:
    wanted = {"maintainer": "A", "org.opencontainers.image.version": "1.0"}
    path = write(tmp_path, Sif(parts=(system_partition(), label_object(wanted))).to_bytes())
    assert sif.labels(path) == wanted
    assert sif.labels(write(tmp_path, Sif().to_bytes())) == {}
    empty = Part(0x4003, b"\0\0")
    assert sif.labels(write(tmp_path, Sif(parts=(empty, system_partition())).to_bytes())) == {}


def test_labels_as_apptainer_keeps_them(tmp_path: Path) -> None:
    data = b'{"data": {"attributes": {"labels": {"a": "1"}}}, "type": "container"}'
    part = Part(0x4006, data, "inspect-metadata.json")
    assert sif.labels(write(tmp_path, Sif(parts=(part, system_partition())).to_bytes())) == {"a": "1"}


@pytest.mark.parametrize("kind", [0x4001, 0x4006, 0x4007])
@pytest.mark.parametrize("name", ["inspect-metadata.json", "other.json"])
def test_what_is_no_object_of_labels(tmp_path: Path, kind: int, name: str) -> None:
    part = Part(kind, b'{"a": "1"}', name)
    found = sif.labels(write(tmp_path, Sif(parts=(part, system_partition())).to_bytes()))
    assert found == ({"a": "1"} if (kind, name) == (0x4006, "inspect-metadata.json") else {})


@pytest.mark.parametrize("data", [b"{", b"[]", b"7", b"\xff", b'{"data": 1}', b"[" * 100_000, b'"data"'])
def test_labels_that_are_none(tmp_path: Path, data: bytes) -> None:
    path = write(tmp_path, Sif(parts=(Part(0x4003, data), system_partition())).to_bytes())
    with pytest.raises(UsageError, match="labels are not a JSON object"):
        sif.labels(path)


@pytest.mark.parametrize(("offset", "size"), [(2**63 - 1, 5), (-(2**63), 5), (DATA_OFFSET, -1), (DATA_OFFSET, 2**40)])
def test_labels_that_lie_elsewhere(tmp_path: Path, offset: int, size: int) -> None:
    part = replace(label_object({}), offset=offset, size=size)
    path = write(tmp_path, Sif(parts=(part, system_partition())).to_bytes())
    with pytest.raises(UsageError, match="object 1 \\(labels\\) claims"):
        sif.labels(path)


def test_labels_that_are_too_big_are_not_read(tmp_path: Path) -> None:
    path = write(tmp_path, Sif(parts=(Part(0x4003, b" " * (sif.MAX_LABELS + 1)), system_partition())).to_bytes())
    with pytest.raises(UsageError, match="at most 1048576 are read"):
        sif.labels(path)
    path = write(tmp_path, Sif(parts=(Part(0x4003, b"{}".ljust(1 << 20)), system_partition())).to_bytes())
    assert sif.labels(path) == {}


def damage(data: bytes, chance: random.Random) -> bytes:
    """*data* with a few bytes or whole numbers changed, most of them where the format's own numbers are."""
    changed = bytearray(data)
    for _ in range(chance.randrange(1, 5)):
        place = chance.choice(
            (chance.randrange(128), 4096 + chance.randrange(3 * 585), chance.randrange(len(data) - 8))
        )
        if chance.random() < 0.5:
            changed[place] = chance.randrange(256)
        else:
            number = chance.choice((0, -1, 1, 2**31, 2**40, 2**62, 2**63 - 1, -(2**63), len(data), DATA_OFFSET))
            struct.pack_into("<q", changed, place, number)
    return bytes(changed[: chance.randrange(len(changed))] if chance.random() < 0.2 else changed)


def fuzz(path: Path, rounds: int) -> None:
    """Look at *rounds* damaged images; anything but UsageError ends the process."""
    chance = random.Random(20)  # noqa: S311
    good = GOOD.to_bytes()
    passed = 0
    for _ in range(rounds):
        data = damage(good, chance)
        path.write_bytes(data)
        header = sif.check_header(data[:128], len(data))
        try:
            sif.labels(path)
            sif.check(path, architecture="amd64")
            passed += 1
            assert header is None, f"check passed, but the header alone is refused: {header}"
        except UsageError:
            pass
    # Damage where nothing is looked at must pass, and most damage must not: else this test tests nothing.
    assert rounds / 50 < passed < rounds * 0.9, f"{passed} of {rounds} passed"


def test_fuzz_in_little_memory(tmp_path: Path) -> None:
    words = "fuzz(pathlib.Path(sys.argv[1]), int(sys.argv[2]))"
    code = f"import sys, pathlib; from tests.unit.core.test_sif import fuzz; {words}"

    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_AS, (256 * 1024**2,) * 2)

    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "x.sif"), "4000"],
        cwd=ROOT,
        preexec_fn=limit,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
