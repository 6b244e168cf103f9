"""What a file is that was taken for a SIF and is none: people feed it login pages, archives and half copies."""

from __future__ import annotations

import re

from . import squashfs
from .names import excerpt

SHORTEST = 128  # bytes of a SIF's header
LAUNCH_LINE = b"#!/usr/bin/env run-singularity\n"
"""What a SIF begins with, and what images of Singularity 2 do."""
EXT_MAGIC, EXT_MAGIC_OFFSET = b"\x53\xef", 1080
REBUILD = "apptainer build NEW.sif OLD makes a SIF of it"
FOREIGN = (
    (b"\x7fELF", "a program (ELF)"),
    (b"\x1f\x8b", "gzip-compressed data (a .tar.gz?)"),
    (b"\x28\xb5\x2f\xfd", "zstd-compressed data"),
    (b"\xfd7zXZ\0", "xz-compressed data"),
    (b"BZh", "bzip2-compressed data"),
    (b"PK\x03\x04", "a ZIP archive"),
    (b"version https://git-lfs", "a Git LFS pointer (run git lfs pull)"),
)
ANNEX = re.compile(rb"(\S*/)?annex/objects/\S+\s*\Z|(\.\./)*\.git/annex/")
WEB_PAGE = re.compile(rb"(\xef\xbb\xbf)?\s*(<\?xml[^>]*>\s*)?<(!doctype\s+html|html|head|body|!--)", re.IGNORECASE)
IMAGE_ARCHIVE = re.compile(rb"(\./)?([0-9a-f]{64}|sha256:|blobs/|oci-layout|index\.json|manifest\.json|repositories)")
BASE64 = re.compile(rb"[A-Za-z0-9+/\r\n]{128,}={0,2}\s*\Z")


def describe(data: bytes) -> str:
    """What a file is that begins with *data* and is no SIF; more of it is known from 4 KiB than from 128 bytes."""
    if not data:
        return "an empty file"
    if not data.strip(b"\0"):
        return "a file that begins with nothing but zeros (a copy whose bytes never arrived?)"
    if image := describe_image(data):
        return image
    if WEB_PAGE.match(data):
        return "a web page (a download that needed a login, or a wrong address?)"
    if ANNEX.match(data):
        return "a git-annex pointer (run git annex get)"
    for signature, words in FOREIGN:
        if data.startswith(signature):
            return words
    return describe_text(data) or (
        f"a file of only {len(data)} bytes"
        if len(data) < SHORTEST
        else f"something unknown that begins with {data[:8].hex(' ')}"
    )


def describe_image(data: bytes) -> str | None:
    """An image of another kind: of Singularity 2, a bare file system, or an archive."""
    begins = len(LAUNCH_LINE) if data.startswith(LAUNCH_LINE) else 0
    for name, magic, offset in (("squashfs", squashfs.MAGIC, 0), ("ext3", EXT_MAGIC, EXT_MAGIC_OFFSET)):
        if data.startswith(magic, begins + offset):
            return f"{'an image of Singularity 2' if begins else 'a bare image'} ({name}): {REBUILD}"
    if data[257:262] == b"ustar":
        if IMAGE_ARCHIVE.match(data):
            return "a Docker or OCI archive (convert it: docker-archive:FILE or oci-archive:FILE)"
        return "a tar archive"
    return None


def describe_text(data: bytes) -> str | None:
    """Text, by its first line; None if it is none."""
    if data.startswith(b"#!") and not data.startswith(LAUNCH_LINE):
        return "a script"
    if data.lstrip().startswith(b"<?xml"):
        return "an XML document"
    if data.startswith(b"{"):
        return "a JSON document"
    if BASE64.match(data):
        return "base64 text (decode it: base64 --decode)"
    text = data.decode("utf-8", "ignore")
    if (
        len(text.encode()) < len(data) - 3
        or not text.strip()
        or not all(one.isprintable() or one.isspace() for one in text)
    ):
        return None  # up to 3 bytes of a last letter may be cut off
    return f"text that begins with {excerpt(text.strip().splitlines()[0], 60)!r}"
