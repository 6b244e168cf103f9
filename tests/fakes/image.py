"""SIF files with a real squashfs, by mksquashfs: what an image holds is what a directory holds."""

from __future__ import annotations

import struct
import subprocess
from collections.abc import Mapping
from pathlib import Path

from pytest_hpcregistry.testing.sif import Part, Sif

PLAIN = ("-noI", "-noD", "-noF", "-noX")
"""Nothing is compressed: names can be changed afterwards."""

DEBIAN = {
    "usr/lib/os-release": 'PRETTY_NAME="Debian"\nID=debian\nVERSION_ID="12"\n',
    "var/lib/dpkg/status": (
        "Package: libc6\nStatus: install ok installed\nArchitecture: amd64\nSource: glibc\nVersion: 2.36-9\n"
        "Description: a library\n Package: forged\n .\n more\n\n"
        "Package: gone\nStatus: deinstall ok config-files\nArchitecture: amd64\nVersion: 1\n\n"
        "Package: tar\nStatus: install ok installed\nArchitecture: amd64\nVersion: 1.34+dfsg-1.2\n"
    ),
}
"""A small Debian, as files and their texts."""


def lay(root: Path, files: Mapping[str, str | bytes]) -> Path:
    """Write *files* below *root*."""
    for name, content in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content.encode() if isinstance(content, str) else content)
    return root


def pack(root: Path, sif: Path, *options: str, renamed: Mapping[bytes, bytes] | None = None) -> Path:
    """Make *sif* of the directory *root*; *renamed* are names, as long as each other, that only a hostile maker has."""
    squashfs = sif.with_suffix(".squashfs")
    argv = ["mksquashfs", str(root), str(squashfs), "-quiet", "-no-progress", "-noappend", *options]
    subprocess.run(argv, check=True, capture_output=True)
    data = squashfs.read_bytes()
    for name, other in (renamed or {}).items():
        assert len(name) == len(other)
        assert name in data
        data = data.replace(name, other)
    squashfs.unlink()
    part = Part(0x4004, data, "squashfs-1.img", struct.pack("<ii3s", 1, 2, b"02"))
    sif.write_bytes(Sif(parts=(part,)).to_bytes())
    return sif


def debian(directory: Path, **more: str | bytes) -> Path:
    """A SIF of a small Debian in *directory*, with *more* files."""
    return pack(lay(directory / "root", {**DEBIAN, **more}), directory / "debian.sif")
