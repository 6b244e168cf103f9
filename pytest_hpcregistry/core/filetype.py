"""What a file is that was taken for a SIF and is none: people feed it login pages, archives and half copies."""

from __future__ import annotations

import re

SHORTEST = 128  # bytes of a SIF's header
FOREIGN = (
    (b"\x7fELF", "a program (ELF)"),
    (b"hsqs", "a bare squashfs"),
    (b"\x1f\x8b", "gzip-compressed data (a .tar.gz?)"),
    (b"\x28\xb5\x2f\xfd", "zstd-compressed data"),
    (b"\xfd7zXZ\0", "xz-compressed data"),
    (b"PK\x03\x04", "a ZIP archive"),
    (b"version https://git-lfs", "a Git LFS pointer (run git lfs pull)"),
    (b"#!/bin", "a script"),
    (b"{", "a JSON document"),
)
WEB_PAGE = re.compile(rb"(\xef\xbb\xbf)?\s*<(!doctype|html|head|body|\?xml|!--)", re.IGNORECASE)
IMAGE_ARCHIVE = re.compile(rb"(\./)?([0-9a-f]{64}|sha256:|blobs/|oci-layout|index\.json|manifest\.json|repositories)")


def describe(data: bytes) -> str:
    """What a file is that begins with *data* and is no SIF."""
    if not data:
        return "an empty file"
    if not data.strip(b"\0"):
        return "a file that begins with nothing but zeros (a copy whose bytes never arrived?)"
    if WEB_PAGE.match(data):
        return "a web page (a download that needed a login, or a wrong address?)"
    if data[257:262] == b"ustar":
        image = IMAGE_ARCHIVE.match(data)
        return (
            "a Docker or OCI archive (convert it: docker-archive:FILE or oci-archive:FILE)"
            if image
            else "a tar archive"
        )
    for signature, words in FOREIGN:
        if data.startswith(signature):
            return words
    if len(data) < SHORTEST:
        return f"a file of only {len(data)} bytes"
    return f"something unknown that begins with {data[:8].hex(' ')}"
