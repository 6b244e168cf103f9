"""status: what is waived is shown, and fails nothing; what is open decides."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from pytest_hpcregistry import cli
from pytest_hpcregistry.cluster import client
from pytest_hpcregistry.cluster.client import ControllerClient
from pytest_hpcregistry.core.errors import HpcRegistryError
from pytest_hpcregistry.core.machine import MachineFacts
from pytest_hpcregistry.core.waivers import today
from pytest_hpcregistry.testing.facts import NAME, OTHER, gathered, image, machine

LATER = today() + timedelta(days=30)
WAIVED = f"waived until {LATER.isoformat()} by alice: disk swap"
GOOD = machine(image())


@pytest.fixture(autouse=True)
def place(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("HPC_CLUSTER", "TEST_CONTROLLER"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(client, "open_transport", lambda cluster: Closed())


class Closed:
    def close(self) -> None:
        pass


def waive(about: str, until: date = LATER) -> None:
    Path("c.yaml").write_text("controller: {host: hpc}\nwaivers: w.yaml\n")
    Path("w.yaml").write_text(f"- {{{about}, until: {until.isoformat()}, who: alice, reason: disk swap}}\n")


def run(monkeypatch: pytest.MonkeyPatch, nodes: Mapping[str, MachineFacts | str], *words: str) -> Result:
    monkeypatch.setattr(ControllerClient, "facts", lambda client, *what: gathered(nodes))
    return CliRunner().invoke(cli.commands, [*(words or ("status",)), "--cluster", "c.yaml"])


def code(result: Result) -> Any:
    return result.exception.exit_code if isinstance(result.exception, HpcRegistryError) else result.exit_code


def test_a_waived_state_is_shown_as_such(monkeypatch: pytest.MonkeyPatch) -> None:
    waive("nodes: c3, image: x.sif")
    result = run(monkeypatch, {"c1": GOOD, "c2": GOOD, "c3": machine()})
    assert result.stdout.splitlines() == [
        "IMAGE                CONTROLLER  NODES",
        f"{NAME}  present     present c[1-2], missing (waived) c3",
        f"c3: {NAME}: missing, should be present; {WAIVED}",
        "3 of 3 nodes answered",
    ]
    assert code(result) == 0


def test_what_is_open_decides(monkeypatch: pytest.MonkeyPatch) -> None:
    waive("nodes: c3")
    nodes = {"c1": GOOD, "c2": machine(image(digest=OTHER)), "c3": machine()}
    assert code(run(monkeypatch, nodes)) == 1
    assert code(run(monkeypatch, {"c1": GOOD, "c3": "no route"})) == 0
    assert code(run(monkeypatch, {"c1": GOOD, "c2": "no route", "c3": "no route"})) == 3
    waive("nodes: c3, check: images.modes")
    assert code(run(monkeypatch, {"c1": GOOD, "c3": machine(image(owner="alice"))})) == 0
    assert code(run(monkeypatch, {"c1": GOOD, "c3": machine()})) == 1


def test_an_expired_one_fails_and_says_whose_it_was(monkeypatch: pytest.MonkeyPatch) -> None:
    waive("nodes: c3", until=date(2026, 1, 1))
    result = run(monkeypatch, {"c1": GOOD, "c3": machine()})
    assert "missing c3" in result.stdout.splitlines()[1]
    assert result.stdout.splitlines()[2].endswith("; waiver of alice expired 2026-01-01: disk swap")
    assert code(result) == 1


@pytest.mark.parametrize("words", [("status",), ("verify",)])
@pytest.mark.parametrize("node", [machine(), "no route"])
def test_nothing_is_proven_where_all_is_waived(
    monkeypatch: pytest.MonkeyPatch, words: tuple[str], node: MachineFacts | str
) -> None:
    waive("nodes: 'c[1-2]'")
    result = run(monkeypatch, {"c1": node, "c2": node}, *words)
    assert "no node has an image as the catalog says: all that was found is waived" in str(result.exception)
    assert code(result) == 1


def test_programs_get_the_state_and_the_waiver(monkeypatch: pytest.MonkeyPatch) -> None:
    waive("nodes: c3")
    told = json.loads(run(monkeypatch, {"c1": GOOD, "c3": machine()}, "status", "--json").stdout)
    assert told["images"][NAME]["c3"] == "missing"
    assert [(one["id"], one["where"], one["waiver"]) for one in told["waived"]] == [("images.state", "c3", WAIVED)]
    assert told["findings"] == []


def test_verify_shows_it_too(monkeypatch: pytest.MonkeyPatch) -> None:
    waive("nodes: c3, check: images.state")
    rotten = machine(image(sha256=OTHER))
    result = run(monkeypatch, {"c1": GOOD, "c3": rotten}, "verify")
    first, second = result.stdout.splitlines()
    assert first == f"! {NAME}: same bytes on controller,c1, damaged (waived) c3"
    assert second.startswith(f"! c3: {NAME} damaged: ")
    assert second.endswith(f"; {WAIVED}")
    assert code(result) == 0
    result = run(monkeypatch, {"c1": rotten, "c3": rotten}, "verify")
    assert result.stdout.splitlines()[0].startswith("✗ ")
    assert (code(result), "c3" in str(result.exception)) == (1, False)


def test_a_broken_file_of_waivers_is_wrong_use(monkeypatch: pytest.MonkeyPatch) -> None:
    waive("node: c3")
    result = run(monkeypatch, {"c1": GOOD})
    assert "w.yaml:1: node: unknown key" in str(result.exception)
    assert code(result) == 2


def test_the_error_counts_what_differs_and_hints_only_at_what_mends_it(monkeypatch: pytest.MonkeyPatch) -> None:
    Path("c.yaml").write_text("controller: {host: hpc}\n")
    result = run(monkeypatch, {"c1": machine(image(), image(OTHER, None)), "c2": machine(), "c3": GOOD})
    assert code(result) == 1
    assert str(result.exception) == "1 image not in the catalog on c1, 1 image missing on c2"
    assert isinstance(result.exception, HpcRegistryError)
    assert result.exception.hint.splitlines() == [
        f"{OTHER} on c1: no sync removes it; deploy it to keep it, or remove it by hand",
        "hpc-container-manager sync",
    ]
