"""Public keys by which a SIF's own signatures are verified: PGP, or PEM for those in a DSSE envelope.

In a cluster file each is a file. Everywhere else it is one line, `pgp FINGERPRINT BASE64` or `pem FINGERPRINT BASE64`,
of what that file held: OpenPGP packets (RFC 9580), or a SubjectPublicKeyInfo (RFC 5280). The fingerprint is OpenPGP's
of version 4, or the SHA-256 of the bytes.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
import textwrap
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from .fields import read_local_file
from .names import excerpt, visible

LINE = re.compile(r"(pgp [0-9A-F]{40}|pem [0-9A-F]{64}) [A-Za-z0-9+/]{40,22000}={0,2}\Z")
BLOCKS = {"pgp": "PGP PUBLIC KEY BLOCK", "pem": "PUBLIC KEY"}
BLOCK = re.compile(r"^-----BEGIN (?P<label>[A-Z0-9 ]+)-----\s*$(?P<body>.*?)^-----END (?P=label)-----\s*$", re.M | re.S)
LONGEST = 16_000
"""Bytes of a key. All of them lie in config.yaml, and travel with the commands of the workstation."""
MINIMAL = "gpg --armor --export-options export-minimal --export FINGERPRINT"
PUBLIC_KEY = 6
KEY_PACKETS = {PUBLIC_KEY, 2, 12, 13, 14, 17}
"""Of a public key: itself, signatures, trust, names, subkeys, pictures."""


@dataclass(frozen=True)
class ImageKey:
    """A key that *line* is: `kind` is pgp or pem, `fingerprint` upper-case hex."""

    line: str

    @property
    def kind(self) -> str:
        return self.line.split(" ")[0]

    @property
    def fingerprint(self) -> str:
        return self.line.split(" ")[1]

    @property
    def text(self) -> str:
        """The file that it was read from, but for its comments."""
        label = BLOCKS[self.kind]
        body = "\n".join(textwrap.wrap(self.line.split(" ")[2], 64))
        blank = "\n" if self.kind == "pgp" else ""
        return f"-----BEGIN {label}-----\n{blank}{body}\n-----END {label}-----\n"


def read_line(text: str) -> str:
    """A key as config.yaml has it. Raises ValueError."""
    if LINE.match(text):
        kind, fingerprint, body = text.split(" ")
        if fingerprint == fingerprint_of(kind, decode(body)):
            return text
    raise ValueError(f"{excerpt(text)} is not a public key as phase 1 writes it: pgp|pem FINGERPRINT BASE64")


def read_file(text: str, folder: Path) -> str:
    """The line of the public key in a file, whose path begins at *folder*; or that line itself. Raises ValueError."""
    if LINE.match(text):
        return read_line(text)
    path = read_local_file(text, folder)
    try:
        with path.open("rb") as stream:
            held = stream.read(4 * LONGEST).decode("ascii", "replace")
    except OSError as error:
        raise ValueError(f"{visible(path)}: {error.strerror}") from None
    blocks = [(found["label"], found["body"]) for found in BLOCK.finditer(held)]
    if len(blocks) != 1 or blocks[0][0] not in BLOCKS.values():
        raise ValueError(f"{visible(path)} is not one public key: armored PGP, or PEM with BEGIN PUBLIC KEY")
    kind = "pgp" if blocks[0][0] == BLOCKS["pgp"] else "pem"
    try:
        data = decode(body_of(kind, blocks[0][1]))
        return f"{kind} {fingerprint_of(kind, data)} {base64.b64encode(data).decode()}"
    except ValueError as error:
        raise ValueError(f"{visible(path)}: {error}") from None


def body_of(kind: str, block: str) -> str:
    """The base64 of a block, without armor's headers and its checksum."""
    lines = [line.strip() for line in block.strip().splitlines()]
    if kind == "pgp" and ": " in lines[0]:
        lines = lines[lines.index("") :] if "" in lines else []
    return "".join(line for line in lines if not re.fullmatch("=.{4}", line))


def decode(body: str) -> bytes:
    try:
        data = base64.b64decode(body, validate=True)
    except binascii.Error as error:
        raise ValueError(f"is not base64: {error}") from None
    if not 40 <= len(data) <= LONGEST:
        raise ValueError(f"is a key of {len(data)} bytes (40 to {LONGEST} can be right); a small one: {MINIMAL}")
    return data


def fingerprint_of(kind: str, data: bytes) -> str:
    """Raises ValueError where *data* is no public key of that kind."""
    if kind == "pem":
        # DER: a SEQUENCE that is as long as it says. What is in it Apptainer reads.
        header, length = der_length(data)
        if data[0] != 0x30 or header + length != len(data):
            raise ValueError("is not a public key in PEM")
        return hashlib.sha256(data).hexdigest().upper()
    found = list(packets(data))
    if {tag for tag, _ in found} & {5, 7}:
        raise ValueError("holds a secret key: export the public one")
    if not found or found[0][0] != PUBLIC_KEY or not {tag for tag, _ in found} <= KEY_PACKETS:
        raise ValueError("is not a public key of PGP")
    if [tag for tag, _ in found].count(PUBLIC_KEY) != 1:
        raise ValueError("holds several keys: write each into a file of its own")
    body = found[0][1]
    if body[:1] != b"\x04":
        raise ValueError("is not a key of OpenPGP's version 4, the only one that a SIF names its signers by")
    return hashlib.sha1(b"\x99" + len(body).to_bytes(2, "big") + body).hexdigest().upper()  # noqa: S324 - RFC 9580, 5.5.4


def der_length(data: bytes) -> tuple[int, int]:
    """Bytes of an element's header, and of its contents; X.690, 8.1.3."""
    if data[1] < 0x80:
        return 2, data[1]
    more = data[1] & 0x7F
    return 2 + more, int.from_bytes(data[2 : 2 + more], "big")


def packets(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Type and body of each packet; RFC 9580, 4.2. Raises ValueError where they do not fill *data*."""
    while data:
        tag, header, length = packet_header(data)
        if header + length > len(data):
            raise ValueError("is cut off")
        yield tag, data[header : header + length]
        data = data[header + length :]


def packet_header(data: bytes) -> tuple[int, int, int]:
    """Type of the first packet, and bytes of its header and its body."""
    first = data[0]
    if first & 0xC0 == 0x80 and first & 3 != 3:
        octets = 1 << (first & 3)
        return (first >> 2) & 15, 1 + octets, int.from_bytes(data[1 : 1 + octets], "big")
    second = data[1] if len(data) > 1 else 0
    if first & 0xC0 == 0xC0 and second < 192:
        return first & 63, 2, second
    if first & 0xC0 == 0xC0 and second < 224:
        return first & 63, 3, ((second - 192) << 8) + int.from_bytes(data[2:3], "big") + 192
    if first & 0xC0 == 0xC0 and second == 255:
        return first & 63, 6, int.from_bytes(data[2:6], "big")
    raise ValueError("is not made of OpenPGP's packets")
