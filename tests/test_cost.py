"""auto: few nodes or few bytes get them by star, many by relay, and what was asked for is done."""

from __future__ import annotations

from pathlib import Path

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


def test_a_limit_makes_the_link_slower() -> None:
    few = load(4, 20_000_000)
    assert choose("auto", few, link=GIGABIT, cores=2)[0] == "star"
    assert choose("auto", few, link=GIGABIT, cores=2, limit_rate=1_000_000)[0] == "relay"


def test_it_says_why() -> None:
    why = choose("auto", load(32, GIGABYTE), link=GIGABIT, cores=2)[1]
    assert why == "1000.0 MB to c[001-032] over 1000 Mbit/s would take about 256.0 s by star, 11.1 s by relay"
    assert choose("star", load(32, GIGABYTE), link=GIGABIT, cores=2) == ("star", "as asked for")


def test_the_link_is_as_fast_as_the_kernel_says(tmp_path: Path) -> None:
    assert link_rate(tmp_path) == ASSUMED_LINK
    for name, speed in (("lo", ""), ("veth", "-1"), ("eth0", "10000"), ("eth1", "1000")):
        (tmp_path / name).mkdir()
        (tmp_path / name / "speed").write_text(speed)
    assert link_rate(tmp_path) == 1.25e9
