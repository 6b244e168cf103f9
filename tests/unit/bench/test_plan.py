"""The benchmark's own logic: what counts as verified, what the ratios are, what is planned. No cluster."""

from __future__ import annotations

import hashlib
import json
import time
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import pytest

from bench import images, measure, plan, testbed, ways
from bench.fault import find_named, last_of
from bench.measure import Measured, Target
from bench.report import Report, describe, find_busy, floor, make_row, table
from bench.testbed import Testbed
from pytest_hpcregistry.core import sif

GOOD = b"x" * 1000
TARGET = Target("/image", hashlib.sha256(GOOD).hexdigest(), len(GOOD))
NODES = ("c001", "c002")


class FakeBed:
    """Nodes that are directories, and a controller that sends 1,500 bytes between two looks at its counters."""

    nodes = NODES

    def __init__(self, top: Path) -> None:
        self.top = top
        self.sent = 0

    def path(self, machine: str, path: str) -> Path:
        return self.top / (machine + path.replace("/", "-"))

    def wire_bytes(self, machine: str) -> tuple[int, int]:
        self.sent += 1500
        return self.sent // 3, self.sent

    def programs(self) -> list[int]:
        return []


def run(top: Path, script: str, timeout: float = 20, at: measure.Plan = ()) -> Measured:
    bed = cast(Testbed, FakeBed(top))
    return measure.measure(bed, ["sh", "-c", f"cd {top}; {script}"], TARGET, timeout=timeout, at=at)


def measured(seconds: float, verified: dict[str, float], sent: int = 2000, memory: int = 0) -> Measured:
    return Measured(0, "", seconds, verified, sent, 0, memory, 0.5)


WRITE = "head -c 1000 /dev/zero | tr '\\0' x >"


def test_a_node_is_verified_once_its_own_file_has_the_digest(tmp_path: Path) -> None:
    done = run(tmp_path, f"{WRITE} c001-image; sleep 0.5; {WRITE} c002-image; echo said; exit 3")
    assert set(done.verified) == set(NODES)
    assert done.verified["c001"] < 0.5 < done.verified["c002"]
    assert (done.exit_code, done.output) == (3, "said\n")
    assert (done.sent, done.received) == (1500, 500)  # between two looks, and nothing was due on the way
    assert done.all_verified(NODES) == max(done.seconds, done.verified["c002"])


@pytest.mark.parametrize(
    "bad",
    [
        ":",  # nothing arrived
        "head -c 999 /dev/zero | tr '\\0' x > c002-image",  # cut off
        "head -c 1000 /dev/zero > c002-image",  # whole, and wrong
        f"{WRITE} c002-image.part",  # never given its name
    ],
)
def test_success_is_not_the_commands_word(tmp_path: Path, bad: str) -> None:
    done = run(tmp_path, f"{WRITE} c001-image; {bad}; sleep 0.2; exit 0")
    assert set(done.verified) == {"c001"}
    assert done.all_verified(NODES) is None
    assert done.all_verified(["c001"]) is not None


def test_a_file_that_is_made_right_in_place_is_found_right(tmp_path: Path) -> None:
    """As soon as it is: it is read again when it changed, not only when all is over."""
    wrong = "head -c 1000 /dev/zero > c002-image"
    done = run(tmp_path, f"{wrong}; {WRITE} c001-image; sleep 0.3; {WRITE} c002-image; sleep 1")
    assert set(done.verified) == set(NODES)
    assert 0.3 < done.verified["c002"] < done.seconds - 0.5


def test_a_command_that_never_ends_is_ended_and_what_was_due_is_done(tmp_path: Path) -> None:
    began, pulled = time.monotonic(), []
    done = run(tmp_path, "sleep 60", timeout=0.5, at=[(2000, lambda: pulled.append("c002")), (10**9, pulled.clear)])
    assert time.monotonic() - began < 30
    assert done.exit_code != 0
    assert pulled == ["c002"]
    assert done.verified == {}


def test_the_ratio_is_to_one_copy_over_one_link() -> None:
    assert floor(12_500_000, 100) == 1
    row = make_row("star", NODES, 1000, 1, [measured(0.016, {"c001": 0.01, "c002": 0.02}, memory=27_000_000)])
    assert (row.seconds, row.ratio, row.controller_ratio, row.verified) == (0.02, 2.5, 2.0, 2)
    assert row.memory_mb == 27.0


def test_repeated_runs_are_a_median_and_one_failure_spoils_it() -> None:
    runs = [measured(seconds, dict.fromkeys(NODES, 0.1), sent) for seconds, sent in ((8, 1000), (2, 3000), (4, 2000))]
    row = make_row("star", NODES, 1000, 1, runs)
    assert (row.seconds, row.controller_ratio, row.repeats) == (4, 2.0, 3)
    row = make_row("star", NODES, 1000, 1, [*runs, measured(1, {"c001": 0.1})])
    assert (row.seconds, row.ratio, row.verified) == (None, None, 1)
    assert describe(row) == "star, 2 nodes: only 1 verified"


def test_the_table_puts_what_failed_last_and_prints_no_time_for_it() -> None:
    slow = make_row("pdcp", NODES, 1000, 1, [measured(9, dict.fromkeys(NODES, 0.1))])
    fast = make_row("star", NODES, 1000, 1, [measured(4, dict.fromkeys(NODES, 0.1))])
    failed = make_row("sbcast", NODES, 1000, 1, [measured(1, {})])
    lines = table([failed, slow, fast])
    assert [line.split()[0] for line in lines] == ["WAY", "star", "pdcp", "sbcast"]
    assert lines[3].split()[3:5] == ["-", "-"]
    assert "0 of 2" in lines[3]


def test_a_row_of_a_busy_machine_is_said_to_be_one() -> None:
    one = make_row("star", NODES, 1000, 1, [measured(4, dict.fromkeys(NODES, 0.1))])
    assert find_busy([one, replace(one, cpu=0.9)]) == [replace(one, cpu=0.9)]


def test_the_report_is_what_programs_expect(tmp_path: Path) -> None:
    report = Report(link_mbit=100, bytes=1000)
    report.rows.append(make_row("star", NODES, 1000, 100, [measured(1, dict.fromkeys(NODES, 0.1))]))
    report.leave_out("relay", 2, "no time left")
    report.write(tmp_path / "reports" / "x.json")
    read: dict[str, Any] = json.loads((tmp_path / "reports" / "x.json").read_text())
    assert {"link_mbit", "bytes", "rows", "fault", "delta", "noop", "rollback", "verify", "not_run"} == set(read)
    assert {"engine", "nodes", "seconds", "ratio", "controller_ratio", "verified"} <= set(read["rows"][0])
    assert read["not_run"] == [{"engine": "relay", "nodes": 2, "why": "no time left"}]


@pytest.mark.parametrize(("nodes", "mbit"), [(4, 100), (16, 100), (32, 50), (64, 25), (4000, 1)])
def test_links_are_slower_where_two_cores_would_be_the_limit(nodes: int, mbit: int) -> None:
    assert plan.link_for(nodes, cores=2) == mbit


def test_the_quick_run_has_time_for_every_row() -> None:
    arguments = plan.parse(["--quick"])
    left = arguments.deadline - time.monotonic() - 180  # the lab, and what is no row
    assert left > sum(step.expected for step in plan.plan(arguments)) > 0


def test_the_quickest_comes_first_so_that_time_runs_out_on_the_slowest() -> None:
    steps = plan.plan(plan.parse(["--nodes", "4,32", "--size", "64"]))
    assert len(steps) == 2 * (len(ways.OWN) + len(ways.FOREIGN))
    assert [step.expected for step in steps] == sorted(step.expected for step in steps)
    assert steps[-1].nodes == 32
    assert steps[-1].expected > 32 * floor(64 << 20, 100)


def test_a_part_of_it_can_be_asked_for() -> None:
    assert {step.way.name for step in plan.plan(plan.parse(["--quick", "--only", "sbcast"]))} == {
        "sbcast",
        "sbcast -F2",
    }
    assert plan.parse(["--quick"]).nodes == [4, 8]
    with pytest.raises(SystemExit):
        plan.parse(["--only", "nothing"])


def test_the_others_are_asked_in_their_own_words() -> None:
    copy = ways.Copy("/a", "/b", ("c001", "c002"))
    commands = {way.name: way.argv(copy) for way in ways.FOREIGN if way.argv}
    assert commands["clush --copy"] == ["clush", "-f", "64", "-w", "c[001-002]", "--copy", "/a", "--dest", "/b"]
    assert commands["sbcast -F2"][-5:] == ["sbcast", "--force", "--fanout=2", "/a", "/b"]
    assert all(argv[3:] == ["sh", "/a", "/b", "c001", "c002"] for name, argv in commands.items() if "rsync" in name)


def test_the_controllers_bytes_are_its_links() -> None:
    text = "Inter-|   Receive\n face |bytes\n    lo: 5 1 0 0 0 0 0 0 5 1\n  eth0: 70 1 0 0 0 0 0 0 90 1 0 0\n"
    assert testbed.counters(text) == (70, 90)


def test_nodes_are_found_in_lines_of_failure_only() -> None:
    output = "✓ c001: synced\n✗ c003: no answer\nerror: c[005,007-008]: failed\nc009: hm\n"
    assert find_named(output) == {"c003", "c005", "c007", "c008"}
    assert find_named("✓ x: c[001-002]\n") == set()


def test_the_last_of_the_others_counts() -> None:
    assert last_of({"c001": 1.0, "c002": 2.123, "c003": 9.0}, ("c001", "c002")) == 2.12
    assert last_of({"c001": 1.0}, ("c001", "c002")) is None


@pytest.mark.parametrize("size", [images.MIB, 3 * images.MIB + 5])
def test_the_image_is_a_sound_sif_of_exactly_that_size_and_new_each_time(tmp_path: Path, size: int) -> None:
    path = tmp_path / "x.sif"
    first = images.write_incompressible(path, size)
    assert sif.check(path).size == first.size == size == path.stat().st_size
    assert first.digest == hashlib.sha256(path.read_bytes()).hexdigest()
    assert first.path == "/opt/containers/ml-frameworks/x.sif"
    assert images.write_incompressible(path, size).digest != first.digest


def test_a_change_of_the_tree_is_as_big_as_it_says_and_another_in_each_run(tmp_path: Path) -> None:
    bed = cast(Testbed, FakeBed(tmp_path))
    images.make_tree(bed, 8 * images.FILE)

    def contents() -> dict[str, bytes]:
        return {path.name: path.read_bytes() for path in tmp_path.rglob("file*")}

    before = contents()
    assert sum(map(len, before.values())) == 8 * images.FILE
    assert images.change_tree(bed, 2 * images.FILE + 1) == 2 * images.FILE
    once = contents()
    assert sum(once[name] != before[name] for name in before) == 2
    images.make_tree(bed, 8 * images.FILE)
    assert contents() == before
    images.change_tree(bed, 2 * images.FILE)
    assert sum(contents()[name] != once[name] for name in once) == 2
