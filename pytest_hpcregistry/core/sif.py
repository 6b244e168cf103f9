"""The SIF format, read without trusting it: what a file is, and everything that can be wrong with it.

The format's parts are in sif_format.py. Only the header, a bounded table, one superblock and (for labels) one bounded
object are ever read.
"""

from __future__ import annotations

import json
import os
import stat
from pathlib import Path
from typing import BinaryIO

from .errors import UsageError
from .names import visible
from .sif_format import DESCRIPTOR, HEADER, MACHINES, Descriptor, Header, SifFile, read_header, read_table

SUPERBLOCK_SIZE = 96
SQUASHFS_MAGIC = b"hsqs"
MAX_DESCRIPTORS = 4096
"""Apptainer makes tables of 48. A table of this many is 2.4 MB."""
MAX_LABELS = 1024 * 1024
"""Bytes of the labels object that are read."""


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
            raise UsageError(f"{visible(path)}: not a SIF image but {kind_of(mode)}")
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
