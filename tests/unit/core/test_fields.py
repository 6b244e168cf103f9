"""Rates, sizes and networks, as people write them."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from pytest_hpcregistry.core import fields
from pytest_hpcregistry.core.fields import read_memory, read_network, read_rate, read_signer, read_size


@pytest.mark.parametrize(
    ("text", "rate"), [("0", 0), ("1500", 1500), ("500K", 512_000), ("100m", 104_857_600), ("2G", 2_147_483_648)]
)
def test_rates(text: str, rate: int) -> None:
    assert read_rate(text) == rate


@pytest.mark.parametrize("text", ["", "-1", "fast", "10T", "1.5G", "100MB"])
def test_what_is_no_rate(text: str) -> None:
    with pytest.raises(ValueError, match="is not a rate"):
        read_rate(text)


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("0", 0),
        ("1500", 1500),
        ("20GB", 20_000_000_000),
        ("20 gb", 20_000_000_000),
        ("5M", 5_000_000),
        ("1TB", 10**12),
        ("3GiB", 3 << 30),
        ("5", 5),
        ("7b", 7),
    ],
)
def test_sizes(text: str, size: int) -> None:
    assert read_size(text) == size


@pytest.mark.parametrize("text", ["", "-1", "big", "1.5GB", "20iB", "GB", "1000000000000000B"])
def test_what_is_no_size(text: str) -> None:
    with pytest.raises(ValueError, match="is not a size"):
        read_size(text)


def test_networks() -> None:
    assert read_network("10.20.0.0/16") == "10.20.0.0/16"
    for text in ("10.20.0.1/16", "here", "10.20.0.0/33"):
        with pytest.raises(ValueError, match="is not a network"):
            read_network(text)


@pytest.mark.parametrize(
    ("text", "size"), [("1G", 1 << 30), ("8g", 8 << 30), ("1024M", 1 << 30), ("1073741824", 1 << 30)]
)
def test_memory(text: str, size: int) -> None:
    assert read_memory(text) == size


@pytest.mark.parametrize("text", ["", "0", "1023M", "8 G", "8T", "-8G", "8GB", "1e9", "9" * 13])
def test_what_is_no_memory(text: str) -> None:
    with pytest.raises(ValueError, match="is not a number of bytes, such as 8G, and at least 1G"):
        read_memory(text)


KEY = "AAAAC3NzaC1lZDI1NTE5AAAAI" + "A" * 43


def test_signers() -> None:
    assert read_signer(f"alice@site ssh-ed25519 {KEY}") == f"alice@site ssh-ed25519 {KEY}"
    wrong = (
        f"a ssh-rsa {KEY}",
        f"a ssh-ed25519 {'A' * 68}",
        f"a ssh-ed25519 {KEY[:24]}{'A' * 20}?",
        f"a {KEY}",
        f"a ssh-ed25519 {KEY[:20]}",
    )
    for text in wrong:
        with pytest.raises(ValueError, match="is not PRINCIPAL TYPE KEY"):
            read_signer(text)


def test_a_file_that_cannot_be_read_is_said_in_words(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Root can read everything, so the kernel's answer is made up: of the directory, and of the file itself."""
    key = tmp_path / "id_ed25519"
    key.touch()
    assert fields.read_local_file(str(key)) == key

    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(key))

    monkeypatch.setattr(fields, "own_name", lambda: "nobody")
    for what in ("open", "stat"):
        monkeypatch.setattr(Path, what, refuse)
        with pytest.raises(ValueError, match=rf"^{key} cannot be read as user nobody \(permission denied\)$"):
            fields.read_local_file(str(key))


@pytest.mark.parametrize(
    ("name", "why"), [("gone", "no such file: "), ("file/x", "no such file: "), ("", "is not a reg")]
)
def test_what_is_no_file_to_read(tmp_path: Path, name: str, why: str) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ValueError, match=why):
        fields.read_local_file(str(tmp_path / name))


def test_a_loop_of_links_is_no_traceback(tmp_path: Path) -> None:
    (tmp_path / "loop").symlink_to("loop")
    with pytest.raises(ValueError, match=r"cannot be read as user .* \(too many levels of symbolic links\)"):
        fields.read_local_file(str(tmp_path / "loop"))
