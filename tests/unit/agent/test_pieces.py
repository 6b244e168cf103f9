"""A transfer's bytes: each piece proven before it counts, and in its own place in the file that it belongs to."""

from __future__ import annotations

import fcntl
import hashlib
import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from pytest_hpcregistry.agent.pieces import HASH_SIZE, Pieces, piece_size

PIECE = 200  # bytes; fewer than all digests have
CONTENT = [os.urandom(2500), b"", os.urandom(700), os.urandom(1)]  # pieces go over the ends of files
PIECES = 17
START = PIECES * HASH_SIZE  # bytes of digests, which come first
TOTAL = START + 3201


@pytest.fixture
def source(tmp_path: Path) -> Iterator[Pieces]:
    """One end, which has everything."""
    with ExitStack() as files:
        found = []
        for number, data in enumerate(CONTENT):
            path = tmp_path / f"source-{number}"
            path.write_bytes(data + b"beyond what was promised")
            found.append((files.enter_context(path.open("rb")).fileno(), len(data)))
        pieces = Pieces(found, PIECE, "")
        pieces.load_index()
        yield pieces


@pytest.fixture
def paths(tmp_path: Path) -> list[Path]:
    return [tmp_path / f"copy-{number}" for number in range(len(CONTENT))]


@pytest.fixture
def copy(source: Pieces, paths: list[Path]) -> Iterator[Pieces]:
    """The other end, which has nothing but the digest of all digests."""
    descriptors = [os.open(path, os.O_RDWR | os.O_CREAT, 0o600) for path in paths]
    yield Pieces([(one, len(data)) for one, data in zip(descriptors, CONTENT, strict=True)], PIECE, source.index)
    for descriptor in descriptors:
        os.close(descriptor)


def take(copy: Pieces, source: Pieces, until: int = TOTAL) -> None:
    while copy.have < until:
        assert copy.accept(memoryview(source.read(copy.have, copy.next_length())))


def content(paths: list[Path]) -> list[bytes]:
    return [path.read_bytes() for path in paths]


@pytest.mark.parametrize(
    ("total", "piece"),
    [(0, 128 << 10), ((128 << 10) * 2048 + 2047, 128 << 10), ((128 << 10) * 2048 + 2048, (128 << 10) + 1),
     ((1 << 20) * 2048 - 1, (1 << 20) - 1), ((1 << 20) * 2048, 1 << 20), (1 << 45, 1 << 20)],
)  # fmt: skip
def test_there_are_some_2048_pieces_within_bounds(total: int, piece: int) -> None:
    assert piece_size(total) == piece


def test_the_digests_of_all_pieces_come_first(source: Pieces) -> None:
    run = b"".join(CONTENT)
    digests = b"".join(hashlib.sha256(run[start : start + PIECE]).digest() for start in range(0, len(run), PIECE))
    assert source.have == source.total == TOTAL
    assert source.read(0, TOTAL) == digests, "a read ends where they end"
    assert source.read(START, TOTAL) == run
    assert source.index == hashlib.sha256(digests).hexdigest()


@pytest.mark.parametrize(("length", "pieces"), [(0, 0), (1, 1), (PIECE, 1), (PIECE + 1, 2), (2 * PIECE, 2)])
def test_every_byte_is_in_a_piece_and_none_is_empty(length: int, pieces: int) -> None:
    assert Pieces([(-1, length)], PIECE, "").total == length + pieces * HASH_SIZE


def test_what_comes_is_the_same_files(source: Pieces, copy: Pieces, paths: list[Path]) -> None:
    steps = []
    while copy.have < copy.total:
        steps.append(copy.next_length())
        take(copy, source, copy.have + 1)
    assert steps == [START, *[PIECE] * 16, 1]
    assert content(paths) == CONTENT
    assert copy.read(0, START) == source.read(0, START)
    assert copy.read(START, TOTAL) == source.read(START, TOTAL)


@pytest.mark.parametrize("start", [0, 1, START - 1])
def test_digests_are_read_from_anywhere(source: Pieces, start: int) -> None:
    assert source.read(start, 7) == source.digests[start : start + 7]


@pytest.mark.parametrize("start", [0, 1, 999, 2499, 2500, 2501, 3199, 3200])
@pytest.mark.parametrize("length", [0, 1, 2, 700, 703, 5000])
def test_bytes_are_read_from_anywhere(source: Pieces, start: int, length: int) -> None:
    assert source.read(START + start, length) == b"".join(CONTENT)[start : start + length]


@pytest.mark.parametrize("number", range(PIECES + 1))
@pytest.mark.parametrize("at", [0, -1])
def test_one_wrong_byte_and_nothing_is_taken(
    source: Pieces, copy: Pieces, paths: list[Path], number: int, at: int
) -> None:
    take(copy, source, START + (number - 1) * PIECE if number else 0)
    have, before, digests = copy.have, content(paths), copy.digests
    wrong = bytearray(source.read(have, copy.next_length()))
    wrong[at] ^= 1
    assert not copy.accept(memoryview(wrong))
    assert (copy.have, content(paths), copy.digests) == (have, before, digests)
    take(copy, source)
    assert content(paths) == CONTENT, "the right one is taken afterwards"


def test_a_piece_in_another_ones_place_is_wrong(source: Pieces, copy: Pieces) -> None:
    take(copy, source, START)
    assert not copy.accept(memoryview(source.read(START + PIECE, PIECE)))
    assert copy.have == START


def test_a_disk_that_takes_less_at_once_gets_the_rest(
    source: Pieces, copy: Pieces, paths: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    real = os.pwrite
    monkeypatch.setattr(os, "pwrite", lambda descriptor, data, offset: real(descriptor, data[:7], offset))
    take(copy, source)
    assert content(paths) == CONTENT


def test_no_writer_is_left_when_all_has_come(source: Pieces, copy: Pieces) -> None:
    """Or publish would refuse the bytes, as ones that could still be changed. The numbers are the same."""

    def flags(get: int) -> set[int]:
        return {fcntl.fcntl(descriptor, get) for descriptor, _ in copy.files}

    before = len(list(Path("/proc/self/fd").iterdir()))
    take(copy, source, TOTAL - PIECE - 1)
    assert {one & os.O_ACCMODE for one in flags(fcntl.F_GETFL)} == {os.O_RDWR}
    take(copy, source)
    assert {one & os.O_ACCMODE for one in flags(fcntl.F_GETFL)} == {os.O_RDONLY}
    assert flags(fcntl.F_GETFD) == {fcntl.FD_CLOEXEC}, "no program that is started gets them"
    assert len(list(Path("/proc/self/fd").iterdir())) == before


def in_background(work: Callable[[], Any]) -> tuple[threading.Thread, list[Any]]:
    answers: list[Any] = []
    thread = threading.Thread(target=lambda: answers.append(work()), daemon=True)
    thread.start()
    return thread, answers


def test_who_waits_for_more_is_woken_by_it(source: Pieces, copy: Pieces) -> None:
    thread, answers = in_background(lambda: copy.wait_beyond(0, 60))
    thread.join(0.2)
    assert answers == [], "there is no more yet"
    take(copy, source, START)
    thread.join(10)
    assert answers == [START]


def test_who_waits_for_what_is_there_does_not_wait(source: Pieces) -> None:
    began = time.monotonic()
    assert source.wait_beyond(TOTAL - 1, 60) == TOTAL
    assert time.monotonic() - began < 30


def test_who_waits_in_vain_is_told_after_its_time(source: Pieces) -> None:
    thread, answers = in_background(lambda: source.wait_beyond(TOTAL, 0.1))
    thread.join(20)
    assert answers == [TOTAL]
