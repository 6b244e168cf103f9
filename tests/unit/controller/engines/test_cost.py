"""auto: few nodes or few bytes get them by star, many by relay, and what was asked for is done."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from pytest_hpcregistry.controller.engines.cost import ASSUMED_LINK, Load, choose, link_rate

GIGABYTE = 10**9
GIGABIT = 125e6  # bytes/s


def load(nodes: int, size: int, with_base: int = 0) -> Load:
    names = [f"c{number:03d}" for number in range(1, nodes + 1)]
    return Load(dict.fromkeys(names, size), dict.fromkeys(names, with_base))


@pytest.mark.parametrize(
    ("wanted", "engine"),
    [
        (load(1, GIGABYTE), "star"),
        (load(2, GIGABYTE), "relay"),
        (load(32, GIGABYTE), "relay"),
        (load(32, 1_000_000), "star"),
        (load(8, GIGABYTE, with_base=GIGABYTE), "relay"),
        (load(2, 100_000_000, with_base=100_000_000), "star"),
        (load(8, 0), "star"),
    ],
)
def test_auto_takes_the_quicker_one(wanted: Load, engine: str) -> None:
    assert choose("auto", wanted, link=GIGABIT, cores=2)[0] == engine


@pytest.mark.parametrize(
    ("wanted", "how", "why"),
    [
        (
            load(4, 10**8),
            {"link": 1e8},
            "100 MB to 4 nodes, about 2.7 s at 800 Mbit/s (star: 4.0 s)",
        ),
        (
            load(4, 10**8, with_base=6 * 10**7),
            {"link": 1e6, "cores": 2},
            "100 MB to 4 nodes, about 121.5 s at 8 Mbit/s (star: 185.0 s by differences)",
        ),
        (
            load(4, 10**9, with_base=9 * 10**8),
            {"link": 1e9, "cores": 3},
            "1.0 GB to 4 nodes, about 2.7 s at 8 Gbit/s (star: 10.8 s by differences)",
        ),
        (
            load(2, 10**8),
            {"link": 1e8, "limit_rate": 1000},
            "100 MB to 2 nodes, about 120001.5 s at 0 Mbit/s (star: 200000.0 s)",
        ),
        (
            load(2, 10**8),
            {"link": 1e6, "limit_rate": 10**9},
            "100 MB to 2 nodes, about 121.5 s at 8 Mbit/s (star: 200.0 s)",
        ),
        (
            load(1, 10**14),
            {"link": 1e10},
            "100 TB to 1 node, about 10000.0 s at 80 Gbit/s (relay: 12001.5 s)",
        ),
    ],
)
def test_the_reckoning(wanted: Load, how: dict[str, Any], why: str) -> None:
    assert choose("auto", wanted, **{"cores": 1, **how})[1] == why


def test_nodes_that_lack_nothing_are_not_counted() -> None:
    some = Load({"c1": 10**9, "c2": 0, "c3": 0}, {"c1": 0, "c2": 0, "c3": 0})
    name, why = choose("auto", some, link=GIGABIT, cores=1)
    assert name == "star"
    assert why == "1.0 GB to 1 node, about 8.0 s at 1 Gbit/s (relay: 11.1 s)"
    assert choose("auto", load(8, 0), link=GIGABIT, cores=1) == ("star", "nothing is to be moved")


def test_where_both_take_as_long_it_is_star() -> None:
    """2 x 1.875 s, and 1.5 + 1.2 x 1.875 s."""
    assert choose("auto", load(2, 1875), link=1000, cores=1)[0] == "star"
    assert choose("auto", load(2, 1876), link=1000, cores=1)[0] == "relay"


def test_a_limit_makes_the_link_slower() -> None:
    few = load(4, 20_000_000)
    assert choose("auto", few, link=GIGABIT, cores=2)[0] == "star"
    assert choose("auto", few, link=GIGABIT, cores=2, limit_rate=1_000_000)[0] == "relay"


def test_it_says_why() -> None:
    why = choose("auto", load(32, GIGABYTE), link=GIGABIT, cores=2)[1]
    assert why == "1.0 GB to 32 nodes, about 11.1 s at 1 Gbit/s (star: 256.0 s)"
    assert choose("star", load(32, GIGABYTE), link=GIGABIT, cores=2) == ("star", "as asked for")


def test_the_link_is_as_fast_as_the_kernel_says(tmp_path: Path) -> None:
    assert link_rate(tmp_path) == ASSUMED_LINK == 125e6
    for name, speed in (("lo", ""), ("veth", "-1"), ("eth0", "10000"), ("eth1", "1000")):
        (tmp_path / name).mkdir()
        (tmp_path / name / "speed").write_text(speed)
        assert link_rate(tmp_path) == (ASSUMED_LINK if name in ("lo", "veth") else 1.25e9)


def test_a_slow_link_is_a_link(tmp_path: Path) -> None:
    (tmp_path / "eth0").mkdir()
    for speed, rate in (("0", ASSUMED_LINK), ("1", 125_000)):
        (tmp_path / "eth0/speed").write_text(speed)
        assert link_rate(tmp_path) == rate
