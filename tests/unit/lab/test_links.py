"""The limit of the lab's links: what tc is told, on which interfaces, and how the lab remembers it."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from pathlib import Path

import pytest

from pytest_hpcregistry import lab
from pytest_hpcregistry.core.errors import UsageError
from pytest_hpcregistry.lab import cluster, links, site, state
from pytest_hpcregistry.transports import CommandResult

DEMO = site.load(site.DEMO)
HERE = [{"ifindex": 7, "ifname": "veth4"}, {"ifindex": 9, "ifname": "veth6"}]
INSIDE = {"101": {"ifname": "eth0", "ifindex": 2, "link_index": 9}, "102": {"ifname": "eth0", "link_index": 7}}


def answer(stdout: str) -> CommandResult:
    return CommandResult(where="", argv=(), exit_code=0, stdout=stdout, stderr="", seconds=0.0)


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What tc is told, on a machine with two containers, whose first processes are 101 and 102."""
    calls: list[str] = []

    def run_process(where: str, argv: Sequence[str], *, timeout: float) -> CommandResult:
        if "tc" in argv:
            calls.append(" ".join(argv))
            return answer("")
        entered = next((word.removeprefix("--target=") for word in argv if word.startswith("--target=")), None)
        return answer(json.dumps([{"ifname": "lo"}, INSIDE[entered]] if entered else HERE))

    monkeypatch.setattr(links, "run_process", run_process)
    monkeypatch.setattr(links, "podman", lambda *_: answer("101\n102\n"))
    return calls


def test_both_ends_of_every_link_are_limited(told: list[str]) -> None:
    links.limit([*links.find(state.new("a", 1, DEMO)).values()], 100)
    bucket = "tbf rate 100mbit burst 250000b latency 50ms"
    assert sorted(told) == [
        f"nsenter --target=101 --net tc qdisc replace dev eth0 root {bucket}",
        f"nsenter --target=102 --net tc qdisc replace dev eth0 root {bucket}",
        f"tc qdisc replace dev veth4 root {bucket}",
        f"tc qdisc replace dev veth6 root {bucket}",
    ]


def test_every_machine_is_found_with_its_own_link(told: list[str]) -> None:
    found = links.find(state.new("a", 1, DEMO))
    assert found == {"hpc-controller": links.Link(101, "veth6"), "c001": links.Link(102, "veth4")}


def test_no_limit_is_no_bucket(told: list[str]) -> None:
    links.limit([links.Link(101, "veth6"), links.Link(102, "veth4")], 0)
    assert len(told) == 4
    assert not [call for call in told if "tbf" in call]


def test_a_slow_links_bucket_still_holds_what_the_kernel_sends_at_once() -> None:
    assert "65536b" in links.token_bucket(1)


@pytest.fixture
def running(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """A lab `a` that runs, without any container; the limits that its links were given."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    for name in ("require", "wait_until_ready", "links.require"):
        monkeypatch.setattr(f"pytest_hpcregistry.lab.cluster.{name}", lambda *_: None)
    monkeypatch.setattr(cluster, "is_running", lambda _: True)
    limits: list[int] = []
    monkeypatch.setattr(links, "find", lambda _: {})
    monkeypatch.setattr(links, "limit", lambda _, mbit: limits.append(mbit))
    state.state_directory("a").mkdir(parents=True)
    state.save(state.new("a", 1, DEMO))
    return limits


def up(link_mbit: int | None = None) -> tuple[lab.LabState, list[str]]:
    said: list[str] = []
    return lab.up("a", 1, on_step=lambda text, _: said.append(text), link_mbit=link_mbit), said


def test_a_limit_stays_until_another_is_given(running: list[int]) -> None:
    assert up()[0].link_mbit == 0
    assert running == []
    for given, expected in ((50, 50), (None, 50), (20, 20), (0, 0)):
        made, said = up(given)
        assert made.link_mbit == running[-1] == expected
        assert state.load("a") == made
        assert ("limited every link to" if expected else "lifted the limit") in said[-1]
    up()
    assert running == [50, 50, 20, 0]


@pytest.mark.parametrize("text", ['{"nodes": ["c001"]}', '{"nodes": ["c001"], "link_mbit": 0}'])
def test_a_record_without_a_limit_is_a_lab_without_one(running: list[int], text: str) -> None:
    (state.state_directory("a") / "lab.json").write_text(text)
    assert state.load("a") == state.new("a", 1, DEMO)


def test_a_machine_without_tc_is_told_before_anything_starts(
    running: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.undo()
    monkeypatch.setattr(cluster, "require", lambda: None)
    monkeypatch.setattr(shutil, "which", lambda name: None if name == "tc" else f"/usr/sbin/{name}")
    with pytest.raises(UsageError, match="tc") as caught:
        lab.up("links-test-never-started", 1, on_step=lambda *_: None, link_mbit=1)
    assert "iproute2" in caught.value.hint
