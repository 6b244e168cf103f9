"""catalog remove and restore, and --dry-run of what changes nodes, as they are typed."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import pytest

from pytest_hpcregistry.cluster.client import ControllerClient
from pytest_hpcregistry.core.catalog import Catalog
from pytest_hpcregistry.core.events import ImagesRemoved, InUse, Listener, Looked, NodeFinished, Planned
from pytest_hpcregistry.testing.facts import entry
from pytest_hpcregistry.testing.sif import Sif
from tests.unit.cli.test_commands import raised, run

NAME, OTHER = "ml-frameworks/x.sif", "base-images/y.sif"
DIGEST = "a" * 64
UNTIL = "2026-12-09T10:00:00Z"
WHERE = ("--controller", "hpc")


class Answers:
    """In the place of a client's method: what it was asked, and what it reports and returns."""

    def __init__(self, *events: Any, **states: dict[str, Any]) -> None:
        self.events, self.asked = events, list[Any]()
        self.finished = {node: NodeFinished(node, "x", **end) for node, end in states.items()}

    def use(self, monkeypatch: pytest.MonkeyPatch, method: str) -> None:
        monkeypatch.setattr(ControllerClient, method, lambda client, *words, **how: self.answer(*words, **how))

    def answer(self, *words: Any, **how: Any) -> dict[str, NodeFinished]:
        listener: Listener = next(word for word in words if callable(word))
        for event in (*self.events, *self.finished.values()):
            listener(event)
        self.asked.append(([word for word in words if not callable(word)], how))
        return self.finished


def test_remove_says_what_is_done_who_uses_it_and_how_to_undo_it(monkeypatch: pytest.MonkeyPatch) -> None:
    used = InUse(NAME, ["c017"], "alice", "8812")
    gone = ImagesRemoved({NAME: DIGEST}, UNTIL, "me@x")
    answers = Answers(gone, used, c1={"state": "synced", "removed": [NAME]})
    answers.use(monkeypatch, "remove")
    assert run("catalog", "remove", *WHERE, "x.sif", OTHER, "--after", "30d").output.splitlines() == [
        f"✓ {NAME}: out of the catalog, and gone from the controller",
        f"  gc keeps the bytes until {UNTIL}; undo until then: hpc-container-manager catalog restore {NAME}",
        f"! {NAME}: job 8812 (alice) runs from it on c017; it keeps its bytes",
        f"✓ c1: {NAME} removed",
    ]
    assert answers.asked == [([[NAME, OTHER], 30 * 86400], {"dry_run": False, "no_wait": False})]
    assert run("catalog", "remove", *WHERE, "x.sif", "--after", "soon").exit_code == 2
    answers.finished["c1"] = NodeFinished("c1", "x", "unreachable", message="no route")
    assert raised(run("catalog", "remove", *WHERE, "x.sif")).exit_code == 3
    answers.finished.clear()
    assert raised(run("catalog", "remove", *WHERE, "x.sif")).exit_code == 4


def test_restore_takes_a_version(monkeypatch: pytest.MonkeyPatch) -> None:
    answers = Answers(c1={"state": "synced"})
    answers.use(monkeypatch, "restore")
    assert run("catalog", "restore", *WHERE, "x.sif", "--version", "abcdef").exit_code == 0
    assert answers.asked == [([NAME, "abcdef", {}], {"dry_run": False, "no_wait": False})]


@pytest.mark.parametrize(
    ("method", "words"),
    [
        ("sync", ["sync"]),
        ("rollback", ["rollback", "x.sif"]),
        ("remove", ["catalog", "remove", "x.sif"]),
        ("restore", ["catalog", "restore", "x.sif"]),
    ],
)
def test_a_dry_run_folds_nodes_and_says_that_nothing_was_changed(
    monkeypatch: pytest.MonkeyPatch, method: str, words: list[str]
) -> None:
    lacks = {"state": "planned", "objects": 1, "bytes": 10_000_000, "names": [NAME], "engine": "star"}
    planned: dict[str, dict[str, Any]] = {
        **dict.fromkeys(("c1", "c2"), lacks),
        "c3": {"state": "planned", "names": [NAME], "removed": [OTHER]},
        "c4": {"state": "planned"},
        "c5": {"state": "unchanged"},
    }
    answers = Answers(Planned("engine star for c[1-2]: why"), **planned)
    answers.use(monkeypatch, method)
    for option in ("-n", "--dry-run"):
        assert run(*words, *WHERE, option).output.splitlines() == [
            "  engine star for c[1-2]: why",
            f"  c[1-2]: would get {NAME} (10 MB by star)",
            f"  c3: would get {NAME} (its bytes are there); would lose the name {OTHER}",
            "  c4: would get the catalog",
            "✓ c5: nothing to send (names and sizes compared)",
            "  nothing was changed",
        ]
    assert all(how["dry_run"] for _, how in answers.asked)
    answers.finished["c1"] = NodeFinished("c1", "x", "failed", message="no room")
    assert raised(run(*words, *WHERE, "-n")).exit_code == 4


def test_the_list_shows_what_can_be_restored(monkeypatch: pytest.MonkeyPatch) -> None:
    full = Catalog({NAME: entry(), OTHER: entry()})
    gone = full.with_removed([NAME], now="2026-11-25T10:00:00Z", by="me@x\x1b[31m", until=UNTIL)
    monkeypatch.setattr(ControllerClient, "catalog", lambda client: gone)
    shown = run("catalog", "list", *WHERE).output.splitlines()
    assert [line.split()[0] for line in shown] == ["IMAGE", OTHER, "removed:"]
    assert shown[-1] == (f"removed: {NAME}, 2026-11-25T10:00:00Z by me@x\\x1b[31m; gc keeps the bytes until {UNTIL}")
    monkeypatch.setattr(ControllerClient, "catalog", lambda client: gone.trimmed(0, "2026-12-31T00:00:00Z"))
    assert "removed" not in run("catalog", "list", *WHERE).output


def test_a_dry_run_of_a_deploy_says_what_nodes_lack(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    data = Sif().to_bytes()
    Path("x.sif").write_bytes(data)
    monkeypatch.setattr(ControllerClient, "look", lambda client, digest, size: Looked(True, ["x86_64"]))
    answers = Answers(c1={"state": "planned", "names": [NAME]}, c2={"state": "unchanged"})
    answers.use(monkeypatch, "sync")
    assert run("deploy", "-n", *WHERE, "x.sif").output == f"would deploy x.sif as {NAME}, sending 0 B\n"
    assert answers.asked == []
    shown = run("deploy", "-s", "-n", "--repair", *WHERE, "x.sif").output.splitlines()
    assert shown[1] == f"  c1: would get {NAME} (its bytes are there)"
    assert shown[-1] == "  nothing was changed"
    ((options,), how) = answers.asked[0]
    assert not options.repair, "which would read and move files"
    digest = hashlib.sha256(data).hexdigest()
    assert how == {"names": [NAME], "dry_run": True, "assume": {NAME: {"digest": digest, "size": len(data)}}}


def test_who_looks_for_a_removed_image_is_told_so(monkeypatch: pytest.MonkeyPatch) -> None:
    gone = Catalog({NAME: entry()}).with_removed([NAME], now="2026-11-25T10:00:00Z", by="me@x", until=UNTIL)
    monkeypatch.setattr(ControllerClient, "catalog", lambda client: gone)
    failure = raised(run("catalog", "show", *WHERE, "x.sif"))
    assert str(failure) == f"{NAME} was removed at 2026-11-25T10:00:00Z by me@x"
    assert (failure.exit_code, failure.hint) == (2, f"hpc-container-manager catalog restore {NAME}")


def test_a_repair_has_no_dry_run() -> None:
    done = run("sync", *WHERE, "--repair", "--dry-run")
    assert done.exit_code == 2
    assert "verify shows" in done.output
