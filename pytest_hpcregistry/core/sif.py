"""The SIF format, read without trusting it: what a file is, and everything that can be wrong with it.

The format's parts are in sif_format.py, its labels in sif_labels.py, its signatures in sif_signatures.py. Only the
header, a bounded table, a few bytes of the system partition and of signatures, and one bounded object of labels are
ever read.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import BinaryIO

from . import squashfs
from .errors import UsageError
from .filetype import EXT_MAGIC, EXT_MAGIC_OFFSET
from .names import visible
from .sif_format import DESCRIPTOR, ENCRYPTED, HEADER, MACHINES, Descriptor, Header, SifFile, read_header, read_table
from .sif_labels import read_labels
from .sif_signatures import read_signatures

MAX_DESCRIPTORS = 4096
"""Apptainer makes tables of 48. A table of this many is 2.4 MB."""
MOST_PROBLEMS = 5
"""Of a damaged table every object may be wrong."""
HOLE = 1 << 16
"""Bytes that a sound file may be shorter than its header says: before an empty last object sif-go leaves out what
aligns it to a page, but counts it (pkg/sif/create.go)."""
COMPATIBLE = {"amd64": {"386"}, "arm64": {"arm"}}
"""What machines run besides images of their own architecture."""


def check_header(data: bytes, file_size: int) -> str | None:
    """What is wrong with a file of *file_size* bytes that begins with the 128 bytes *data*; None if nothing is.

    Less than HOLE that is missing at its end only the objects can show.
    """
    try:
        header = read_header(data)
    except UsageError as error:
        return str(error)
    missing = header.data_offset + header.data_size - file_size
    return layout_problem(header) or (size_problem(header, file_size) if missing >= HOLE else None)


def inspect(path: Path) -> SifFile:
    """Read what the SIF at *path* says of itself, however damaged its contents are.

    Raises UsageError if it can't be read, is no SIF, or has a header that can't be right.
    """
    with open_sif(path) as stream:
        return inspect_stream(path, stream)


def check(path: Path) -> SifFile:
    """Return the SIF at *path* if it is whole and usable. Raises UsageError that says everything that is wrong."""
    found = inspect(path)
    if found.problems:
        hint = "copy or build it again: only a part of it is here" if found.truncated else "build it again"
        raise UsageError(f"{visible(path)}: " + "; ".join(found.problems), hint=hint)
    return found


def runs_on(architecture: str, machine: str) -> bool:
    """Whether an image of an *architecture* (Go's name) runs on a *machine* (Go's or uname's name)."""
    wanted = MACHINES.get(machine, machine)
    return architecture == wanted or architecture in COMPATIBLE.get(wanted, set())


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
        truncated = truncation(header, descriptors, size)
        # Of a truncated file everything else that is wrong with it only follows from that.
        problems = [truncated] if truncated else first_of(contents_problems(stream, header, descriptors, size))
        labels, warning = read_labels(partial(read_at, stream), descriptors, size)
        signatures = read_signatures(partial(read_at, stream), descriptors, size)
    except OSError as error:
        raise UsageError(f"{visible(path)}: cannot be read: {error.strerror or error}") from error
    extra = size - header.data_offset - header.data_size
    warnings = (f"{extra} bytes more than its header says" if extra > 0 else None, warning)
    return SifFile(
        *(path, size, header, descriptors, tuple(problems), tuple(filter(None, warnings)), bool(truncated)),
        *(labels, signatures),
    )


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
    if header.table_size < total * DESCRIPTOR.size:
        return f"its header gives {total} descriptors {header.table_size} bytes, {total * DESCRIPTOR.size} are needed"
    return None


def size_problem(header: Header, size: int) -> str | None:
    needed = header.data_offset + header.data_size
    if size < needed:
        return f"truncated: {size} bytes of {needed}, {needed - size} are missing"
    return None


def truncation(header: Header, descriptors: tuple[Descriptor, ...], size: int) -> str | None:
    """What is missing at the end of the file: bytes of an object, or more than alignment explains."""
    problem = size_problem(header, size)
    table_end = header.table_offset + header.descriptors_total * DESCRIPTOR.size
    missing = header.data_offset + header.data_size - size
    is_hole = missing < HOLE and size >= max([table_end, *(one.offset + one.size for one in descriptors if one.size)])
    return None if is_hole else problem


def first_of(problems: Iterator[str | None]) -> list[str]:
    """The first problems, and how many more there are."""
    found = [problem for problem in problems if problem]
    more = len(found) - MOST_PROBLEMS
    return found if more <= 0 else [*found[:MOST_PROBLEMS], f"and {more} more"]


def contents_problems(
    stream: BinaryIO, header: Header, descriptors: tuple[Descriptor, ...], size: int
) -> Iterator[str | None]:
    yield primary_problem(stream, header, descriptors, size)
    for one in descriptors:
        yield descriptor_problem(one, header, size)


def descriptor_problem(one: Descriptor, header: Header, size: int) -> str | None:
    table_end = header.table_offset + header.descriptors_total * DESCRIPTOR.size
    hole = 0 if one.size else HOLE  # an empty object may lie where the file would go on
    if one.size < 0 or one.offset < table_end or one.offset + one.size > size + hole:
        return (
            f"object {one.id} ({one.type}) claims bytes {one.offset} to {one.offset + one.size}"
            f" of a file whose objects lie between {table_end} and {size}"
        )
    return None


def primary_problem(stream: BinaryIO, header: Header, descriptors: tuple[Descriptor, ...], size: int) -> str | None:
    """What is wrong with the primary system partition, if it lies within the file."""
    primaries = [one for one in descriptors if one.partition == "primary system"]
    if not primaries:
        oci = any(one.type == "OCI root index" for one in descriptors)
        return "no primary system partition" + (" (an OCI-SIF: Apptainer cannot run it)" if oci else "")
    if len(primaries) > 1:
        return f"{len(primaries)} primary system partitions, where Apptainer takes one"
    (primary,) = primaries
    if primary.architecture != header.architecture:
        return f"its header says {header.architecture}, its system partition {primary.architecture}"
    if primary.file_system in ENCRYPTED:
        return f"encrypted ({primary.file_system}): it needs a key at each start, which Slurm does not hand over"
    if descriptor_problem(primary, header, size):
        return None

    def read(offset: int, count: int) -> bytes:
        return (
            read_at(stream, primary.offset + offset, min(count, primary.size - offset))
            if offset < primary.size
            else b""
        )

    if primary.file_system == "squashfs":
        return squashfs.problem(read, primary.size)
    if primary.file_system != "ext3":
        return f"its system partition is a file system that Apptainer does not mount: {primary.file_system}"
    magic = read(EXT_MAGIC_OFFSET, len(EXT_MAGIC))
    return None if magic == EXT_MAGIC else "its system partition holds no ext3"


def read_at(stream: BinaryIO, offset: int, size: int) -> bytes:
    stream.seek(offset)
    return stream.read(size)
