"""What a SIF file consists of: its header, the table of descriptors, and their codes in words.

A SIF begins with a header of 128 bytes; it says where the table of descriptors lies and where the objects lie. One of
the objects is the primary system partition, a squashfs that becomes the container's root. All numbers are little
endian. Here bytes get names; what can be wrong with them is sif.py's to find.
"""

from __future__ import annotations

import struct
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timezone
from pathlib import Path

from .errors import UsageError
from .filetype import describe

HEADER = struct.Struct("<32s10s3s3s16sqqqqqqqq")
DESCRIPTOR = struct.Struct("<iBIIIqqqqqqq128s384s")
PARTITION = struct.Struct("<ii3s")
SIGNATURE = struct.Struct("<i20s")

MAGIC = b"SIF_MAGIC\0"
VERSION = b"01\0"

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
FILE_SYSTEMS = {1: "squashfs", 2: "ext3", 3: "archive", 4: "raw", 5: "encrypted squashfs", 6: "gocryptfs"}
ENCRYPTED = ("encrypted squashfs", "gocryptfs")
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
    """One object in the file. `file_system` and the two behind it are empty unless it is a partition, `signer` unless
    it is a signature that names the key it was made with: a fingerprint, in upper-case hex.
    """

    id: int
    type: str
    offset: int
    size: int
    name: str
    link: int
    file_system: str = ""
    partition: str = ""
    architecture: str = ""
    signer: str = ""


@dataclass(frozen=True)
class Signature:
    """A signature among the objects, `id`. `format` is PGP, DSSE or unknown; `signer` as in Descriptor."""

    id: int
    format: str
    signer: str


@dataclass(frozen=True)
class SifFile:
    """What `inspect` found. `problems` make the file unusable, `warnings` do not. `size` in bytes.

    `truncated`: bytes are missing at its end. `labels` are decoration: what cannot be read of them is a warning.
    """

    path: Path
    size: int
    header: Header
    descriptors: tuple[Descriptor, ...]
    problems: tuple[str, ...]
    warnings: tuple[str, ...]
    truncated: bool = False
    labels: Mapping[str, str] = field(default_factory=dict)
    signatures: tuple[Signature, ...] = ()

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
    def primary(self) -> Descriptor | None:
        """The partition that becomes the container's root."""
        return next((one for one in self.descriptors if one.partition == "primary system"), None)

    @property
    def signed(self) -> bool:
        """Whether it holds a signature, of whatever worth: nothing here verifies it."""
        return bool(self.signatures)


def read_header(data: bytes) -> Header:
    """Read a header from the first 128 bytes of a file. Raises UsageError if they are none."""
    if len(data) < HEADER.size or data[32:42] != MAGIC:
        raise UsageError(f"not a SIF image but {describe(data)}")
    _, _, version, architecture, identity, *numbers = HEADER.unpack(data[: HEADER.size])
    if version != VERSION:
        raise UsageError(f"a SIF image of the unknown version {decode(version)!r} (known: '01')")
    return Header(decode(version), architecture_of(architecture), str(uuid.UUID(bytes=identity)), *numbers)


def read_table(table: bytes) -> tuple[Descriptor, ...]:
    found: list[Descriptor] = []
    for start in range(0, len(table) - DESCRIPTOR.size + 1, DESCRIPTOR.size):
        kind, used, number, _, link, offset, size, *_, name, extra = DESCRIPTOR.unpack_from(table, start)
        if not used:
            continue
        words = ("", "", "")
        signer = b""
        if kind == 0x4005:
            _, signer = SIGNATURE.unpack_from(extra)
        if kind == 0x4004:
            file_system, partition, architecture = PARTITION.unpack_from(extra)
            words = (
                FILE_SYSTEMS.get(file_system, f"unknown ({file_system})"),
                PARTITIONS.get(partition, f"unknown ({partition})"),
                architecture_of(architecture),
            )
        found.append(
            Descriptor(
                *(number, TYPES.get(kind, f"unknown ({kind:#x})"), offset, size, decode(name), link, *words),
                signer.hex().upper() if any(signer) else "",
            )
        )
    return tuple(found)


def architecture_of(code: bytes) -> str:
    text = decode(code)
    known = len(text) == 2 and text.isascii() and text.isdigit() and int(text) < len(ARCHITECTURES)
    return ARCHITECTURES[int(text)] if known else f"unknown ({text})"


def decode(data: bytes) -> str:
    """Text from the file, fit for a terminal: what cannot be printed becomes `?`."""
    text = data.split(b"\0", 1)[0].decode("utf-8", "replace")
    return "".join(letter if letter.isprintable() else "?" for letter in text)
