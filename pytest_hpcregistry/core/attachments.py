"""What a deploy leaves beside an image in the controller's registry: its SBOM, and the scanner's report of it.

Both are CycloneDX in JSON. They travel compressed, and are looked at before they are kept and before they are used: a
file of that name may be anybody's. Runs on Python 3.9.
"""

from __future__ import annotations

import base64
import binascii
import json
import zlib
from collections.abc import Mapping
from typing import Any

from .layout import SBOMS, SCANS

SBOM, SCAN = "sbom", "scan"
PLACES = {SBOM: SBOMS, SCAN: SCANS}
NOUNS = {SBOM: "SBOM", SCAN: "scanner's report"}
MOST_BYTES = 16 << 20
"""Of one of them, not compressed. The SBOM of an image with 1,000 packages has half a megabyte."""


class Unfit(ValueError):
    """Why something is not kept, or not used."""


def pack(data: bytes) -> str:
    """For a request: compressed, as text. Raises Unfit when it is too large."""
    check_size(data)
    return base64.b64encode(zlib.compress(data)).decode()


def unpack(text: Any) -> bytes:
    """What `pack` made. Raises Unfit for anything else, and for what would be larger than it may be."""
    try:
        stream = zlib.decompressobj()
        data = stream.decompress(base64.b64decode(text, validate=True), MOST_BYTES + 1)
    except (binascii.Error, zlib.error, TypeError, ValueError):
        raise Unfit("it did not arrive as it was sent") from None
    check_size(data)
    if not stream.eof:
        raise Unfit("it did not arrive as a whole")
    return data


def check_size(data: bytes) -> None:
    if len(data) > MOST_BYTES:
        raise Unfit(f"it is larger than {MOST_BYTES >> 20} MiB")


def check(kind: str, data: bytes, digest: str) -> None:
    """Raise Unfit unless *data* is CycloneDX in JSON, and an SBOM the one of the image with this *digest*.

    A scanner's report names what it was given, which need not be the image; so for that one there is no more to see.
    """
    check_size(data)
    try:
        found = json.loads(data, parse_int=str)  # an old Python takes hours for a number of millions of digits
    except (ValueError, RecursionError):
        raise Unfit("it is not JSON") from None
    if not isinstance(found, dict) or found.get("bomFormat") != "CycloneDX":
        raise Unfit("it is JSON of another kind than CycloneDX")
    if kind == SBOM and digest not in digests_in(found):
        raise Unfit("it is not that of this image")


def digests_in(sbom: Mapping[str, Any]) -> list[Any]:
    """The SHA-256 digests of what an SBOM is about."""
    try:
        hashes = sbom["metadata"]["component"]["hashes"]
        return [one["content"] for one in hashes if one["alg"] == "SHA-256"]
    except (KeyError, TypeError):
        return []
