"""A record of the history as a line and back, and the times that people give."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta

import pytest

from pytest_hpcregistry.core.history import (
    FAILED,
    LONGEST_LINE,
    MOST_IMAGES,
    Record,
    from_line,
    new_id,
    now,
    read_grace,
    read_since,
    to_line,
)

WHOLE = Record(
    id="0123456789abcde",
    time="2026-11-25T19:23:20Z",
    command="sync",
    state=FAILED,
    user="root",
    address="10.89.0.1",
    claimed="alice@ws1",
    images=["ml-frameworks/x.sif"],
    before="ab" * 32,
    after="cd" * 32,
    done="c[001-003]",
    failed="c004",
    bytes=12,
    engine="star",
    checks={"passed": 3},
    seconds=1.5,
    detail="x",
    reason="y",
)


def test_what_is_written_is_read() -> None:
    assert from_line(to_line(WHOLE)) == WHOLE
    least = Record(new_id(), now(), "gc")
    assert from_line(to_line(least)) == least
    assert len({new_id() for _ in range(100)}) == 100


def test_a_line_is_one_line_whatever_is_in_it() -> None:
    odd = "a\nb\x1b[2J\u202e\udc80"
    line = to_line(Record(new_id(), now(), "sync", user=odd, address=odd, claimed=odd, images=[odd], reason=odd))
    assert line.isascii()
    assert line.isprintable()
    assert "\\\\x1b[2J" in line


def test_a_line_has_a_bound() -> None:
    long = "x" * LONGEST_LINE
    line = to_line(Record(new_id(), now(), "sync", images=["i" * 200] * 5000, done=long, reason=long, claimed=long))
    assert len(line) < LONGEST_LINE
    found = from_line(line)
    assert len(found.images) == MOST_IMAGES
    assert found.detail == "and 4000 more images"
    assert found.reason.endswith("x…")


def broken(**changes: object) -> str:
    return json.dumps({**json.loads(to_line(WHOLE)), **changes})


@pytest.mark.parametrize(
    "line",
    ["", "{", "[]", "7", "null", "{}", to_line(WHOLE)[:-5], "[" * 100_000, broken(id="../x"), broken(id=7),
     broken(time="yesterday"), broken(time=None), broken(command="rm -rf /"), broken(state="killed"), broken(state="x"),
     broken(images="x"), broken(images=[1]), broken(bytes=-1), broken(bytes=1.5), broken(bytes=True),
     broken(seconds="x"), broken(bytes=1 << 90), broken(checks=[]), broken(checks={"passed": -1}), broken(user=["x"]),
     to_line(WHOLE).replace("1.5", "NaN"), to_line(WHOLE).replace("1.5", "1e999")],
)  # fmt: skip
def test_what_is_no_record(line: str) -> None:
    with pytest.raises(ValueError, match=r".+"):
        from_line(line)


def test_a_key_of_a_later_version_is_passed_over() -> None:
    assert from_line(broken(mood="good")) == WHOLE


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2026-11-01", "2026-11-01T00:00:00Z"),
        ("2026-11-01T12:30", "2026-11-01T12:30:00Z"),
        ("2026-11-01T12:30Z", "2026-11-01T12:30:00Z"),
        ("2026-11-01T12:30:59Z", "2026-11-01T12:30:59Z"),
        ("0001-01-01", "0001-01-01T00:00:00Z"),
    ],
)
def test_a_day_or_a_time_is_in_utc(text: str, expected: str) -> None:
    assert read_since(text) == expected


@pytest.mark.parametrize(
    ("text", "age"),
    [
        ("90s", timedelta(seconds=90)),
        ("30m", timedelta(minutes=30)),
        ("2h", timedelta(hours=2)),
        ("7d", timedelta(days=7)),
        ("2w", timedelta(weeks=2)),
        ("0s", timedelta()),
    ],
)
def test_an_age_counts_from_now(text: str, age: timedelta) -> None:
    expected = datetime.now(UTC) - age
    found = datetime.strptime(read_since(text), "%Y-%m-%dT%H:%M:%S%z")
    assert abs(found - expected) < timedelta(seconds=60)


@pytest.mark.parametrize(
    "text", ["", "7", "d", "-1d", "7 d", "1.5h", "7d2h", "yesterday", "2026-02-30", "2026-11-01T25:00", "26-11-01",
             "2026-11-01 12:00", "2026-11-01T12:00+01:00", "999999w", "2026-11-01\n", "\u0667d"]
)  # fmt: skip
def test_what_is_no_time(text: str) -> None:
    with pytest.raises(ValueError, match="is no time: 7d, 2h"):
        read_since(text)


@pytest.mark.parametrize(
    ("text", "seconds"), [("0", 0), ("3600", 3600), ("90s", 90), ("12h", 43_200), ("14d", 1_209_600), ("2w", 1_209_600)]
)
def test_a_grace_period_is_a_length_of_time_or_seconds(text: str, seconds: int) -> None:
    assert read_grace(text) == seconds


@pytest.mark.parametrize("text", ["", "-1", "1.5h", "few", "h", "1 h", "9999999999", "99999999w"])
def test_what_is_no_grace_period(text: str) -> None:
    with pytest.raises(ValueError, match="is no length of time, such as 14d, 12h or 30m"):
        read_grace(text)
