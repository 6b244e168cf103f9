"""Slurm's states of nodes: which of them it does not count on."""

from __future__ import annotations

import pytest

from pytest_hpcregistry.core.machine import SlurmFacts
from pytest_hpcregistry.core.slurm_states import describe, is_usable, out_of_service


@pytest.mark.parametrize(
    ("state", "words"),
    [
        ("drained", "drained"),
        ("drained*", "drained, not responding"),
        ("draining@", "draining, about to reboot"),
        ("DRAINED$", "drained, reserved for maintenance"),
        ("IDLE+DRAIN", "drained"),
        ("DOWN+DRAIN+NOT_RESPONDING", "down, drained, not responding"),
        ("IDLE+CLOUD+POWERED_DOWN", "powered down"),
        ("idle~", "powered down"),
        ("idle#", "powering up"),
        ("idle%", "powering down"),
        ("mixed!", "about to be powered down"),
        ("allocated*", "not responding"),
        ("down", "down"),
        ("fail", "expected to fail"),
        ("reboot^", "rebooting"),
        ("powering_down*", "powering down, not responding"),
        ("maint", "reserved for maintenance"),
        ("IDLE+MAINTENANCE+RESERVED", "reserved for maintenance"),
        ("future", "of the future"),
    ],
)
def test_out_of_service(state: str, words: str) -> None:
    assert describe(state) == words
    assert not is_usable(state)


@pytest.mark.parametrize(
    "state", ["idle", "mixed", "MIXED-", "allocated+", "completing", "planned", "reserved", "idle-", "IDLE+CLOUD"]
)
def test_in_service(state: str) -> None:
    assert describe(state) == ""
    assert is_usable(state)


@pytest.mark.parametrize(
    "state", ["unknown", "inval", "error", "perfctrs", "blocked", "something_new", "", "+", "\x1b[31m"]
)
def test_what_slurm_does_not_explain_so_is_neither(state: str) -> None:
    """A failure of such a node stays one, and what Slurm says of it is a finding."""
    assert describe(state) == ""
    assert not is_usable(state)


def test_the_reason_stands_behind_the_state() -> None:
    view = SlurmFacts(
        nodes={"c1": "drained", "c2": "idle", "c3": "down*"}, reasons={"c1": '"disk swap" (root)', "c2": '"old"'}
    )
    assert out_of_service(view) == {"c1": 'drained "disk swap" (root)', "c3": "down, not responding"}


@pytest.mark.parametrize("view", [None, SlurmFacts(error="no slurmctld")])
def test_without_slurm_nothing_is_excused(view: SlurmFacts | None) -> None:
    assert out_of_service(view) == {}
