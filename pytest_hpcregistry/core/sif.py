"""The SIF format, read without trusting it: what a file is, and everything that can be wrong with it.

A SIF begins with a header of 128 bytes; it says where the table of descriptors lies and where the objects lie. One of
the objects is the primary system partition, a squashfs that becomes the container's root. All numbers are little
endian. Only the header, a bounded table, one superblock and (for labels) one bounded object are ever read.
"""

from __future__ import annotations

import json
import os
import stat
import struct
import uuid
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import BinaryIO

from .errors import UsageError
from .filetype import describe
from .names import visible

HEADER = struct.Struct("<32s10s3s3s16sqqqqqqqq")
DESCRIPTOR = struct.Struct("<iBIIIqqqqqqq128s384s")
PARTITION = struct.Struct("<ii3s")
SUPERBLOCK_SIZE = 96

MAGIC = b"SIF_MAGIC\0"
VERSION = b"01\0"
SQUASHFS_MAGIC = b"hsqs"
MAX_DESCRIPTORS = 4096
"""Apptainer makes tables of 48. A table of this many is 2.4 MB."""
MAX_LABELS = 1024 * 1024
"""Bytes of the labels object that are read."""

ARCHITECTURES = (
    *("unknown", "386", "amd64", "arm", "arm64", "ppc64", "ppc64le", "mips", "mipsle", "mips64", "mips64le"),
    *("s390x", "riscv64", "loong64"),
)
"""By the format's code; the names are Go's, as Apptainer prints them."""
MACHINES = {"x86_64": "amd64", "aarch64": "arm64", "i686": "386"}
"""Names of `uname -m` that differ from Go's."""
TYPES = {
    0x4001: "definition file",
    0x4002: "environment",
    0x4003: "labels",
    0x4004: "partition",
    0x4005: "signature",
    0x4006: "JSON",
    0x4007: "generic",
    0x4008: "cryptographic message",
    0x4009: "SBOM",
    0x400A: "OCI root index",
    0x400B: "OCI blob",
}
FILE_SYSTEMS = {1: "squashfs", 2: "ext3", 3: "archive", 4: "raw", 5: "encrypted squashfs"}
PARTITIONS = {1: "system", 2: "primary system", 3: "data", 4: "overlay"}


@dataclass(frozen=True)
class Header:
    """The first 128 bytes. Times in seconds since 1970, negative in reproducible images; offsets and sizes in bytes."""

    version: str
    architecture: str
    uuid: str
    created: int
    modified: int
    descriptors_free: int
    descriptors_total: int
    table_offset: int
    table_size: int
    data_offset: int
    data_size: int


@dataclass(frozen=True)
class Descriptor:
    """One object in the file. The last three are empty unless it is a partition."""

    id: int
    type: str
    offset: int
    size: int
    name: str
    link: int
    file_system: str = ""
    partition: str = ""
    architecture: str = ""


@dataclass(frozen=True)
class SifFile:
    """What `inspect` found. `problems` make the file unusable, `warnings` do not. `size` in bytes."""

    path: Path
    size: int
    header: Header
    descriptors: tuple[Descriptor, ...]
    problems: tuple[str, ...]
    warnings: tuple[str, ...]

    @property
    def architecture(self) -> str:
        return self.header.architecture

    @property
    def created(self) -> str:
        """When it was built, as ISO 8601 in UTC; empty for a reproducible image, which does not say."""
        try:
            when = datetime.fromtimestamp(self.header.created, timezone.utc)
        except (ValueError, OverflowError, OSError):
            return ""
        return when.isoformat() if when.year >= 1970 else ""

    @property
    def truncated(self) -> bool:
        return self.size < self.header.data_offset + self.header.data_size

    @property
    def primary(self) -> Descriptor | None:
        """The partition that becomes the container's root."""
        return next((one for one in self.descriptors if one.partition == "primary system"), None)


def read_header(data: bytes) -> Header:
    """Read a header from the first 128 bytes of a file. Raises UsageError if they are none."""
    if len(data) < HEADER.size or data[32:42] != MAGIC:
        raise UsageError(f"no SIF image but {describe(data)}")
    _, _, version, architecture, identity, *numbers = HEADER.unpack(data[: HEADER.size])
    if version != VERSION:
        raise UsageError(f"a SIF image of the unknown version {decode(version)!r} (known: '01')")
    return Header(decode(version), architecture_of(architecture), str(uuid.UUID(bytes=identity)), *numbers)


def check_header(data: bytes, file_size: int) -> str | None:
    """What is wrong with a file of *file_size* bytes that begins with the 128 bytes *data*; None if nothing is."""
    try:
        header = read_header(data)
    except UsageError as error:
        return str(error)
    return layout_problem(header) or size_problem(header, file_size)


def inspect(path: Path) -> SifFile:
    """Read what the SIF at *path* says of itself, however damaged its contents are.

    Raises UsageError if it can't be read, is no SIF, or has a header that can't be right.
    """
    with open_sif(path) as stream:
        return inspect_stream(path, stream)


def check(path: Path, *, architecture: str | None = None) -> SifFile:
    """Return the SIF at *path* if it is whole and usable (on *architecture*, Go's or uname's name, when given).

    Raises UsageError that says everything that is wrong with it.
    """
    found = inspect(path)
    problems = list(found.problems)
    wanted = MACHINES.get(architecture or "", architecture)
    if wanted is not None and found.architecture != wanted:
        problems.append(f"made for {found.architecture}, but needed for {wanted}")
    if problems:
        hint = "copy or build it again: only a part of it is here" if found.truncated else "build it again"
        raise UsageError(f"{visible(path)}: " + "; ".join(problems), hint=hint)
    return found


def labels(path: Path) -> dict[str, str]:
    """The labels in the SIF at *path*; none if it has none. Raises UsageError if they, or the file, can't be read."""
    with open_sif(path) as stream:
        found = inspect_stream(path, stream)
        for one in found.descriptors:
            if one.type == "labels" or (one.type == "JSON" and one.name == "inspect-metadata.json"):
                wrong = descriptor_problem(one, found.header, found.size)
                if wrong:
                    raise UsageError(f"{visible(path)}: {wrong}")
                if one.size > MAX_LABELS:
                    raise UsageError(f"{visible(path)}: labels of {one.size} bytes; at most {MAX_LABELS} are read")
                return parse_labels(path, read_at(stream, one.offset, one.size))
    return {}


def open_sif(path: Path) -> BinaryIO:
    """Open a regular file. A FIFO or a device is refused without waiting for it."""
    try:
        mode = path.stat().st_mode
        if not stat.S_ISREG(mode):
            raise UsageError(f"{visible(path)}: no SIF image but {kind_of(mode)}")
        # O_NONBLOCK: should the name become a FIFO just now, opening it does not wait for a writer.
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except (OSError, ValueError) as error:
        raise UsageError(f"{visible(path)}: cannot be read: {getattr(error, 'strerror', None) or error}") from error
    return os.fdopen(descriptor, "rb")


def kind_of(mode: int) -> str:
    kinds = (
        (stat.S_ISDIR, "a directory (a sandbox? build a SIF from it with apptainer build)"),
        (stat.S_ISFIFO, "a named pipe"),
        (stat.S_ISSOCK, "a socket"),
    )
    return next((words for test, words in kinds if test(mode)), "a device")


def inspect_stream(path: Path, stream: BinaryIO) -> SifFile:
    try:
        size = os.fstat(stream.fileno()).st_size
        start = read_at(stream, 0, 4096)
        try:
            header = read_header(start)
        except UsageError as error:
            raise UsageError(f"{visible(path)}: {error}") from None
        wrong = layout_problem(header)
        if wrong:
            raise UsageError(f"{visible(path)}: {wrong}", hint="its header is damaged: copy or build it again")
        table = b""
        if header.table_offset < size:
            table = read_at(stream, header.table_offset, header.descriptors_total * DESCRIPTOR.size)
        descriptors = read_table(table)
        truncated = size_problem(header, size)
        # Of a truncated file everything else that is wrong with it only follows from that.
        problems = [truncated]
        if not truncated:
            problems = [descriptor_problem(one, header, size) for one in descriptors]
            problems.append(primary_problem(stream, header, descriptors, size))
    except OSError as error:
        raise UsageError(f"{visible(path)}: cannot be read: {error.strerror or error}") from error
    extra = size - header.data_offset - header.data_size
    warnings = [f"{extra} bytes more than its header says"] if extra > 0 else []
    return SifFile(path, size, header, descriptors, tuple(filter(None, problems)), tuple(warnings))


def layout_problem(header: Header) -> str | None:
    total = header.descriptors_total
    if not 0 < total <= MAX_DESCRIPTORS:
        return f"its header counts {total} descriptors (1 to {MAX_DESCRIPTORS} can be right)"
    table_end = header.table_offset + total * DESCRIPTOR.size
    if header.table_offset < HEADER.size:
        return f"its header puts the descriptors at byte {header.table_offset}, into the header itself"
    if header.data_offset < table_end:
        return f"its header puts the data at byte {header.data_offset}, before the descriptors end at {table_end}"
    if header.data_size < 0 or not 0 <= header.descriptors_free <= total:
        return f"its header counts {header.data_size} bytes of data and {header.descriptors_free} free descriptors"
    return None


def size_problem(header: Header, size: int) -> str | None:
    needed = header.data_offset + header.data_size
    if size < needed:
        return f"truncated: {size} bytes of {needed}, {needed - size} are missing"
    return None


def read_table(table: bytes) -> tuple[Descriptor, ...]:
    found: list[Descriptor] = []
    for start in range(0, len(table) - DESCRIPTOR.size + 1, DESCRIPTOR.size):
        kind, used, number, _, link, offset, size, *_, name, extra = DESCRIPTOR.unpack_from(table, start)
        if not used:
            continue
        words = ("", "", "")
        if kind == 0x4004:
            file_system, partition, architecture = PARTITION.unpack_from(extra)
            words = (
                FILE_SYSTEMS.get(file_system, f"unknown ({file_system})"),
                PARTITIONS.get(partition, f"unknown ({partition})"),
                architecture_of(architecture),
            )
        found.append(
            Descriptor(number, TYPES.get(kind, f"unknown ({kind:#x})"), offset, size, decode(name), link, *words)
        )
    return tuple(found)


def descriptor_problem(one: Descriptor, header: Header, size: int) -> str | None:
    table_end = header.table_offset + header.descriptors_total * DESCRIPTOR.size
    if one.size < 0 or one.offset < table_end or one.offset + one.size > size:
        return (
            f"object {one.id} ({one.type}) claims bytes {one.offset} to {one.offset + one.size}"
            f" of a file whose objects lie between {table_end} and {size}"
        )
    return None


def primary_problem(stream: BinaryIO, header: Header, descriptors: tuple[Descriptor, ...], size: int) -> str | None:
    """What is wrong with the primary system partition, if there is one and it lies within the file."""
    primary = next((one for one in descriptors if one.partition == "primary system"), None)
    if primary is None:
        oci = any(one.type == "OCI root index" for one in descriptors)
        return "no primary system partition" + (" (an OCI-SIF: Apptainer cannot run it)" if oci else "")
    if primary.architecture != header.architecture:
        return f"its header says {header.architecture}, its system partition {primary.architecture}"
    if primary.file_system != "squashfs" or descriptor_problem(primary, header, size):
        return None
    block = read_at(stream, primary.offset, SUPERBLOCK_SIZE)
    if primary.size < SUPERBLOCK_SIZE or block[:4] != SQUASHFS_MAGIC:
        return "its system partition holds no squashfs"
    used = int.from_bytes(block[40:48], "little")
    if used > primary.size:
        return f"its squashfs has {used} bytes, more than the partition of {primary.size}"
    return None


def parse_labels(path: Path, data: bytes) -> dict[str, str]:
    try:
        parsed = json.loads(data.rstrip(b"\0") or b"{}")
        if "data" in parsed:
            parsed = parsed["data"]["attributes"]["labels"]
        return {str(key): str(value) for key, value in parsed.items()}
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise UsageError(f"{visible(path)}: its labels are not a JSON object of labels") from error


def read_at(stream: BinaryIO, offset: int, size: int) -> bytes:
    stream.seek(offset)
    return stream.read(size)


def architecture_of(code: bytes) -> str:
    text = decode(code)
    known = len(text) == 2 and text.isascii() and text.isdigit() and int(text) < len(ARCHITECTURES)
    return ARCHITECTURES[int(text)] if known else f"unknown ({text})"


def decode(data: bytes) -> str:
    """Text from the file, fit for a terminal: what cannot be printed becomes `?`."""
    text = data.split(b"\0", 1)[0].decode("utf-8", "replace")
    return "".join(letter if letter.isprintable() else "?" for letter in text)
