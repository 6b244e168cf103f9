"""The bounds of what a squashfs must hold, on both sides. Whole images are in test_sif.py."""

from __future__ import annotations

import struct
from typing import Any

import pytest

from pytest_hpcregistry.core import squashfs as looking
from pytest_hpcregistry.testing.sif import squashfs

NO_PLACE, NO_OWNERS = "its table of owners is not there", "its owners are not there"


def problem(data: bytes) -> str:
    return looking.problem(lambda offset, count: data[offset : offset + count], len(data)) or ""


def patched(place: int, form: str, number: int) -> bytes:
    data = bytearray(squashfs())
    struct.pack_into(form, data, place, number)
    return bytes(data)


@pytest.mark.parametrize(
    ("length", "good"),
    [(0, False), (0x8000, False), (1, True), (0x8001, True), (8192, True), (0x8000 | 8192, True), (8193, False)],
)
def test_the_length_of_the_block_of_owners(length: int, good: bool) -> None:
    assert (problem(patched(100, "<H", length)) == "") == good
    assert good or NO_OWNERS in problem(patched(100, "<H", length))


@pytest.mark.parametrize(("place", "says"), [(95, NO_PLACE), (96, NO_OWNERS), (109, NO_OWNERS), (110, NO_PLACE)])
def test_the_place_of_the_block_of_owners(place: int, says: str) -> None:
    assert says in problem(patched(110, "<Q", place))


@pytest.mark.parametrize("table", ["xattr_table", "export_table"])
def test_a_table_that_is_absent(table: str) -> None:
    absent: dict[str, Any] = {table: 0xFFFF_FFFF_FFFF_FFFF}
    assert problem(squashfs(**absent)) == ""
    for number in (0xFFFF_FFFF_FFFF_FFFE, 128):
        other: dict[str, Any] = {table: number}
        assert "its tables do not lie" in problem(squashfs(**other))
