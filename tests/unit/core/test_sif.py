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
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from pytest_hpcregistry.core import sif
from pytest_hpcregistry.core.errors import UsageError
from pytest_hpcregistry.core.filetype import LAUNCH_LINE
from pytest_hpcregistry.core.names import visible
from pytest_hpcregistry.core.sif_format import Descriptor
from pytest_hpcregistry.core.sif_labels import MOST
from pytest_hpcregistry.core.squashfs import ABSENT
from pytest_hpcregistry.testing.sif import DATA_OFFSET, Part, Sif, label_object, squashfs, system_partition
from tests import ROOT
from tests.fakes.image_keys import DSSE_START, PGP_START, signed_sif

GOOD = Sif(parts=(label_object({"maintainer": "A"}), system_partition()))


def write(directory: Path, data: bytes) -> Path:
    path = directory / "x.sif"
    path.write_bytes(data)
    return path


def problem(directory: Path, data: bytes) -> str:
    """What `check` says about *data*; the path is cut off."""
    path = write(directory, data)
    with pytest.raises(UsageError) as caught:
        sif.check(path)
    message = str(caught.value)
    assert message.startswith(f"{path}: ")
    return message.removeprefix(f"{path}: ")


def test_a_good_image(tmp_path: Path) -> None:
    data = GOOD.to_bytes()
    found = sif.check(write(tmp_path, data))
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
    assert sif.check_header(data[:128], len(data) - sif.HOLE + 1) is None, "only the objects can show that"
    long = replace(GOOD, parts=(*GOOD.parts, Part(0x4007, bytes(sif.HOLE)))).to_bytes()
    assert sif.check_header(long[:128], len(long) - sif.HOLE) == problem(tmp_path, long[: -sif.HOLE])
    assert sif.check_header(data[:127], len(data)) == "not a SIF image but a file of only 127 bytes"
    assert "web page" in (sif.check_header(b"<!DOCTYPE html><title>Log in", 28) or "")


def test_a_reproducible_image_has_no_date(tmp_path: Path) -> None:
    found = sif.check(write(tmp_path, replace(GOOD, created=-62135596800).to_bytes()))
    assert found.created == ""
    assert sif.check(write(tmp_path, replace(GOOD, created=2**62).to_bytes())).created == ""


@pytest.mark.parametrize(
    ("architecture", "machine", "runs"),
    [
        *(("amd64", "x86_64", True), ("amd64", "amd64", True), ("arm64", "aarch64", True), ("386", "i686", True)),
        *(("386", "x86_64", True), ("arm", "aarch64", True), ("riscv64", "riscv64", True)),
        *(("arm64", "x86_64", False), ("amd64", "aarch64", False), ("amd64", "i686", False), ("arm64", "arm", False)),
    ],
)
def test_on_which_machines_an_image_runs(architecture: str, machine: str, runs: bool) -> None:
    assert sif.runs_on(architecture, machine) == runs


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
    assert sif.check(write(tmp_path, good.to_bytes())).architecture == name


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
    signer = f"0100000032{'00' * 15}" if name == "signature" else ""
    assert found.descriptors[0] == Descriptor(1, name, DATA_OFFSET + 592, 4, "its name", 0, signer=signer)


@pytest.mark.parametrize(
    ("file_system", "kind", "says"),
    [
        *((1, 1, ("squashfs", "system")), (2, 3, ("ext3", "data")), (3, 4, ("archive", "overlay"))),
        *((4, 1, ("raw", "system")), (5, 2, ("encrypted squashfs", "primary system"))),
        *((0, 0, ("unknown (0)", "unknown (0)")), (6, 5, ("gocryptfs", "unknown (5)"))),
        (7, 1, ("unknown (7)", "system")),
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


def ext3() -> bytes:
    return bytes(1079) + b"\1\x53\xef" + bytes(4000)


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
        (squashfs(bytes(5000)), "a bare image (squashfs): apptainer build NEW.sif OLD"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "Git LFS pointer"),
        (b'{"version": 1}', "JSON"),
        (b"#!/bin/sh\necho hello\n" + b"x" * 200, "a script"),
        (b"just a few words", "text that begins with 'just a few words'"),
        (b"\x01\x02", "a file of only 2 bytes"),
        ("Zeile mit Umlaut: ü\n".encode() * 300, "text that begins with 'Zeile mit Umlaut: ü'"),
        (b"\x1b[2J not for a terminal" * 9, "something unknown that begins with 1b 5b"),
        (b'<?xml version="1.0"?><Error><Code>AccessDenied</Code></Error>', "an XML document"),
        (b'<?xml version="1.0"?>\n<!DOCTYPE html>', "a web page"),
        (b"BZh91AY&SY" + bytes(200), "bzip2"),
        (b"/annex/objects/SHA256E-s1--ab.sif\n", "a git-annex pointer"),
        (b"../../.git/annex/objects/aa/bb/SHA256E-s1--ab.sif", "a git-annex pointer"),
        (b"IyEvdXNyL2Jpbi9lbnYg\n" * 20, "base64 text"),
        (LAUNCH_LINE + squashfs(), "an image of Singularity 2 (squashfs): apptainer build"),
        (LAUNCH_LINE + ext3(), "an image of Singularity 2 (ext3)"),
        (ext3(), "a bare image (ext3)"),
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
        (replace(GOOD, table_size=48 * 585 - 1), "its header gives 48 descriptors 28079 bytes, 28080 are needed"),
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


@pytest.mark.parametrize(
    ("wrong", "is_good"),
    [
        ({"offset": DATA_OFFSET}, True),  # where the table ends
        ({"offset": DATA_OFFSET - 1}, False),
        ({"size": 5}, True),
        ({"size": 6}, False),  # beyond the file's end, although the header counts no byte too many
        ({"size": 0}, True),
        ({"size": -1}, False),
    ],
)
def test_the_bounds_of_an_object(tmp_path: Path, wrong: dict[str, Any], is_good: bool) -> None:
    part = replace(Part(0x4007, b"12345"), **wrong)
    path = write(tmp_path, Sif(parts=(system_partition(), part)).to_bytes())
    assert (sif.inspect(path).problems == ()) is is_good


@pytest.mark.parametrize(("hole", "is_good"), [(65535, True), (65536, False)])
def test_how_large_a_hole_may_be(tmp_path: Path, hole: int, is_good: bool) -> None:
    data = GOOD.to_bytes()
    path = write(tmp_path, replace(GOOD, data_size=len(data) - DATA_OFFSET + hole).to_bytes())
    assert (sif.inspect(path).problems == ()) is is_good


@pytest.mark.parametrize(("wrong", "last"), [(4, "claims"), (5, "claims"), (6, "and 1 more")])
def test_how_many_problems_are_told(tmp_path: Path, wrong: int, last: str) -> None:
    outside = tuple(Part(0x4007, b"", offset=number) for number in range(wrong))
    path = write(tmp_path, Sif(parts=(system_partition(), *outside)).to_bytes())
    assert last in sif.inspect(path).problems[-1]


def test_no_system_partition(tmp_path: Path) -> None:
    data = Sif(parts=(system_partition(kind=3), label_object({}))).to_bytes()
    assert problem(tmp_path, data) == "no primary system partition"
    assert "OCI-SIF" in problem(tmp_path, Sif(parts=(Part(0x400A, b"{}"),)).to_bytes())


def partition(data: bytes, file_system: int = 1) -> Part:
    return replace(system_partition(file_system=file_system), data=data.ljust(4096, b"\0"))


def test_two_system_partitions(tmp_path: Path) -> None:
    data = Sif(parts=(system_partition(), system_partition())).to_bytes()
    assert problem(tmp_path, data) == "2 primary system partitions, where Apptainer takes one"


def test_a_system_partition_that_is_no_squashfs(tmp_path: Path) -> None:
    for content in (bytes(4096), b"hsqs", squashfs()[:95], b"hsqt" + squashfs()[4:]):
        data = Sif(parts=(replace(system_partition(), data=content),)).to_bytes()
        assert problem(tmp_path, data) == "its system partition holds no squashfs"


def test_the_smallest_squashfs(tmp_path: Path) -> None:
    part = replace(system_partition(), data=squashfs())
    sif.check(write(tmp_path, Sif(parts=(part,)).to_bytes()))
    cut = replace(part, data=squashfs()[:-1])
    assert "118 bytes, in a partition of 117" in problem(tmp_path, Sif(parts=(cut,)).to_bytes())


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"used": 9999}, "it has 9999 bytes, in a partition of 4096"),
        ({"used": 95}, "it has 95 bytes"),
        ({"major": 3}, "version 3.0, where Linux mounts 4.0"),
        ({"minor": 1}, "version 4.1"),
        ({"block_size": 4096}, "blocks of 4096 bytes, 2 to the power of 17"),
        ({"block_size": 2048, "block_log": 11}, "blocks of 2048 bytes"),
        ({"block_size": 1 << 21, "block_log": 21}, "blocks of 2097152 bytes"),
        ({"compression": 0}, "compression 0 is not known"),
        ({"compression": 7}, "compression 7 is not known"),
        ({"inode_table": 95}, "tables do not lie"),
        ({"inode_table": 98}, "tables do not lie"),
        ({"inode_table": 99}, "tables do not lie"),
        ({"directory_table": 111}, "tables do not lie"),
        ({"id_table": 118}, "tables do not lie"),
        ({"id_table": ABSENT}, "tables do not lie"),
        ({"xattr_table": 109}, "tables do not lie"),
        ({"export_table": 111}, "tables do not lie"),
        ({"export_table": 97}, "tables do not lie"),
        ({"fragments": 1, "fragment_table": 111}, "tables do not lie"),
        ({"fragments": 1}, "tables do not lie"),
        ({"root": 2 << 16}, "root directory does not lie"),
        ({"root": 8192}, "root directory does not lie"),
        ({"ids": 0}, "table of owners is not there"),
        ({"id_table": 103}, "table of owners is not there"),
    ],
)
def test_a_squashfs_that_cannot_be_mounted(tmp_path: Path, wrong: dict[str, Any], says: str) -> None:
    said = problem(tmp_path, Sif(parts=(partition(squashfs(**wrong)),)).to_bytes())
    assert said.startswith("its squashfs is damaged: ")
    assert says in said


@pytest.mark.parametrize(
    "right",
    [
        *({"block_size": 1 << log, "block_log": log} for log in (12, 20)),
        *({"compression": number} for number in range(1, 7)),
        *({"fragments": 1, "fragment_table": 98}, {"export_table": 99}, {"fragment_table": 5}),
        *({"xattr_table": 112, "used": 118}, {"root": (1 << 16) + 8191}),
    ],
)
def test_a_squashfs_of_another_writer(tmp_path: Path, right: dict[str, Any]) -> None:
    sif.check(write(tmp_path, Sif(parts=(partition(squashfs(**right)),)).to_bytes()))


@pytest.mark.parametrize("lost", range(8, 19))
def test_a_tail_of_zeros_is_seen(tmp_path: Path, lost: int) -> None:
    """A copy into preallocated space that was interrupted, or a full disk."""
    whole = squashfs()
    cut = whole[:-lost].ljust(len(whole), b"\0")
    said = problem(tmp_path, Sif(parts=(partition(cut),)).to_bytes())
    assert "a copy whose last bytes never arrived?" in said


def test_an_ext3_that_is_one(tmp_path: Path) -> None:
    sif.check(write(tmp_path, Sif(parts=(partition(ext3(), 2),)).to_bytes()))
    assert problem(tmp_path, Sif(parts=(partition(squashfs(), 2),)).to_bytes()) == "its system partition holds no ext3"


@pytest.mark.parametrize(("kind", "name"), [(0, "unknown (0)"), (3, "archive"), (4, "raw"), (7, "unknown (7)")])
def test_a_file_system_that_is_not_mounted(tmp_path: Path, kind: int, name: str) -> None:
    assert problem(tmp_path, Sif(parts=(partition(squashfs(), kind),)).to_bytes()) == (
        f"its system partition is a file system that Apptainer does not mount: {name}"
    )


@pytest.mark.parametrize(("kind", "name"), [(5, "encrypted squashfs"), (6, "gocryptfs")])
def test_an_encrypted_image_needs_a_key(tmp_path: Path, kind: int, name: str) -> None:
    said = problem(tmp_path, Sif(parts=(partition(b"LUKS", kind),)).to_bytes())
    assert said.startswith(f"encrypted ({name}): it needs a key at each start")


def test_an_empty_object_at_the_end_leaves_a_hole_that_is_counted(tmp_path: Path) -> None:
    """sif-go seeks to where the object would begin, writes nothing, and counts that."""
    parts = (system_partition(), Part(0x4007, b"12345"), Part(0x4007, b"", "empty"))
    counted = Sif(parts).to_bytes()
    data = counted[: counted.index(b"12345") + 5]
    assert len(counted) - len(data) == 4091
    assert sif.check(write(tmp_path, data)).descriptors[-1].size == 0
    assert problem(tmp_path, data[:-1]) == f"truncated: {len(data) - 1} bytes of {len(counted)}, 4092 are missing"


def test_a_file_without_any_object_is_not_truncated(tmp_path: Path) -> None:
    """As `siftool new` makes it: the data would begin where the file ends."""
    data = Sif(parts=(), data_offset=32768).to_bytes()[:DATA_OFFSET]
    assert problem(tmp_path, data) == "no primary system partition"
    assert problem(tmp_path, data[:-1]).startswith("truncated: ")


def test_a_table_of_wrong_objects_is_told_in_short(tmp_path: Path) -> None:
    stray = Part(0x4007, b"", "stray", offset=1, size=1)
    said = problem(tmp_path, Sif(parts=(*[stray] * 40, system_partition())).to_bytes())
    assert said.count("claims bytes") == 5
    assert said.endswith("; and 35 more")


def test_a_signature_is_named(tmp_path: Path) -> None:
    assert not sif.check(write(tmp_path, GOOD.to_bytes())).signed
    assert sif.check(write(tmp_path, Sif(parts=(system_partition(), Part(0x4005, b"x"))).to_bytes())).signed


def test_signatures_have_a_form_and_the_fingerprint_that_the_file_gives(tmp_path: Path) -> None:
    found = sif.check(write(tmp_path, signed_sif(PGP_START, DSSE_START, b"", b"{}", fingerprint=f"AB{'00' * 19}")))
    assert [(one.id, one.format, one.signer) for one in found.signatures] == [
        (2, "PGP", f"AB{'00' * 19}"),
        (3, "DSSE", f"AB{'00' * 19}"),
        (4, "unknown", f"AB{'00' * 19}"),
        (5, "unknown", f"AB{'00' * 19}"),
    ]
    assert sif.check(write(tmp_path, signed_sif(DSSE_START, fingerprint="00" * 20))).signatures[0].signer == ""


@pytest.mark.parametrize("wrong", [{"offset": -5}, {"offset": 1 << 60}, {"size": -1}, {"size": 1 << 60}])
def test_a_signature_that_lies_nowhere_is_of_no_form_or_a_problem(tmp_path: Path, wrong: dict[str, Any]) -> None:
    parts = (system_partition(), Part(0x4005, PGP_START, **wrong))
    found = sif.inspect(write(tmp_path, Sif(parts=parts).to_bytes()))
    assert found.problems
    assert [one.id for one in found.signatures] == [2]


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


def labels(directory: Path, part: Part) -> tuple[dict[str, str], tuple[str, ...]]:
    """The labels, and what is said of them; the image is good in any case."""
    found = sif.check(write(directory, Sif(parts=(part, system_partition())).to_bytes()))
    return dict(found.labels), found.warnings


def test_labels(tmp_path: Path) -> None:
    wanted = {"maintainer": "A", "org.opencontainers.image.version": "1.0"}
    assert labels(tmp_path, label_object(wanted)) == (wanted, ())
    assert labels(tmp_path, Part(0x4003, b"\0\0")) == ({}, ())
    assert labels(tmp_path, Part(0x4003, b"")) == ({}, ())
    assert sif.check(write(tmp_path, Sif().to_bytes())).labels == {}


METADATA = "inspect-metadata.json"


@pytest.mark.parametrize(
    ("kind", "text", "found"),
    [
        (0x4006, '{"data": {"attributes": {"labels": {"a": "1"}}}, "type": "container"}', {"a": "1"}),
        (0x4006, '{"data": {"attributes": {}}, "type": "container"}', {}),
        (0x4006, '{"data": {"attributes": {"labels": null}}}', {}),
        (0x4006, '{"data": null}', {}),
        (0x4006, '{"a": "1"}', {}),
        (0x4003, '{"data": {"attributes": {"labels": {"a": "1"}}}}', {"a": "1"}),
        (0x4003, '{"data": "mine", "b": "2"}', {"data": "mine", "b": "2"}),
        (0x4003, '{"data": 1, "n": null, "x": [1]}', {"data": "1", "n": "None", "x": "[1]"}),
        (0x4003, '{"half": "\\ud800", "\\udc00": "x"}', {"half": "?", "?": "x"}),
        (0x4007, '{"a": "1"}', {}),
        (0x4001, '{"a": "1"}', {}),
    ],
)
def test_labels_in_each_form(tmp_path: Path, kind: int, text: str, found: dict[str, str]) -> None:
    assert labels(tmp_path, Part(kind, text.encode(), METADATA)) == (found, ())


def test_apptainers_metadata_is_known_by_its_name(tmp_path: Path) -> None:
    """An image from an OCI archive also has its configuration, which is JSON too."""
    config = Part(0x4006, b'{"data": {"attributes": {"labels": {"not": "this"}}}}', "oci-config.json")
    metadata = Part(0x4006, b'{"data": {"attributes": {"labels": {"a": "1"}}}}', METADATA)
    path = write(tmp_path, Sif(parts=(config, metadata, system_partition())).to_bytes())
    assert sif.check(path).labels == {"a": "1"}


@pytest.mark.parametrize("code", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "latin-1"])
def test_labels_in_any_encoding(tmp_path: Path, code: str) -> None:
    assert labels(tmp_path, Part(0x4003, '{"a": "Bär"}'.encode(code))) == ({"a": "Bär"}, ())


@pytest.mark.parametrize(
    "data", [b"{", b"[]", b"7", b"\xff", b'{"data": {"attributes": []}}', b"[" * 100_000, b'"data"', b"maintainer=A"]
)
def test_labels_that_are_none_are_a_warning(tmp_path: Path, data: bytes) -> None:
    said = "its labels cannot be read: they are not a JSON object of labels"
    assert labels(tmp_path, Part(0x4003, data)) == ({}, (said,) if data != b'{"data": {"attributes": []}}' else ())


@pytest.mark.parametrize(("offset", "size"), [(2**63 - 1, 5), (-(2**63), 5), (DATA_OFFSET, -1), (DATA_OFFSET, 2**40)])
def test_labels_that_lie_elsewhere(tmp_path: Path, offset: int, size: int) -> None:
    part = replace(label_object({}), offset=offset, size=size)
    found = sif.inspect(write(tmp_path, Sif(parts=(part, system_partition())).to_bytes()))
    assert "object 1 (labels) claims" in found.problems[0]
    assert found.warnings == ("its labels do not lie within the file",)


def test_labels_beside_a_long_help_are_read_up_to_a_bound(tmp_path: Path) -> None:
    assert labels(tmp_path, Part(0x4003, b'{"a": "1"}'.ljust(MOST))) == ({"a": "1"}, ())
    found, warnings = labels(tmp_path, Part(0x4003, b"{}".ljust(MOST + 1)))
    assert (found, warnings) == ({}, ("its labels are not read: 16777217 bytes, more than 16777216",))


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
            sif.check(path)
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
