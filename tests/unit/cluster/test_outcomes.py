"""What became of many machines: one line for the same trouble, and one error with the gravest kind."""

from __future__ import annotations

import pytest

from pytest_hpcregistry.cluster.outcomes import raise_worst, sync_failures
from pytest_hpcregistry.core.errors import (
    CheckFailed,
    CommandFailed,
    CommandTimeout,
    ConfigError,
    HpcRegistryError,
    Unreachable,
    UsageError,
)
from pytest_hpcregistry.core.events import NodeFinished


def failed(message: str, state: str = "failed", hint: str = "") -> NodeFinished:
    return NodeFinished("c", "x", state, message=message, hint=hint)


def test_nodes_with_the_same_trouble_are_one_line() -> None:
    ends = {f"c{number:03}": failed("disk full", hint="make room") for number in range(1, 200)}
    ends |= {"c300": failed("no route", "unreachable"), "c400": NodeFinished("c400", "x", "synced")}
    found = sync_failures(ends)
    assert [(type(error), str(error)) for error in found] == [
        (CommandFailed, "c[001-199]: disk full"),
        (Unreachable, "c300: no route"),
    ]
    assert found[0].hint.splitlines()[0] == "make room"
    assert "sync" in found[0].hint.splitlines()[1]


@pytest.mark.parametrize(
    ("failures", "kind"),
    [
        ([Unreachable("a"), UsageError("b"), CheckFailed("c"), CommandFailed("d")], CommandFailed),
        ([Unreachable("a"), CommandTimeout("d")], CommandFailed),
        ([Unreachable("a"), HpcRegistryError("d")], CommandFailed),
        ([Unreachable("a"), UsageError("b"), CheckFailed("c")], CheckFailed),
        ([Unreachable("a"), ConfigError("b", ["m"])], UsageError),
        ([Unreachable("a")], Unreachable),
    ],
)
def test_the_gravest_kind_wins(failures: list[HpcRegistryError], kind: type[HpcRegistryError]) -> None:
    for order in (failures, failures[::-1]):
        with pytest.raises(HpcRegistryError) as caught:
            raise_worst(order)
        assert type(caught.value) is kind
        assert all(str(failure) in str(caught.value) for failure in failures)


def test_the_hint_is_the_gravest_ones() -> None:
    with pytest.raises(CheckFailed) as caught:
        raise_worst([Unreachable("a", hint="look at a"), CheckFailed("b"), CheckFailed("c", hint="look at c")])
    assert caught.value.hint == "look at c"
    with pytest.raises(CheckFailed) as caught:
        raise_worst([Unreachable("a", hint="look at a"), CheckFailed("b")])
    assert caught.value.hint == "look at a"


def test_each_thing_to_do_is_said_once() -> None:
    with pytest.raises(CheckFailed) as caught:
        raise_worst([CheckFailed("a", hint="x"), CheckFailed("b", hint="y"), CheckFailed("c", hint="x")])
    assert caught.value.hint == "x\ny"


def test_the_same_message_is_told_once() -> None:
    with pytest.raises(CheckFailed) as caught:
        raise_worst([CheckFailed("a"), CheckFailed("a")])
    assert str(caught.value) == "a"


def test_no_failure_raises_nothing() -> None:
    raise_worst([])
