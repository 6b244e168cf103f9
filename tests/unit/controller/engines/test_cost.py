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
            "100.0 MB to c[001-004] over 800 Mbit/s would take about 4.0 s by star, 2.7 s by relay",
        ),
        (
            load(4, 10**8, with_base=6 * 10**7),
            {"link": 1e6, "cores": 2},
            (
                "100.0 MB to c[001-004] over 8 Mbit/s "
                "would take about 185.0 s by star (differences only), 121.5 s by relay"
            ),
        ),
        (
            load(4, 10**9, with_base=9 * 10**8),
            {"link": 1e9, "cores": 3},
            (
                "1000.0 MB to c[001-004] over 8000 Mbit/s "
                "would take about 10.8 s by star (differences only), 2.7 s by relay"
            ),
        ),
        (
            load(2, 10**8),
            {"link": 1e8, "limit_rate": 1000},
            "100.0 MB to c[001-002] over 0 Mbit/s would take about 200000.0 s by star, 120001.5 s by relay",
        ),
        (
            load(2, 10**8),
            {"link": 1e6, "limit_rate": 10**9},
            "100.0 MB to c[001-002] over 8 Mbit/s would take about 200.0 s by star, 121.5 s by relay",
        ),
        (
            load(1, 10**14),
            {"link": 1e10},
            "100000000.0 MB to c001 over 80000 Mbit/s would take about 10000.0 s by star, 12001.5 s by relay",
        ),
    ],
)
def test_the_reckoning(wanted: Load, how: dict[str, Any], why: str) -> None:
    assert choose("auto", wanted, **{"cores": 1, **how})[1] == why


def test_nodes_that_lack_nothing_are_not_counted() -> None:
    some = Load({"c1": 10**9, "c2": 0, "c3": 0}, {"c1": 0, "c2": 0, "c3": 0})
    name, why = choose("auto", some, link=GIGABIT, cores=1)
    assert name == "star"
    assert why == "1000.0 MB to c1 over 1000 Mbit/s would take about 8.0 s by star, 11.1 s by relay"
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
    assert why == "1000.0 MB to c[001-032] over 1000 Mbit/s would take about 256.0 s by star, 11.1 s by relay"
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
