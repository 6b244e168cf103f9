"""The simulation's arithmetic, at numbers that can be counted by hand, and its comparison with what was measured."""

from __future__ import annotations

from typing import Any

import pytest

from bench import simulate
from bench.report import floor
from bench.simulate import Site

# A link that carries the image in exactly one second, and nothing beside the transfer.
BARE: dict[str, Any] = {"start": 0.0, "login": 0.0, "hop": 0.0, "hash_rate": float("inf"), "copy_rate": 1000.0}
SITE = Site(size=1000, link_mbit=1000, swarm_piece=10, swarm_use=0.5, **BARE)


@pytest.fixture(autouse=True)
def hundredths(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(simulate, "piece_size", lambda total: total // 100)


@pytest.mark.parametrize(
    ("way", "nodes", "seconds"),
    [
        ("star", 8, 8),
        ("sbcast -F2", 1, 1),
        ("sbcast -F2", 2, 2),
        ("sbcast -F2", 4, 3),  # to two heads, then each to its one
        ("sbcast -F2", 8, 5),
        ("sbcast -F2", 16, 7),
        ("doubling", 1, 1),
        ("doubling", 7, 3),
        ("doubling", 8, 4),
        ("relay", 1, 1),
        ("relay", 11, 1.1),  # ten hops of a piece of one hundredth
        ("swarm", 3, 2.02),
    ],
)
def test_without_anything_beside_the_transfer(way: str, nodes: int, seconds: float) -> None:
    assert simulate.WAYS[way](SITE, nodes).seconds == pytest.approx(seconds)


def test_what_is_beside_the_transfer_is_added_once_for_each_node() -> None:
    site = Site(size=1000, link_mbit=1000, **{**BARE, "start": 5, "login": 0.1, "hash_rate": 500.0}, cores=2)
    assert site.around(10, logins=3) == pytest.approx(5 + 10 * 3 * 0.1 / 2 + 2)


def test_a_link_carries_payload_and_headers() -> None:
    site = Site(size=1_000_000, link_mbit=8)
    assert site.rate == pytest.approx(956_000)
    assert site.copy > floor(site.size, site.link_mbit)


def test_more_chains_are_taken_only_where_they_are_faster() -> None:
    assert simulate.relay_at_best(SITE, 10) == simulate.relay(SITE, 10)
    many = simulate.relay_at_best(SITE, 10_000)
    assert many.copies == 10  # k + 10000 / 100 k is least there
    assert many.seconds == pytest.approx(10 + 9.99)


@pytest.mark.parametrize("way", simulate.WAYS)
def test_dead_nodes_make_nothing_faster(way: str) -> None:
    alive = simulate.CLUSTER
    dead = Site(**{**vars_of(alive), "dead": 0.01})
    for nodes in (32, 1000, 10_000):
        assert simulate.WAYS[way](dead, nodes).seconds >= simulate.WAYS[way](alive, nodes).seconds


def vars_of(site: Site) -> dict[str, Any]:
    return {name: getattr(site, name) for name in site.__dataclass_fields__}


def test_a_death_on_the_way_stops_a_relay_until_it_is_bridged() -> None:
    dead = Site(**{**vars_of(SITE), "dead": 0.1, "bridge": 3.0})
    assert simulate.relay(dead, 20).seconds == pytest.approx(simulate.relay(SITE, 20).seconds + 2 * 3)


def test_the_error_is_computed_over_measured() -> None:
    measured = {"engine": "star", "nodes": 4, "link_mbit": 8, "ratio": 8.0}
    rows = [measured, {**measured, "engine": "pdcp"}, {**measured, "ratio": None}]
    heading, *found = simulate.check({"bytes": 100_000_000, "rows": rows})
    assert heading[-1] == "ERROR"
    site = Site(size=100_000_000, link_mbit=8)
    ratio = (4 * site.copy + site.around(4, logins=2)) / 100
    assert found == [["star", "4", "8.00", f"{ratio:.2f}", f"{ratio / 8 - 1:+.0%}"]]


def test_a_prediction_names_every_way_at_every_size() -> None:
    heading, *rows = simulate.predict(simulate.CLUSTER, (1_000, 10_000))
    assert heading[1:3] == ["1,000 NODES", "10,000 NODES"]
    assert [row[0] for row in rows] == list(simulate.WAYS)
