"""What must hold of every squashfs that Linux mounts, as far as its superblock and one more place can show.

The layout and the order of the tables are those of the kernel, fs/squashfs/squashfs_fs.h and super.c. What is damaged
behind them only a digest shows, or a mount.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from typing import NamedTuple

SUPERBLOCK = struct.Struct("<4sIIIIHHHHHHQQQQQQQQ")
MAGIC = b"hsqs"
ABSENT = 2**64 - 1
"""In the place of a table that this file system does not have."""
COMPRESSIONS = range(1, 7)
"""gzip, lzma, lzo, xz, lz4, zstd."""
BLOCK_LOGS = range(12, 21)
METADATA_BLOCK = 8192
"""Bytes of a block of metadata, uncompressed: none is longer."""
Read = Callable[[int, int], bytes]


class Superblock(NamedTuple):
    """The first 96 bytes. Tables are offsets in bytes; `root` is a block's, after the inodes' start, and one in it."""

    magic: bytes
    inodes: int
    modified: int
    block_size: int
    fragments: int
    compression: int
    block_log: int
    flags: int
    ids: int
    major: int
    minor: int
    root: int
    used: int
    id_table: int
    xattr_table: int
    inode_table: int
    directory_table: int
    fragment_table: int
    export_table: int

    def tables(self) -> list[int]:
        """Those that there are, in the order in which they must lie."""
        fragments = [self.fragment_table] if self.fragments else []
        export, xattrs = ([table] if table != ABSENT else [] for table in (self.export_table, self.xattr_table))
        return [self.inode_table, self.directory_table, *fragments, *export, self.id_table, *xattrs]


def problem(read: Read, size: int) -> str | None:
    """What is wrong with the squashfs in a partition of *size* bytes; None if nothing is to be seen.

    *read* gives bytes of the partition, by offset and number.
    """
    block = read(0, SUPERBLOCK.size)
    if len(block) < SUPERBLOCK.size or not block.startswith(MAGIC):
        return "its system partition holds no squashfs"
    wrong = next(damage(Superblock(*SUPERBLOCK.unpack(block)), read, size), None)
    return f"its squashfs is damaged: {wrong}" if wrong else None


def damage(block: Superblock, read: Read, size: int) -> Iterator[str]:
    """What is wrong, the first thing first: what comes later may only follow from it."""
    if (block.major, block.minor) != (4, 0):
        yield f"version {block.major}.{block.minor}, where Linux mounts 4.0"
    if block.block_log not in BLOCK_LOGS or block.block_size != 1 << block.block_log:
        yield f"blocks of {block.block_size} bytes, 2 to the power of {block.block_log}"
    if block.compression not in COMPRESSIONS:
        yield f"compression {block.compression} is not known"
    if not SUPERBLOCK.size <= block.used <= size:
        yield f"it has {block.used} bytes, in a partition of {size}"
    tables = block.tables()
    inside = SUPERBLOCK.size <= tables[0] and tables[-1] < block.used
    if not inside or tables != sorted(tables) or block.inode_table == block.directory_table:
        yield "its tables do not lie one after the other within it"
    if block.inode_table + (block.root >> 16) >= block.directory_table or block.root & 0xFFFF >= METADATA_BLOCK:
        yield "its root directory does not lie among its inodes"
    owners = int.from_bytes(read(block.id_table, 8), "little")
    if not block.ids or not SUPERBLOCK.size <= owners < block.id_table:
        yield "its table of owners is not there (a copy whose last bytes never arrived?)"
    if not 0 < int.from_bytes(read(owners, 2), "little") & 0x7FFF <= METADATA_BLOCK:
        yield "its owners are not there (a copy whose last bytes never arrived?)"
