"""How many nodes must be well: `--require`, and at least one."""

from __future__ import annotations

import pytest

from pytest_hpcregistry.core.coverage import read_required, shortfall
from pytest_hpcregistry.core.errors import Unreachable

TWENTY = [f"c{number:03}" for number in range(1, 21)]


@pytest.mark.parametrize(
    ("text", "nodes", "required"),
    [
        ("95%", 20, 19), ("95%", 21, 20), ("100%", 7, 7), ("0.1%", 1000, 1), ("0.1%", 1001, 2), (" 60 ", 100, 60),
        ("60", 10, 60), ("33.3333%", 3, 1), ("66.7%", 3, 3), ("1", 1, 1),
    ],
)  # fmt: skip
def test_so_many_are_required(text: str, nodes: int, required: int) -> None:
    assert read_required(text).of(nodes) == required


@pytest.mark.parametrize("text", ["", "0", "0%", "101%", "-1", "60.5", "95 %", "95%%", "all", "1e3", "%", "1" * 9, "٣"])
def test_what_requires_nothing_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="such as 95%"):
        read_required(text)


def test_fewer_than_required_is_one_line_with_both_numbers() -> None:
    assert shortfall(read_required("95%"), TWENTY, TWENTY[1:], {"c001": "drained"}) == []
    (error,) = shortfall(read_required("95%"), TWENTY, TWENTY[2:], {"c001": "drained"})
    assert isinstance(error, Unreachable)
    assert str(error) == "19 of 20 nodes (95%) are required, 18 were asked and are well: not c[001-002]"
    (error,) = shortfall(read_required("60"), TWENTY, TWENTY, {})
    assert str(error) == "60 of 20 nodes are required, 20 were asked and are well"


def test_without_a_node_that_counts_nothing_is_proven() -> None:
    away = {"c1": 'drained "disk\x1b swap"', "c2": "down"}
    for required in (None, read_required("1")):
        (error,) = shortfall(required, ["c1", "c2"], [], away)
        assert error.exit_code == 3
        assert str(error).splitlines() == [
            "no node could be asked",
            'not counted: c1 drained "disk\\x1b swap"',
            "not counted: c2 down",
        ]
    assert shortfall(None, ["c1", "c2", "c3"], [], away) == []
    assert shortfall(None, [], [], {}) == []
