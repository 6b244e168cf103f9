"""Which address of a node set belongs to which node: a mistake would send one node's images to another."""

from __future__ import annotations

import pytest

from pytest_hpcregistry.core.routes import NodeRoute, addresses, configured


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("10.0.0.2,10.0.0.1", ["10.0.0.2", "10.0.0.1"]),
        ("10.0.0.[4,1]", ["10.0.0.4", "10.0.0.1"]),
        ("10.0.0.[8-10]", ["10.0.0.8", "10.0.0.9", "10.0.0.10"]),
        ("fd00::5,fd00::1", ["fd00::5", "fd00::1"]),
        ("fd00::[3,1-2]", ["fd00::3", "fd00::1", "fd00::2"]),
        ("fd00::1", ["fd00::1"]),
        ("n[12,2-3]-ib,front", ["n12-ib", "n2-ib", "n3-ib", "front"]),
    ],
)
def test_addresses_have_the_order_in_which_they_are_written(text: str, meant: list[str]) -> None:
    assert addresses(text) == meant


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("10.0.0.[008-012]", "must not begin with 0"),
        ("10.0.0.1,,10.0.0.2", "comma too many"),
        ("@ib", "must not use groups"),
        ("n[1-4]!n2", "must not use groups"),
        ("[fd00::1]", "is not a node set"),
        ("n[1-999999999]", "means more than"),
    ],
)
def test_what_has_no_clear_order_or_meaning_is_refused(text: str, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        addresses(text)


def test_nodes_have_the_order_in_which_they_are_written() -> None:
    routes = (
        NodeRoute(nodes="c[002,001]", address="10.0.0.2,10.0.0.1"),
        NodeRoute(nodes="d[1-3]!d2", address="e[1,3]"),
    )
    assert {node: route.address for node, route in configured(routes).items()} == {
        "c002": "10.0.0.2",
        "c001": "10.0.0.1",
        "d1": "e1",
        "d3": "e3",
    }
