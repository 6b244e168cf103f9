"""How the walk of `make sites` judges a step, and what it writes down: nothing is green that was not done."""

from __future__ import annotations

from pathlib import Path

import pytest

from pytest_hpcregistry.lab import site
from pytest_hpcregistry.transports import CommandResult
from tests.lab.test_site_of_the_day import of_the_day
from tests.sites import walk
from tests.sites.matrix import page, table, verdicts
from tests.sites.walk import FAILED, LEFT_OUT, NO, YES, Done, Step

SETUP = Step("setup", ("registry", "setup"), unless="changed: [")


def answer(exit_code: int, stderr: str = "", stdout: str = "") -> CommandResult:
    return CommandResult(where="here", argv=(), exit_code=exit_code, stdout=stdout, stderr=stderr, seconds=1.0)


@pytest.mark.parametrize(
    ("result", "limit", "verdict"),
    [
        (answer(0), "", YES),
        (answer(1, "Error: no"), "", FAILED),
        (answer(0, stdout="changed: [c001]"), "", FAILED),
        (answer(3, "Error: a node is off"), "node is off", NO),
        (answer(3, "Error: something else"), "node is off", FAILED),
        (answer(0, "node is off"), "node is off", FAILED),  # it works now: the site's file is wrong
        (answer(1, "Traceback (most recent call last)\nnode is off"), "node is off", FAILED),
    ],
)
def test_a_step_is_judged_by_its_exit_code_and_its_words(result: CommandResult, limit: str, verdict: str) -> None:
    assert walk.judge(SETUP, result, limit).verdict == verdict


def fake_walk(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, setup: CommandResult, limit: str = "", refused: str = ""
) -> list[Done]:
    cluster = tmp_path / "cluster.yaml"
    cluster.write_text("controller: {host: a}\nregistry: {directories: [apps]}\n")
    monkeypatch.setattr(walk, "command_line", lambda *_: lambda *words: setup if words[0] == "registry" else answer(0))
    limits = {"setup": limit} if limit else {}
    return walk.walk(cluster, limits, tmp_path / "real.sif", tmp_path, lambda _: None, refused=refused)


def test_nothing_is_tried_after_a_setup_that_refuses(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    done = fake_walk(monkeypatch, tmp_path, answer(2, "Error: not here"), refused="not here")
    assert [one.verdict for one in done] == [NO, *[LEFT_OUT] * (len(done) - 1)]


def test_a_setup_that_leaves_a_node_out_is_no_end(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    done = fake_walk(monkeypatch, tmp_path, answer(3, "Error: c001: no answer in time"), "no answer in time")
    assert verdicts(done)["deploy"] == YES
    assert verdicts(done)["setup"] == NO


def test_the_page_has_every_site_and_every_reason() -> None:
    walked = {
        "ports": [Done("setup", YES), Done("update", YES), Done("update", FAILED, "exit 4")],
        "tty": [Done("setup", NO, "must have a tty"), Done("update", LEFT_OUT), Done("update", LEFT_OUT)],
        "full": [],
    }
    rows = [["site", "setup", "update"], ["ports", YES, FAILED], ["tty", NO, LEFT_OUT], ["full", "?", "?"]]
    assert table(walked) == rows
    text = page(walked, {name: site.load(name) for name in walked})
    assert "| ports | yes | FAILED |\n| tty | no | - |\n" in text
    assert "- **update**: FAILED: `exit 4`" in text
    assert "- **setup**: no: `must have a tty`" in text
    assert site.load("tty").about in text


def test_each_site_that_passes_has_its_day() -> None:
    names = site.names()
    assert {of_the_day(names, day) for day in range(len(names))} == set(names) - {site.DEMO}
