"""Which signatures a SIF carries, as it says itself: structure, and no verdict. transports/apptainer.py verifies."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from .sif_format import Descriptor, Signature

PGP, DSSE, UNKNOWN = "PGP", "DSSE", "unknown"
START = 256
"""Bytes of each that are looked at."""


def read_signatures(
    read: Callable[[int, int], bytes], descriptors: Sequence[Descriptor], size: int
) -> tuple[Signature, ...]:
    """The signatures among the objects of a file of *size* bytes. *read* is called with an offset and a count."""
    return tuple(
        Signature(one.id, format_of(start_of(read, one, size)), one.signer)
        for one in descriptors
        if one.type == "signature"
    )


def start_of(read: Callable[[int, int], bytes], one: Descriptor, size: int) -> bytes:
    return read(one.offset, min(START, one.size)) if 0 <= one.offset <= size and one.size > 0 else b""


def format_of(start: bytes) -> str:
    """By the beginning of a signature's object; sif-go, pkg/integrity/clearsign.go and dsse.go."""
    if start.startswith(b"-----BEGIN PGP SIGNED MESSAGE-----"):
        return PGP
    return DSSE if start.startswith(b"{") and b'"payloadType"' in start else UNKNOWN
