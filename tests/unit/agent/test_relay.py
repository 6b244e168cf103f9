"""What one end of a relay does by itself. Two ends and the controller: tests/unit/controller/engines/test_relay.py."""

from __future__ import annotations

import os
import time
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from pytest_hpcregistry.agent import relay
from pytest_hpcregistry.agent.pieces import Pieces

SIZE = 1 << 20  # bytes


class Link:
    """The other end has nothing yet; what is sent to it is kept with the time, in seconds that only pass in sleep."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 0.0
        self.came: list[tuple[float, bytes]] = []
        monkeypatch.setattr(time, "monotonic", lambda: self.now)
        monkeypatch.setattr(time, "sleep", self.sleep)

    def sleep(self, seconds: float) -> None:
        self.now += seconds

    def settimeout(self, seconds: float | None) -> None:
        pass

    def recv(self, length: int) -> bytes:
        return bytes(length)

    def sendall(self, data: bytes) -> None:
        self.came.append((self.now, data))


def send(tmp_path: Path, link: Any, rate: int) -> bytes:
    """What a sender has sent at a *rate* (bytes/s; 0: no limit); returns what it should have."""
    file = tmp_path / "object"
    file.write_bytes(os.urandom(SIZE))
    with file.open("rb") as opened:
        pieces = Pieces([(opened.fileno(), SIZE)], 128 << 10, "")
        pieces.load_index()
        order = {"node": "c2", "address": "192.0.2.1", "port": 1, "link": "ab" * 8, "rate": rate}
        relay.Sender(pieces, "", order, lambda said: None).send(link)
    return bytes.fromhex("ab" * 8) + pieces.digests + file.read_bytes()


@pytest.mark.parametrize("rate", [1_000, 100_000, 500_000])
def test_a_limited_rate_is_even(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, rate: int) -> None:
    """Whoever gets nothing for two seconds is taken for dead: a block of 256 KiB at once would be that."""
    link = Link(monkeypatch)
    assert send(tmp_path, link, rate) == b"".join(data for _, data in link.came)
    times = [now for now, _ in link.came]
    assert max(later - earlier for earlier, later in pairwise(times)) <= 0.25
    assert times[-1] == pytest.approx(SIZE / rate, rel=0.1, abs=0.3)


def test_without_a_limit_nothing_waits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    link = Link(monkeypatch)
    assert send(tmp_path, link, 0) == b"".join(data for _, data in link.came)
    assert link.now == 0
    assert len(link.came) < 10
