"""The same image gives the same SIF, byte for byte: what differs between two builds of it, and what is done about that.

Found by comparing two conversions of one archive by Apptainer 1.4.5 with mksquashfs 4.6.1:

- The squashfs holds the time it was made, and that of each file that Apptainer adds. mksquashfs (4.4 and newer) takes
  the first from SOURCE_DATE_EPOCH and sets no file later than that. Here it is a date that no file of the image is
  later than, so only Apptainer's files are touched. `-all-time` would do as well, and make Python compile every
  module at every start: a .pyc file holds the time of its source.
- The label org.label-schema.build-date. Apptainer 1.5 takes it from SOURCE_DATE_EPOCH too; an older one writes what a
  definition file says, if forced to.
- A random UUID and the times in the SIF's own header and descriptors. Apptainer 1.5 writes none when SOURCE_DATE_EPOCH
  is set (apptainer/apptainer#2935); here they are taken out afterwards.

Nothing else does: the order of files, of owners and of blocks is fixed, whatever the number of processors. Nor do other
block sizes, compressors or `-no-fragments` make what rsync moves between two versions of an image notably smaller, so
Apptainer's defaults stay, which every node can read.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import lzma
import tarfile
import zlib
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path

from ...core import sif
from ...core.sif_format import DESCRIPTOR, HEADER
from ..definitions.definition import SOURCE

BUILD_DATE = "org.label-schema.build-date"
LATEST = 2**32 - 1
"""The last second that a squashfs can tell."""
NO_TIME = -62135596800
"""Go's zero time, the year 1: what a SIF of Apptainer 1.5 says of its own times when it is to be reproducible."""
UNREADABLE = (tarfile.TarError, OSError, EOFError, zlib.error, lzma.LZMAError)
MAX_CONFIG = 4 * 1024 * 1024
"""Bytes of a file in an archive that may be an image's configuration."""


def read_archive(archive: Path) -> tuple[int | None, str]:
    """The date of the image in an OCI or Docker archive, in seconds since 1970, and its digest, `sha256:…`.

    The date is when the image says that it was made, or the time of its newest file, whichever is later: many builders
    write 1970 for the first, and a file that was dated back would look changed to whoever compares times, as Python
    does. The digest is that of its configuration, by which Podman and Docker name it. A damaged archive, and a layer in
    a compression that Python does not know, tell nothing: None and the empty string, as does the digest of several.
    """
    dates: list[int] = []
    digests: set[str] = set()
    with contextlib.suppress(*UNREADABLE), tarfile.open(archive) as members:
        for member in members:
            content = members.extractfile(member) if member.size else None
            if content is None:
                continue
            config = content.read() if member.size <= MAX_CONFIG else b""
            if is_config(config):
                digests.add(f"sha256:{hashlib.sha256(config).hexdigest()}")
                dates += parse_date(config)
                continue
            content.seek(0)
            with contextlib.suppress(*UNREADABLE), tarfile.open(fileobj=content) as layer:
                dates += newest_time(layer)
    return max(dates, default=None), digests.pop() if len(digests) == 1 else ""


def newest_time(layer: tarfile.TarFile) -> list[int]:
    """The time of the newest file in a layer, if there is one that a squashfs can tell."""
    newest = -1
    for member in layer:
        if member.mtime <= LATEST:
            newest = max(newest, int(member.mtime))
        layer.members = []  # type: ignore[attr-defined]  # it would keep every one, of millions
    return [newest] if newest >= 0 else []


def is_config(content: bytes) -> bool:
    """Whether this is an image's configuration, which among an archive's files is the JSON object with a `rootfs`."""
    try:
        config = json.loads(content)
    except (ValueError, RecursionError):
        return False
    return isinstance(config, dict) and "rootfs" in config


def parse_date(config: bytes) -> list[int]:
    """`created` of an image's configuration, if it is a time that a squashfs can tell."""
    try:
        date = datetime.fromisoformat(json.loads(config)["created"])
    except (ValueError, KeyError, TypeError):
        return []
    seconds = int((date if date.tzinfo else date.replace(tzinfo=UTC)).timestamp())
    return [seconds] if 0 <= seconds <= LATEST else []


def environment(date: int) -> list[str]:
    """Words for env(1) that date a build. Apptainer 1.5 writes the build date in the local time zone."""
    return [f"SOURCE_DATE_EPOCH={date}", "TZ=UTC"]


def labels(date: int | None, digest: str) -> dict[str, str]:
    """The labels of a SIF that Apptainer would not give it, or not the same: build date (RFC 3339) and source."""
    dated = {} if date is None else {BUILD_DATE: datetime.fromtimestamp(date, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")}
    return {**dated, **({SOURCE: digest} if digest else {})}


def definition(uri: str, labels: Mapping[str, str]) -> str:
    """A definition file that builds what *uri* names, with these labels, of a word each."""
    kind, _, origin = uri.partition(":")
    lines = "".join(f"    {name} {value}\n" for name, value in labels.items())
    return f"Bootstrap: {kind}\nFrom: {origin.lstrip('/')}\n\n%labels\n{lines}"


def strip_identity(path: Path) -> None:
    """Take the UUID and the times out of an unsigned SIF's header and descriptors (a signature covers the UUID).

    Raises UsageError if it is no SIF, OSError if it cannot be written.
    """
    header = sif.inspect(path).header
    with path.open("r+b") as stream:
        fields = [*HEADER.unpack(stream.read(HEADER.size))]
        fields[4:7] = bytes(16), NO_TIME, NO_TIME
        stream.seek(0)
        stream.write(HEADER.pack(*fields))
        for number in range(header.descriptors_total):
            offset = header.table_offset + number * DESCRIPTOR.size
            stream.seek(offset)
            fields = [*DESCRIPTOR.unpack(stream.read(DESCRIPTOR.size))]
            if fields[1]:  # in use
                fields[8:10] = NO_TIME, NO_TIME
                stream.seek(offset)
                stream.write(DESCRIPTOR.pack(*fields))
