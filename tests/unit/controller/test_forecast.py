"""What a dry run says of logins and time: by the rate of what the history has, or that it is not known."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from pytest_hpcregistry.controller.forecast import forecast
from pytest_hpcregistry.controller.outcome import Outcome
from pytest_hpcregistry.core.history import Record, new_id, to_line
from pytest_hpcregistry.core.layout import HISTORY

MB = 1_000_000


def planned(engine: str = "star", size: int = 100 * MB) -> Outcome:
    return Outcome("planned", 1, size, engine=engine)


@pytest.fixture
def registry(tmp_path: Path) -> Path:
    (tmp_path / HISTORY).parent.mkdir(parents=True)
    (tmp_path / HISTORY).touch()
    return tmp_path


def transfer(registry: Path, **fields: Any) -> None:
    given = {"state": "ok", "engine": "star", "bytes": 100 * MB, "seconds": 10.0, "done": "c[1-4]", **fields}
    with (registry / HISTORY).open("a") as file:
        file.write(to_line(Record(new_id(), "2026-11-25T19:23:20Z", "sync", **given)) + "\n")


def said(registry: Path, limit: int = 0, **outcomes: Outcome) -> list[str]:
    return forecast(str(registry), outcomes, limit)


def test_logins_and_what_is_to_be_sent(registry: Path) -> None:
    assert said(registry, c1=Outcome("unchanged"), c2=Outcome("unreachable")) == ["2 logins, one a node"]
    unknown = "100 MB; how long is not known: the history has no transfer by star"
    assert said(registry, c1=planned(), c2=Outcome("unchanged")) == ["2 logins, one a node, and 1 for rsync", unknown]
    for odd in ({"engine": "relay"}, {"state": "failed"}, {"bytes": 999}, {"seconds": 0.0}, {"engine": "star, relay"}):
        transfer(registry, **odd)
    assert said(registry, c1=planned())[1] == unknown, "none of these says how fast star is"


def test_time_by_the_rate_of_the_last_transfers(registry: Path) -> None:
    for size in (9000, 200, 100, 100, 1000, 50):  # the first is too long ago
        transfer(registry, bytes=size * MB)
    line = "200 MB in about 0:20, by the rate of the last transfers (star 10 MB/s)"
    assert said(registry, c1=planned(), c2=planned())[1] == line
    assert said(registry, 5 * MB, c1=planned())[1].startswith("100 MB in about 0:20"), "no faster than it may be"


@pytest.mark.parametrize("done", ["c[1-4]", "4 machines"])
def test_a_relay_brings_it_to_all_nodes_at_once(registry: Path, done: str) -> None:
    transfer(registry, engine="relay", bytes=400 * MB, done=done)
    line = "300 MB in about 0:10, by the rate of the last transfers (relay 10 MB/s)"
    assert said(registry, c1=planned("relay"), c2=planned("relay"), c3=planned("relay"))[1] == line
