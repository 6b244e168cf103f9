"""Node sets: what people write, and what they read."""

from __future__ import annotations

import pytest

from pytest_hpcregistry.core import nodeset
from pytest_hpcregistry.core.errors import UsageError
from pytest_hpcregistry.core.nodeset import expand, fold


def test_expand_keeps_the_zeros() -> None:
    assert expand("c[008-010],login") == ["c008", "c009", "c010", "login"]


def test_expand_of_nothing_is_nothing() -> None:
    assert expand("") == []


@pytest.mark.parametrize("text", ["c[1-", "c[3-1]", "c[01-1]", "c[a]"])
def test_what_is_no_node_set_is_said_with_an_example(text: str) -> None:
    with pytest.raises(UsageError, match="is not a node set") as caught:
        expand(text)
    assert "c[001-064]" in caught.value.hint


def test_a_group_is_not_looked_up_on_this_machine() -> None:
    assert expand("@all") == ["@all"]


def test_fold_is_the_way_back() -> None:
    names = [f"c{number:03}" for number in range(1, 1001) if number != 500]
    assert fold(names) == "c[001-499,501-1000]"
    assert sorted(expand(fold(names))) == sorted(names)


def test_fold_of_odd_lists() -> None:
    assert fold([]) == ""
    assert fold(["c1", "c1"]) == "c1"
    assert fold(["10.0.0.2", "10.0.0.1", "gpu"]) == "10.0.0.[1-2],gpu"


def test_names_with_the_same_key_are_one_node_set() -> None:
    reasons = {"c3": "no route", "c1": "frozen", "c2": "no route"}
    assert nodeset.fold_by(reasons, reasons.__getitem__) == {"no route": "c[2-3]", "frozen": "c1"}
    assert nodeset.group_by(reasons, len) == {2: ["c3", "c1", "c2"]}
