"""A record of the history as a person sees it."""

from __future__ import annotations

from pytest_hpcregistry.core.history import Record
from pytest_hpcregistry.report.history import WIDTH, describe

NAME = "ml-frameworks/pytorch.sif"
WHEN = "2026-11-25T19:23:20Z"


def record(command: str, state: str = "ok", **more: object) -> Record:
    return Record("0" * 15, WHEN, command, state, user="root", address="10.89.0.1", **more)  # type: ignore[arg-type]


def test_a_deploy() -> None:
    one = record("deploy", images=[NAME], before="a" * 64, after="b" * 64, claimed="alice@ws1", seconds=2.7)
    assert describe(one) == (
        f"{WHEN}  deploy    {NAME}: ok\n"
        "    aaaaaaaaaaaa -> bbbbbbbbbbbb; 2.7 s\n"
        "    by root from 10.89.0.1, as alice@ws1"
    )


def test_a_sync_that_failed() -> None:
    one = record("sync", "failed", done="c[001,003]", failed="c002", reason="c002: login refused", bytes=45_900_000)
    assert describe(one) == (
        f"{WHEN}  sync      all images: failed\n"
        "    on c[001,003]; not on c002; 46 MB\n"
        "    by root from 10.89.0.1\n"
        "    why: c002: login refused"
    )


def test_a_test_and_a_setup() -> None:
    tested = record("test", images=[NAME], after="b" * 64, done="c001", checks={"passed": 1, "failed": 0, "skipped": 2})
    assert describe(tested).splitlines()[1] == "    bbbbbbbbbbbb; on c001; 1 check passed, 2 checks skipped"
    assert describe(record("setup", done="c001")).splitlines()[0] == f"{WHEN}  setup     ok"


def test_nobody_is_known_by_cron_and_a_killed_one_has_not_said_what_it_did() -> None:
    one = Record("0" * 15, WHEN, "sync", "killed", user="root")
    assert describe(one) == f"{WHEN}  sync      all images: killed\n    by root"


def test_the_same_bytes() -> None:
    one = record("deploy", images=[NAME], before="a" * 64, after="a" * 64)
    assert describe(one).splitlines()[1] == "    aaaaaaaaaaaa, as before"


def test_it_fits_whatever_is_in_it() -> None:
    one = record(
        "deploy", "failed", images=["ml-frameworks/" + "x" * 140 + ".sif"], reason="why " * 200, claimed="y" * 300
    )
    lines = describe(one).splitlines()
    assert max(map(len, lines)) <= WIDTH
    assert [line for line in lines[1:] if not line.startswith("    ")] == []


def test_nothing_in_it_is_obeyed_by_a_terminal() -> None:
    odd = "\x1b[2J\n\u202e"
    one = record("sync", odd, images=[odd], detail=odd, reason=odd, claimed=odd, engine=odd)
    text = describe(one)
    assert all(line.isprintable() for line in text.split("\n"))
    assert "\\x1b[2J" in text
