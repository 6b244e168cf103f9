"""Forms of what comes from another machine: the last value that is taken, and the first that is not."""

from __future__ import annotations

import json
from typing import Any

import pytest

from pytest_hpcregistry.agent import forms
from pytest_hpcregistry.agent.forms import Form, Misshapen

LONG = "9" * forms.MOST_DIGITS
YES = forms.number(1, 1)


def taken(form: Form, *values: Any) -> list[tuple[Form, Any]]:
    return [(form, value) for value in values]


def refused(form: Form, says: str, *values: Any) -> list[tuple[Form, Any, str]]:
    return [(form, value, f"it {says}") for value in values]


TAKEN = [
    *taken(forms.number(-2, 3), -2, 0, 3),
    *taken(forms.seconds, 0, 0.5, -0.5, 1 << 40, -(1 << 40), float(1 << 40)),
    *taken(forms.text("a|bc"), "a", "bc"),
    *taken(forms.anything(3), "", "\x1b\n\0", "é漢\udcff"),
    *taken(forms.prose(3), "", "a\n\t", "é漢x"),
    *taken(forms.flag, True, False),
    *taken(forms.maybe(YES), None, 1),
    *taken(forms.items(YES, 2), [], [1], [1, 1]),
    *taken(forms.mapping("a|bc", YES, 2), {}, {"a": 1}, {"a": 1, "bc": 1}),
    *taken(forms.record({"a": YES}), {"a": 1}, {"a": 1, "more": "x"}),
    *taken(forms.record({}, {"b": YES}), {}, {"b": 1}, {"more": "x"}),
]
BEYOND = ((1 << 40) + 1, -(1 << 40) - 1, float("nan"), float("inf"))
REFUSED = [
    *refused(forms.number(-2, 3), "is not a whole number from -2 to 3", -3, 4, True, 1.0, "1", None),
    *refused(forms.seconds, "is not a time", *BEYOND, True, "1", None, []),
    *refused(forms.text("a|bc"), "is not in its form", "", "ab", "ac", "a\n", "xa", "bcc", 1, None),
    *refused(forms.anything(3), "is not a text of at most 3 characters", "abcd", 1, None, ["a"]),
    *refused(forms.prose(3), "is not a text of at most 3 characters", "abcd", 1, None),
    *refused(forms.prose(3), "holds control characters", "\x1b", "\r", "\0", "\u202e", "a\udcff"),
    *refused(forms.flag, "is neither true nor false", 0, 1, None, "true"),
    *refused(forms.maybe(YES), "is not a whole number from 1 to 1", 0, "", False),
    *refused(forms.items(YES, 2), "is not a list of at most 2", [1, 1, 1], (1,), {}, "1", None),
    *refused(
        forms.mapping("a|bc", YES, 2), "is not an object of at most 2 keys", {"a": 1, "bc": 1, "c": 1}, [], "a", None
    ),
    *refused(forms.record({"a": YES}), "is not an object", [], "a", None, [["a", 1]]),
    *refused(forms.record({"a": YES}), "lacks a", {}, {"b": 1}),
]
INSIDE: list[tuple[Form, Any, str]] = [
    (forms.items(YES, 2), [1, 0], "an item of it is not a whole number from 1 to 1"),
    (forms.mapping("a|bc", YES, 2), {"b": 1}, "a key of it is not in its form"),
    (forms.mapping("a|bc", YES, 2), {"a": 0}, "a value of it is not a whole number from 1 to 1"),
    (forms.record({"a": YES, "b": YES}), {"a": 1, "b": 0}, "b is not a whole number from 1 to 1"),
    (forms.record({"a": YES}, {"b": YES}), {"a": 1, "b": None}, "b is not a whole number from 1 to 1"),
    (forms.record({"a": YES}, {"b": YES, "c": YES}), {"a": 1, "c": 0}, "c is not a whole number from 1 to 1"),
]


@pytest.mark.parametrize(("form", "value"), TAKEN)
def test_what_a_form_takes(form: Form, value: Any) -> None:
    form(value, "it")


@pytest.mark.parametrize(("form", "value", "says"), [*REFUSED, *INSIDE])
def test_what_a_form_refuses(form: Form, value: Any, says: str) -> None:
    with pytest.raises(Misshapen) as caught:
        form(value, "it")
    assert str(caught.value) == says


def test_json_is_read_as_it_is() -> None:
    said = {"a": [1, -1, 1.5, "x", None, True, {"b": {}}], "most": int(LONG)}
    assert forms.read_json(json.dumps(said)) == said


@pytest.mark.parametrize("text", [LONG + "9", f'{{"a": [{LONG}9]}}'])
def test_a_number_of_very_many_digits_is_not_read(text: str) -> None:
    with pytest.raises(ValueError, match="a number without end"):
        forms.read_json(text)


def test_a_number_may_have_a_thousand_digits() -> None:
    assert forms.MOST_DIGITS == 1000
