"""Public keys of images: files of gpg and openssl as lines of config.yaml, and files again; and what is none."""

from __future__ import annotations

import base64
import hashlib
import subprocess
from pathlib import Path

import pytest

from pytest_hpcregistry.core.image_keys import LONGEST, ImageKey, packets, read_file, read_line
from tests.fakes.image_keys import ED25519, ERIN, ERIN_EXPIRED, ERINS_FINGERPRINT, ERINS_SECRET, P256, PRIVATE, SEVERAL

BODY = "".join(ERIN.splitlines()[2:-2])
DATA = base64.b64decode(BODY)


def read(tmp_path: Path, text: str) -> str:
    (tmp_path / "key").write_text(text)
    return read_file("key", tmp_path)


@pytest.mark.parametrize(
    "text",
    [
        ERIN,
        ERIN.replace("\n", "\r\n"),
        ERIN.replace("BLOCK-----\n", "BLOCK-----\nVersion: old\nComment: of the site\n", 1),
        f"pub ed25519\n{ERIN}\nas of today\n",
        "\n".join(line for line in ERIN.splitlines() if not line.startswith("=")),
    ],
    ids=["gpg", "CRLF", "headers", "text around it", "no checksum"],
)
def test_a_pgp_key(tmp_path: Path, text: str) -> None:
    line = read(tmp_path, text)
    assert line == f"pgp {ERINS_FINGERPRINT} {BODY}"
    assert read_line(line) == line


def test_an_expired_one_is_the_same_key_with_another_line(tmp_path: Path) -> None:
    assert read(tmp_path, ERIN_EXPIRED).split()[:2] == read(tmp_path, ERIN).split()[:2]
    assert read(tmp_path, ERIN_EXPIRED) != read(tmp_path, ERIN)


@pytest.mark.parametrize("text", [ED25519, P256])
def test_a_key_in_pem(tmp_path: Path, text: str) -> None:
    line = read(tmp_path, text)
    kind, fingerprint, body = line.split(" ")
    assert (kind, fingerprint) == ("pem", hashlib.sha256(base64.b64decode(body)).hexdigest().upper())
    assert ImageKey(line).text == text
    assert read_line(line) == line


def test_openssl_reads_what_is_written_again(tmp_path: Path) -> None:
    argv = ["openssl", "pkey", "-pubin", "-noout"]
    subprocess.run(argv, input=ImageKey(read(tmp_path, P256)).text, text=True, check=True, capture_output=True)


def test_what_is_written_again_is_the_same_key(tmp_path: Path) -> None:
    key = ImageKey(read(tmp_path, ERIN))
    assert (key.kind, key.fingerprint) == ("pgp", ERINS_FINGERPRINT)
    assert read(tmp_path, key.text) == key.line


def test_a_line_stands_for_itself_where_files_are_read(tmp_path: Path) -> None:
    line = read(tmp_path, ED25519)
    assert read_file(line, Path("/no/such")) == line


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "is not one public key"),
        ("ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAI", "is not one public key"),
        (PRIVATE, "is not one public key"),
        (ERINS_SECRET, "is not one public key"),
        (ERINS_SECRET.replace("PRIVATE", "PUBLIC"), "holds a secret key"),
        (ERIN + ED25519, "is not one public key"),
        (SEVERAL, "holds several keys"),
        (ERIN.replace("PGP PUBLIC KEY BLOCK", "PUBLIC KEY"), "is not a public key in PEM"),
        (ED25519.replace("PUBLIC KEY", "PGP PUBLIC KEY BLOCK"), "is not"),
        (ERIN.replace("mDME", "mDM!"), "is not base64"),
        (ERIN.replace(ERIN.splitlines()[-2], "").replace(ERIN.splitlines()[-3], ""), "is cut off"),
        (P256.replace("MFkw", "MFkx"), ""),
        (ED25519.replace("MCow", "MCsw"), "is not a public key in PEM"),
    ],
    ids=lambda value: value[:30] if isinstance(value, str) else None,
)
def test_what_is_no_public_key_is_refused(tmp_path: Path, text: str, reason: str) -> None:
    if not reason:  # what is inside the sequence is for Apptainer to find
        assert read(tmp_path, text).startswith("pem ")
        return
    with pytest.raises(ValueError, match=reason) as caught:
        read(tmp_path, text)
    assert str(tmp_path / "key") in str(caught.value)


def test_a_key_of_another_version_is_refused(tmp_path: Path) -> None:
    other = bytes([*DATA[:2], 6, *DATA[3:]])
    text = ERIN.replace(BODY[:64], base64.b64encode(other).decode()[:64])
    with pytest.raises(ValueError, match="version 4"):
        read(tmp_path, text)


def test_a_large_key_is_refused_with_the_way_to_a_small_one(tmp_path: Path) -> None:
    body = base64.b64encode(DATA + b"\xcd\xff" + LONGEST.to_bytes(4, "big") + bytes(LONGEST)).decode()
    with pytest.raises(ValueError, match="export-minimal"):
        read(tmp_path, f"-----BEGIN PGP PUBLIC KEY BLOCK-----\n\n{body}\n-----END PGP PUBLIC KEY BLOCK-----\n")


@pytest.mark.parametrize("path", ["/no/such", ".", "-x"])
def test_a_file_that_is_not_there_is_named(tmp_path: Path, path: str) -> None:
    with pytest.raises(ValueError, match="is not a regular file" if path == "." else path):
        read_file(path, tmp_path)


def test_a_line_is_what_its_fingerprint_says(tmp_path: Path) -> None:
    line = read(tmp_path, ED25519)
    for wrong in ("", "key.asc", line.replace("pem", "pgp"), line[:-4], line + "=", line.lower(), f"{line}\nx"):
        with pytest.raises(ValueError, match="is not"):
            read_line(wrong)
    with pytest.raises(ValueError, match="is not a public key as phase 1 writes it"):
        read_line(line.replace(line[4:10], "ABCDEF"))


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"\x98\x01a", [(6, b"a")]),
        (b"\x99\x00\x01a\x9a\x00\x00\x00\x01b", [(6, b"a"), (6, b"b")]),
        (b"\xc6\x01a\xcd\x00", [(6, b"a"), (13, b"")]),
        (b"\xc2\xc0\x00" + bytes(192), [(2, bytes(192))]),
        (b"\xc2\xdf\xff" + bytes(8383), [(2, bytes(8383))]),
        (b"\xc2\xff\x00\x00\x00\x01x", [(2, b"x")]),
    ],
)
def test_packets_of_every_form(data: bytes, expected: list[tuple[int, bytes]]) -> None:
    assert list(packets(data)) == expected


@pytest.mark.parametrize("data", [b"\x9b\x01", b"\xc6\xe0a", b"\x01", b"\xc6\x05a", b"\xc6", b"\x9a\xff\xff\xff\xff"])
def test_packets_that_are_none(data: bytes) -> None:
    with pytest.raises(ValueError, match=r"is cut off|is not made of"):
        list(packets(data))
