"""Images to bring: sound SIF files of bytes that do not compress, and some that differ a little from one another.

The first kind needs no Apptainer and takes no time. For deltas the layout matters, so those are squashfs trees as
Apptainer's own build makes them, packed by the lab's mksquashfs.
"""

from __future__ import annotations

import hashlib
import os
import random
import secrets
import shutil
from pathlib import Path

from pytest_hpcregistry.lab.site import CONTROLLER
from pytest_hpcregistry.testing.sif import ALIGNMENT, DATA_OFFSET, Part, Sif, squashfs, system_partition

from .measure import Target
from .testbed import REGISTRY, Testbed

MIB = 1 << 20
FILE = 256 * 1024  # bytes of each file in a tree
TREE = "/srv/bench/tree"


def write_incompressible(path: Path, size: int) -> Target:
    """Write a SIF of exactly *size* bytes, new ones each time; returns what a node must have in the end."""
    overhead = DATA_OFFSET + -DATA_OFFSET % ALIGNMENT + len(squashfs())
    return write(path, system_partition(content=os.urandom(size - overhead)))


def write(path: Path, part: Part) -> Target:
    data = Sif((part,)).to_bytes()
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return Target(f"{REGISTRY}/ml-frameworks/{path.name}", hashlib.sha256(data).hexdigest(), len(data))


def make_tree(bed: Testbed, size: int) -> None:
    """Make a tree of *size* bytes on the controller: files of bytes that do not compress and of text that halves."""
    top = bed.path(CONTROLLER, TREE)
    shutil.rmtree(top, ignore_errors=True)
    for number in range(size // FILE):
        write_file(top, number, "as it was")


def change_tree(bed: Testbed, changed: int) -> int:
    """Give files in the middle of the tree new content, about *changed* bytes; returns how many it really was."""
    top = bed.path(CONTROLLER, TREE)
    middle, count = len(list(top.rglob("file*"))) // 2, max(1, changed // FILE)
    new = secrets.token_hex(8)  # a node may still have what an earlier run brought
    for number in range(middle, middle + count):
        write_file(top, number, new)
    return count * FILE


def write_file(top: Path, number: int, version: str) -> None:
    source = random.Random(f"{number} {version}")  # noqa: S311 - the same for the same version
    content = source.randbytes(FILE) if number % 2 else source.randbytes(FILE // 2).hex().encode()
    path = top / f"lib{number // 64:03d}" / f"file{number:05d}"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)


def pack_tree(bed: Testbed, path: Path) -> Target:
    """Pack the tree into a SIF with Apptainer's defaults (gzip, blocks of 128 KiB) and fixed times."""
    packed = "/srv/bench/tree.squashfs"
    options = ["-noappend", "-no-progress", "-quiet", "-all-root", "-mkfs-time", "0", "-all-time", "0"]
    bed.on_controller(["mksquashfs", TREE, packed, *options], timeout=600).check()
    data = bed.path(CONTROLLER, packed).read_bytes()
    return write(path, Part(0x4004, data, "squashfs-1.img", system_partition().extra))
