"""Rates, sizes and networks, as people write them."""

from __future__ import annotations

import pytest

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
