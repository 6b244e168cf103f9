"""Write small SIF files for tests: valid ones, and ones that are wrong in one place. No Apptainer is needed."""

from __future__ import annotations

import json
import struct
from dataclasses import dataclass, field
from typing import Any

from ..core.squashfs import ABSENT, MAGIC, SUPERBLOCK, Superblock

TABLE_OFFSET = 4096
CAPACITY = 48
DATA_OFFSET = 32176
ALIGNMENT = 4096


@dataclass(frozen=True)
class Part:
    """One object. `offset` and `size` are what its descriptor claims, when that shall differ from the truth."""

    kind: int
    data: bytes
    name: str = ""
    extra: bytes = b""
    offset: int | None = None
    size: int | None = None


SOUND = Superblock(
    magic=MAGIC, inodes=1, modified=0, block_size=1 << 17, fragments=0, compression=1, block_log=17, flags=0, ids=1,
    major=4, minor=0, root=0, used=118, id_table=110, xattr_table=ABSENT, inode_table=96, directory_table=98,
    fragment_table=ABSENT, export_table=ABSENT,
)  # fmt: skip
"""Of a squashfs of one inode and one owner: behind it 4 bytes of inodes and directories, a block of 10 with the owner,
and the place of that block."""


def squashfs(content: bytes = b"", **wrong: Any) -> bytes:
    """A squashfs that holds what can be looked at without mounting it; *wrong* are fields of its superblock.

    *content* lies behind its last table, where a real one has none.
    """
    block = SOUND._replace(**{"used": SOUND.used + len(content), **wrong})
    return SUPERBLOCK.pack(*block) + bytes(4) + struct.pack("<HQ", 0x8004, 0) + struct.pack("<Q", 100) + content


def system_partition(architecture: str = "02", content: bytes = b"", kind: int = 2, file_system: int = 1) -> Part:
    data = squashfs(content).ljust(4096, b"\0")
    return Part(0x4004, data, "squashfs-1.img", struct.pack("<ii3s", file_system, kind, architecture.encode()))


def label_object(labels: dict[str, str]) -> Part:
    return Part(0x4003, json.dumps(labels).encode(), "labels")


@dataclass(frozen=True)
class Sif:
    """What to write; the fields' defaults make a valid image."""

    parts: tuple[Part, ...] = field(default_factory=lambda: (system_partition(),))
    magic: bytes = b"SIF_MAGIC\0"
    version: bytes = b"01\0"
    architecture: str = "02"
    created: int = 1_700_000_000
    total: int = CAPACITY
    table_offset: int = TABLE_OFFSET
    data_offset: int = DATA_OFFSET
    data_size: int | None = None
    table_size: int = CAPACITY * 585

    def to_bytes(self) -> bytes:
        table = bytearray(CAPACITY * 585)
        body = bytearray()
        for number, part in enumerate(self.parts):
            body += bytes(-(DATA_OFFSET + len(body)) % ALIGNMENT)
            offset = DATA_OFFSET + len(body) if part.offset is None else part.offset
            size = len(part.data) if part.size is None else part.size
            struct.pack_into(
                "<iBIIIqqqqqqq128s384s",
                table,
                number * 585,
                *(part.kind, 1, number + 1, 0xF0000001, 0, offset, size, size, self.created, self.created, 0, 0),
                *(part.name.encode(), part.extra),
            )
            body += part.data
        data_size = len(body) if self.data_size is None else self.data_size
        header = struct.pack(
            "<32s10s3s3s16sqqqqqqqq",
            *(b"#!/usr/bin/env run-singularity\n", self.magic, self.version, self.architecture.encode()),
            *(bytes(range(16)), self.created, self.created, CAPACITY - len(self.parts), self.total),
            *(self.table_offset, self.table_size, self.data_offset, data_size),
        )
        start = header.ljust(TABLE_OFFSET, b"\0") + table
        return bytes(start.ljust(DATA_OFFSET, b"\0") + body)
