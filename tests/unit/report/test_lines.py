"""Lines for people: short with many nodes, and safe to print."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from pytest_hpcregistry.core.events import (
    CheckEnded,
    DamageFound,
    Event,
    Failed,
    Freed,
    GcFinished,
    GcStarted,
    ImageChecked,
    ImageScanned,
    ImageSent,
    NodeFinished,
    NodeStarted,
    Published,
    RolledBack,
    SyncStarted,
    TransferStarted,
    UnderWay,
    Verified,
    Waiting,
)
from pytest_hpcregistry.core.facts import MISSING, PRESENT, UNREACHABLE
from pytest_hpcregistry.report import lines
from pytest_hpcregistry.testing.facts import DIGEST, NAME, OTHER

MANY = [f"c{number:03}" for number in range(1, 801)]


@pytest.mark.parametrize(
    ("event", "line"),
    [
        (ImageChecked(name=NAME, size=67_100_000, digest=DIGEST),
         f"✓ {NAME}: a sound SIF, 67 MB, sha256 aaaaaaaaaaaa…"),
        (CheckEnded(NAME, "import torch", "passed", seconds=3.21), f"✓ {NAME}: import torch (3.2 s)"),
        (CheckEnded("a\nb.sif", "c\x1b", "failed", "exit code 1"), "✗ a\\nb.sif: c\\x1b: failed: exit code 1"),
        (CheckEnded("a\nb.sif", "c", "passed"), "✓ a\\nb.sif: c (0.0 s)"),
        (CheckEnded(NAME, "nvidia-smi", "skipped", "no GPU on c1"), f"- {NAME}: nvidia-smi: skipped: no GPU on c1"),
        (CheckEnded(NAME, "a", "unknown", "NODE_FAIL"), f"✗ {NAME}: a: unknown: NODE_FAIL"),
        (ImageScanned(NAME, 1, 1, 0), f"✓ {NAME}: 1 component scanned, 1 finding, none blocks it"),
        (ImageScanned(NAME, 120, 0, 0), f"✓ {NAME}: 120 components scanned, 0 findings, none blocks it"),
        (ImageScanned(NAME, 120, 3, 2), f"✓ {NAME}: 120 components scanned, 3 findings, 2 waived, none blocks it"),
        (ImageSent(name=NAME, bytes=1_000_000), f"✓ {NAME}: 1.0 MB sent to the controller"),
        (ImageSent(name=NAME, bytes=0), f"✓ {NAME}: the controller has its bytes"),
        (Published(name=NAME, changed=True, digest="x"), f"✓ {NAME}: published on the controller"),
        (Published(name=NAME, changed=False, digest="x"), f"✓ {NAME}: already published there"),
        (Published(NAME, "x", True, ["sbom"]), f"✓ {NAME}: published on the controller, its SBOM kept beside it"),
        (
            Published(NAME, "x", False, ["sbom", "scan", "of a later version"]),
            f"✓ {NAME}: already published there, its SBOM and scanner's report kept beside it",
        ),
        (NodeFinished(node="c1", state="synced", objects=1, bytes=5_000_000, seconds=1.25, what="x"),
         "✓ c1: synced, 5.0 MB in 1.2 s"),
        (NodeFinished(node="c1", state="synced", objects=1, bytes=37_000, seconds=1.25, what="x"),
         "✓ c1: synced, 37 kB in 1.2 s"),
        (NodeFinished(node="c1", state="synced", what="x"), "✓ c1: brought up to date (the bytes were there)"),
        (TransferStarted("star", "nothing is to be moved", {"c1": 0}), None),
        (TransferStarted("shared", "they see it", {"c1": 0, "c2": 0}), "  nothing is sent to c[1-2]: they see it"),
        (TransferStarted("star", "46 MB to c2 would", {"c1": 0, "c2": 45_900_000}),
         "  sending 46 MB to c2 by star (auto: one node)"),
        (TransferStarted("relay", "x", {"c1": 1_000_000, "c2": 2_000_000}),
         "  sending at most 2.0 MB to c[1-2] by relay (auto)"),
        (TransferStarted("star", "as asked for", {"c1": 1_000_000}), "  sending 1.0 MB to c1 by star (as asked for)"),
        (NodeFinished(node="c1", state="unchanged", what="x"), "✓ c1: nothing to send (names and sizes compared)"),
        (NodeFinished(node="c1", state="failed", message="disk full", what="x"), "✗ c1: disk full"),
        (RolledBack(name=NAME, digest=DIGEST, before=OTHER, published="2025-10-07T12:00:00Z", by="x"),
         f"✓ {NAME}: version aaaaaaaaaaaa of 2025-10-07T12:00:00Z is current on the controller (was bbbbbbbbbbbb)"),
        (RolledBack(name=NAME, digest=DIGEST, before=DIGEST, published="then", by="x"),
         f"✓ {NAME}: version aaaaaaaaaaaa of then is current on the controller (as before)"),
        (GcStarted(nodes=["c1", "c2"], keep=0, grace=0, by="x", dry_run=False),
         "  collecting unreferenced objects on the controller and c[1-2]"),
        (GcFinished(dry_run=True, machines={
            "c1": Freed("freed", objects=["a"], bytes=5_000_000, in_use=["b"], in_use_bytes=1_000_000),
            "c2": Freed("failed", "told as an error")}),
         "✓ c1: 1 object would be freed, 5.0 MB\n! c1: 1 object kept, 1.0 MB: in use"),
        (Failed(message="no", name="x.sif"), "✗ no"),
        (
            Waiting("2" * 15),
            "  waiting for another command, of which nothing is known (Ctrl-C to give up)",
        ),
        (UnderWay(what="all images", text="1 of 2 nodes, 40 % of 2.1 GB"),
         "  all images: 1 of 2 nodes, 40 % of 2.1 GB"),
        (NodeStarted(node="c1", what="x"), None),
        (DamageFound("c1", [NAME, "b/y.sif"], "a" * 64, "b" * 64, "q"),
         f"! c1: {NAME}, b/y.sif damaged (bbbbbbbbbbbb, should be aaaaaaaaaaaa): what was there is in q now"),
    ],
)  # fmt: skip
def test_one_line_for_one_event(event: Event, line: str | None) -> None:
    assert lines.describe(event) == line


def test_hundreds_of_nodes_are_one_short_line() -> None:
    started = lines.describe(SyncStarted(what="all images", nodes=MANY))
    assert started == "  syncing all images to c[001-800]"
    states = {"controller": PRESENT, **dict.fromkeys(MANY, PRESENT), "c017": MISSING, "c018": UNREACHABLE}
    verified = lines.describe(Verified(name=NAME, states=states))
    assert verified == (f"✗ {NAME}: same bytes on controller,c[001-016,019-800], missing c017, unreachable c018")


def ended(node: str, state: str = "synced", **words: Any) -> NodeFinished:
    return NodeFinished(**{"node": node, "state": state, "bytes": 5_000_000, "seconds": 1.0, "what": "x", **words})


def test_nodes_that_ended_alike_are_one_line() -> None:
    events = [
        *[ended(node) for node in MANY[:3]],
        ended("c004", seconds=2.5, bytes=900_000),
        ended("c005", "unchanged"),
        *[ended(node, "failed", message="full\x1b[2J") for node in ("c006", "c007")],
        ended("c008", "unreachable", message="no route"),
        *[ended(node, "not counted", message='drained "disk\x1b swap"') for node in ("c009", "c010")],
    ]
    assert lines.nodes_finished(events) == [
        "✓ c[001-004]: synced, 900 kB to 5.0 MB in 1.0 to 2.5 s",
        "✓ c005: nothing to send (names and sizes compared)",
        "✗ c[006-007]: full\\x1b[2J",
        "✗ c008: no route",
        '! not counted: c[009-010] drained "disk\\x1b swap"',
    ]
    assert lines.nodes_finished([]) == []


def test_a_node_set_with_many_gaps_is_a_number_but_of_trouble_each_is_named() -> None:
    gaps = MANY[::2]
    assert lines.nodes_finished([ended(node) for node in gaps]) == ["✓ 400 nodes: synced, 5.0 MB in 1.0 s"]
    (line,) = lines.nodes_finished([ended(node, "failed", message="full") for node in gaps])
    assert "c[001,003,005" in line
    long = "c" * 70
    assert lines.nodes_finished([ended(long, "unchanged")]) == [f"✓ {long}: nothing to send (names and sizes compared)"]


def test_all_the_same_is_a_tick() -> None:
    states = {"controller": PRESENT, "c1": PRESENT}
    assert lines.describe(Verified(name=NAME, states=states)) == (f"✓ {NAME}: same bytes on controller,c1")


def test_a_file_name_cannot_write_to_the_terminal() -> None:
    """Names on the machines come from anywhere: control characters and bytes that are no UTF-8 are shown as text."""
    line = lines.describe(Failed(message="x\x1b[31m\udcff\r.sif", name="x"))
    assert line == "✗ x\\x1b[31m\\udcff\\r.sif"
    assert lines.table([["IMAGE", "STATE"], ["a\nb", "missing"]]) == ["IMAGE  STATE", "a\\nb   missing"]


def test_a_message_of_several_lines_stays_so() -> None:
    event = Failed(message="c.yaml: 2 mistakes\n  a\n  b", name="x")
    assert lines.describe(event) == "✗ c.yaml: 2 mistakes\n  a\n  b"
    assert lines.describe(replace(event, name=None)) is None, "an error that ends the whole is reported at the end"


def test_columns_are_aligned() -> None:
    assert lines.table([["A", "B"], ["long", ""], ["", "x"]]) == ["A     B", "long", "      x"]


def test_a_row_that_is_too_long_is_broken_between_words() -> None:
    sites = [["SITE", "IS"], ["states", "nodes that are drained, off or rebooting"]]
    assert lines.table(sites, 80) == lines.table(sites)
    assert lines.table(sites, 30) == [
        "SITE    IS",
        "states  nodes that are",
        "        drained, off or",
        "        rebooting",
    ]
    images = [["IMAGE", "SIZE", "PUBLISHED"], ["ml-frameworks/pytorch-cpu.sif", "46 MB", "2026-11-27T16:58:39Z"]]
    assert lines.table(images, 40)[-2:] == ["ml-frameworks/pytorch-cpu.sif  46 MB", "    2026-11-27T16:58:39Z"]
    assert lines.table(images, 35)[-2:] == ["ml-frameworks/pytorch-cpu.sif", "    46 MB  2026-11-27T16:58:39Z"]


def test_what_was_read_is_not_said_to_be_compared_only() -> None:
    nodes = [NodeFinished(f"c{number}", "x", "unchanged", read=number > 1) for number in (1, 2, 3)]
    assert lines.nodes_finished(nodes) == [
        "✓ c1: nothing to send (names and sizes compared)",
        "✓ c[2-3]: nothing to send (every byte was read)",
    ]


def test_the_seeds_banner() -> None:
    assert "║  ✓✓✓ ALL CONTAINER REGISTRY TESTS PASSED ✓✓✓ " in lines.BANNER
    assert {line[0] + line[-1] for line in lines.BANNER.splitlines()} == {"╔╗", "║║", "╚╝"}
    assert len({len(line) for line in lines.BANNER.splitlines()}) == 1, "the border is closed"


def test_the_numbers_behind_a_choice_are_for_who_asks_for_more() -> None:
    event = TransferStarted("star", "1.0 MB to c1 would take about 0.1 s", {"c1": 1_000_000})
    shown = lines.describe(event, verbose=True)
    assert shown == "  sending 1.0 MB to c1 by star (auto: one node)\n    1.0 MB to c1 would take about 0.1 s"
    assert "\n" not in str(lines.describe(replace(event, why="as asked for"), verbose=True))
    assert lines.describe(replace(event, bytes={"c1": 0}), verbose=True) is None
