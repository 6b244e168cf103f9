"""The controller program's command line: every option, and what becomes of it."""

from __future__ import annotations

import errno
import io
import sys
from pathlib import Path
from typing import Any

import pytest

from pytest_hpcregistry import __version__
from pytest_hpcregistry.controller import __main__ as program
from pytest_hpcregistry.controller import arguments, commands
from pytest_hpcregistry.controller.ending import Interrupted
from pytest_hpcregistry.core.catalog import Catalog
from pytest_hpcregistry.core.errors import CheckFailed, HpcRegistryError, UsageError
from pytest_hpcregistry.core.settings import Settings
from tests.fakes.settings import config_text, make_settings

ALWAYS: dict[str, Any] = {
    "config": Path("/opt/containers/.registry/config.yaml"),
    "json": False,
    "expect": None,
}
SYNC: dict[str, Any] = {
    "command": "sync",
    "subdirectory": None,
    "engine": None,
    "limit_rate": None,
    "settings": None,
    "name": None,
    "nodes": "",
    "exclude": "",
    "repair": False,
    "assume": {},
    "dry_run": False,
    "no_wait": False,
    "by": "",
}
BACK: dict[str, Any] = {
    "command": "rollback",
    "settings": None,
    "name": "a/x.sif",
    "to": None,
    "by": "",
    "dry_run": False,
    "signature": {},
    "no_wait": False,
    "nodes": "",
    "exclude": "",
}
FREE: dict[str, Any] = {
    "command": "gc",
    "settings": None,
    "keep": None,
    "grace": None,
    "dry_run": False,
    "no_wait": False,
    "by": "",
}


GONE: dict[str, Any] = {
    "command": "remove",
    "settings": None,
    "names": ["a/x.sif"],
    "after": 14 * 86400,
    "by": "",
    "dry_run": False,
    "no_wait": False,
    "nodes": "",
    "exclude": "",
}


def parse(monkeypatch: pytest.MonkeyPatch, *words: str) -> dict[str, Any]:
    monkeypatch.setattr(sys, "argv", ["program", *words])
    return vars(arguments.parse())


@pytest.mark.parametrize(
    ("words", "found"),
    [
        ("sync", SYNC),
        ("sync ml", {**SYNC, "subdirectory": "ml"}),
        ("sync --engine star --limit-rate 9", {**SYNC, "engine": "star", "limit_rate": 9}),
        ("sync --name a/x.sif --name b/y.sif", {**SYNC, "name": ["a/x.sif", "b/y.sif"]}),
        ('sync --settings {"sync.window":9}', {**SYNC, "settings": {"sync.window": 9}}),
        ("sync --settings {}", {**SYNC, "settings": {}}),
        ("sync --repair --no-wait", {**SYNC, "repair": True, "no_wait": True}),
        ("sync -w c[1-9] -x c3,@gpu", {**SYNC, "nodes": "c[1-9]", "exclude": "c3,@gpu"}),
        ("rollback a/x.sif", BACK),
        ("rollback a/x.sif --to 12ab --by you@x", {**BACK, "to": "12ab", "by": "you@x"}),
        ("rollback a/x.sif --exclude c3", {**BACK, "exclude": "c3"}),
        ('rollback a/x.sif --signature {"signed":"x"}', {**BACK, "signature": {"signed": "x"}}),
        ("sync --dry-run", {**SYNC, "dry_run": True}),
        ('sync --dry-run --assume {"a/x.sif":{}}', {**SYNC, "dry_run": True, "assume": {"a/x.sif": {}}}),
        ("rollback a/x.sif --dry-run", {**BACK, "dry_run": True}),
        ("remove a/x.sif", GONE),
        ("remove a/x.sif b/y.sif --after 2h", {**GONE, "names": ["a/x.sif", "b/y.sif"], "after": 7200}),
        ("remove a/x.sif --after 1209600s", GONE),  # as the command line passes it on
        ("remove a/x.sif --dry-run -w c1", {**GONE, "dry_run": True, "nodes": "c1"}),
        ("restore a/x.sif --to 12ab", {**BACK, "command": "restore", "to": "12ab"}),
        ("restore a/x.sif --dry-run", {**BACK, "command": "restore", "dry_run": True}),
        ("gc", FREE),
        ("gc --keep 0 --grace 0 --dry-run --by you@x", {**FREE, "keep": 0, "grace": 0, "dry_run": True, "by": "you@x"}),
        ("running", {"command": "running"}),
        ("cancel --by you@x", {"command": "cancel", "id": None, "by": "you@x"}),
        ("cancel --id 0123", {"command": "cancel", "id": "0123", "by": ""}),
        ("facts {}", {"command": "facts", "request": "{}"}),
        ("receive ab 12", {"command": "receive", "digest": "ab", "size": 12}),
        ("has ab 12", {"command": "has", "digest": "ab", "size": 12}),
        ("signatures", {"command": "signatures"}),
        ("try-key", {"command": "try-key", "nodes": []}),
        ("try-key c1 c2", {"command": "try-key", "nodes": ["c1", "c2"]}),
        ("nodes -w @gpu", {"command": "nodes", "configured": None, "nodes": "@gpu", "exclude": ""}),
        ("nodes --configured c[1-3] -x c2", {"command": "nodes", "configured": "c[1-3]", "nodes": "", "exclude": "c2"}),
        ("publish --by you@x", {"command": "publish", "by": "you@x"}),
        ("note --by you@x", {"command": "note", "by": "you@x"}),
        ("history", {"command": "history", "since": None, "image": None, "last": None}),
        (
            "history --since 2026-11-01 --image a/x.sif --last 3",
            {"command": "history", "since": "2026-11-01T00:00:00Z", "image": "a/x.sif", "last": 3},
        ),
    ],
)
def test_each_command_has_its_options(monkeypatch: pytest.MonkeyPatch, words: str, found: dict[str, Any]) -> None:
    assert parse(monkeypatch, *words.split()) == {**ALWAYS, **found}
    assert found["command"] in program.COMMANDS
    common = ["--json", "--expect", "1.2", "--config", "/x/y"]
    assert parse(monkeypatch, *common, *words.split()) == {
        **found,
        "json": True,
        "expect": "1.2",
        "config": Path("/x/y"),
    }


@pytest.mark.parametrize(
    "words",
    ["", "gossip", "sync a b", "sync --limit-rate much", "rollback", "gc --keep -1", "gc --grace -1", "gc --keep few",
     "gc --keep 1.5", "facts", "receive ab", "receive ab many", "has ab", "has ab many", "publish x",
     "remove", "remove a/x.sif --after soon", "restore",
     "sync --settings []", "sync --settings {", "sync --settings 1", "note x", "history --since yesterday",
     "history --last -1"],
)  # fmt: skip
def test_what_is_no_command_is_wrong_use(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], words: str
) -> None:
    with pytest.raises(SystemExit) as caught:
        parse(monkeypatch, *words.split())
    assert caught.value.code == 2
    assert "usage: " in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "shown"),
    [
        ("-h", ["--expect VERSION do nothing unless", "sync bring ", "rollback let a name mean an older version again",
                "gc remove objects", "facts facts of the controller", "receive receive an object", "has report whether",
                "note add to the history", "history report what the history says",
                "try-key whether the sync key works", "publish publish received bytes", "--json events as JSON lines"]),
        ("sync -h", ["usage: registry-sync-to-nodes.sh", "SUBDIR only this one", "--engine ENGINE auto, star",
                     "--limit-rate BYTES the most", "--settings JSON settings of", "--name NAME only this image"]),
        ("rollback -h", ["DIRECTORY/NAME.sif", "--to VERSION the beginning of its digest",
                         "--by USER@HOST who the sender"]),
        ("gc -h", ["--keep N older versions", "--grace TIME how long", "--dry-run only report"]),
        ("try-key -h", ["usage: controller.pyz try-key", "NODE instead of all"]),
    ],
)  # fmt: skip
def test_help_names_every_option(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], words: str, shown: list[str]
) -> None:
    with pytest.raises(SystemExit):
        parse(monkeypatch, *words.split())
    said = " ".join(capsys.readouterr().out.split())
    assert [text for text in shown if text not in said] == [], said


def test_words_that_it_does_not_know_reach_no_terminal_as_they_are(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        parse(monkeypatch, "sync", "--\x1b[2J")
    said = capsys.readouterr().err
    assert "unrecognized arguments" in said
    assert "\x1b" not in said


def test_phase_1_asks_for_its_version(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        parse(monkeypatch, "--version")
    assert (caught.value.code, capsys.readouterr().out) == (0, f"{__version__}\n")


@pytest.mark.parametrize(("now", "expected", "hint"), [
    ("1.10.0", "1.9.0", "install version 1.10.0 on this workstation"),
    ("1.9.0", "1.10.0", "run phase 1 again"),
    ("1.9.0", "1.9.0.dev1", "run phase 1 again"),
    ("1.9.0", "1.9.0rc", "run phase 1 again"),
])  # fmt: skip
def test_whoever_is_older_is_to_be_renewed(monkeypatch: pytest.MonkeyPatch, now: str, expected: str, hint: str) -> None:
    monkeypatch.setattr(program, "__version__", now)
    with pytest.raises(UsageError, match=f"^the controller has version {now}, this is {expected}") as caught:
        program.check_version(expected)
    assert hint in caught.value.hint
    program.check_version(now)
    program.check_version(None)


@pytest.mark.parametrize(
    ("states", "code"),
    [
        ([], 0),
        (["synced", "unchanged"], 0),
        (["synced", "unreachable"], 3),
        (["unreachable", "failed", "synced"], 4),
        (["failed"], 4),
    ],
)
def test_the_worst_state_is_the_exit_code(states: list[str], code: int) -> None:
    assert commands.worst(iter(states)) == code


@pytest.mark.parametrize(
    ("error", "says", "hint"),
    [
        (OSError(errno.ENOSPC, "No space left on device", "/r/x"), "No space left on device: /r/x", False),
        (OSError(errno.EMFILE, "Too many open files"), "Too many open files", True),
        (OSError("odd"), "odd", False),
        (OSError(), "OSError", False),
        (FileNotFoundError(errno.ENOENT, "No such file", "a\nb"), r"No such file: a\nb", False),
    ],
)
def test_what_the_system_says_is_said_of_the_controller(error: OSError, says: str, hint: bool) -> None:
    found = program.in_words(error)
    assert (found.what, found.where) == (says, "controller")
    assert bool(found.hint) == hint


@pytest.mark.parametrize(
    ("error", "says"),
    [
        (CheckFailed("it differs"), "error: it differs\n"),
        (HpcRegistryError("no", hint="do this", where="c1"), "error: c1: no\nhint: do this\n"),
    ],
)
def test_an_error_is_two_lines_for_people(
    capsys: pytest.CaptureFixture[str], error: HpcRegistryError, says: str
) -> None:
    program.report(error, as_json=False)
    assert capsys.readouterr() == ("", says)


@pytest.mark.parametrize(
    "request_text", ["", "[]", "{}", '{"names": []}', '{"names": [], "keys": 1}', '{"names": [], "keys": ["id.asc"]}']
)
def test_keys_that_are_none_are_not_asked_by(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, request_text: str
) -> None:
    file = tmp_path / "config.yaml"
    file.write_text(config_text(make_settings(tmp_path)))
    monkeypatch.setattr(sys, "argv", ["program", "--config", str(file), "signatures"])
    monkeypatch.setattr(sys, "stdin", io.StringIO(request_text))
    with pytest.raises(UsageError, match=r"^the request: "):
        program.run_signatures(arguments.parse())


def test_a_limit_of_0_takes_the_place_of_the_configured_one(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    file, seen = tmp_path / "config.yaml", list[int]()
    file.write_text(config_text(make_settings(tmp_path, limit_rate=5, log=str(tmp_path / "log"))))

    def sync(config: Settings, *_: object, **how: object) -> dict[str, object]:
        seen.append(config.sync.limit_rate)
        return {}

    monkeypatch.setattr("pytest_hpcregistry.controller.sync.sync", sync)
    monkeypatch.setattr("pytest_hpcregistry.controller.catalog.read_catalog", lambda registry: Catalog())
    monkeypatch.setattr("pytest_hpcregistry.controller.sync.choose_images", lambda *_: ({}, {}))
    for words in ([], ["--limit-rate", "0"], ["--limit-rate", "9"]):
        monkeypatch.setattr(sys, "argv", ["program", "--config", str(file), "sync", *words])
        program.run(arguments.parse())
    assert seen == [5, 0, 9]


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ([], ("c1", "c2", "c3")),
        (["-w", "c[2-3]"], ("c2", "c3")),
        (["--exclude", "c2"], ("c1", "c3")),
        (["--settings", '{"nodes": "c[1-5]"}'], ("c1", "c2", "c3", "c4", "c5")),
        (["--settings", '{"nodes": "c[1-5]"}', "-x", "c[1-2]"], ("c3", "c4", "c5")),
        (["--settings", '{"sync.window": 3}'], ("c1", "c2", "c3")),
        (["--nodes", "c9"], None),
    ],
)
def test_a_sync_is_of_the_nodes_that_are_meant(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, words: list[str], expected: tuple[str, ...] | None
) -> None:
    """Those of the cluster file of whoever asks, which may be others than phase 1 has written down."""
    (tmp_path / ".registry").mkdir()
    file, seen = tmp_path / "config.yaml", list[tuple[str, ...] | None]()
    file.write_text(config_text(make_settings(tmp_path, nodes=("c1", "c2", "c3"), log=str(tmp_path / "log"))))

    def sync(config: Settings, *_: object, **how: object) -> dict[str, object]:
        seen.append(config.nodes)
        return {}

    monkeypatch.setattr("pytest_hpcregistry.controller.sync.sync", sync)
    monkeypatch.setattr("pytest_hpcregistry.controller.catalog.read_catalog", lambda registry: Catalog())
    monkeypatch.setattr("pytest_hpcregistry.controller.sync.choose_images", lambda *_: ({}, {}))
    monkeypatch.setattr(sys, "argv", ["program", "--config", str(file), "sync", *words])
    assert program.run(arguments.parse()) == (0 if expected else 2)
    assert seen == ([expected] if expected else [])
    assert (expected is None) == (tmp_path / "log").exists() or "--settings" in words, "cron reads the log"


def test_an_interrupted_command_says_how_to_go_on(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def end(arguments: Any) -> int:
        raise Interrupted("cancelled by root@vm", "c3 not done: to go on: hpc-container-manager sync")

    monkeypatch.setitem(program.COMMANDS, "sync", end)
    monkeypatch.setattr(sys, "argv", ["controller.pyz", "sync"])
    assert program.run(arguments.parse()) == 130
    said = "error: controller: cancelled by root@vm\nhint: c3 not done: to go on: hpc-container-manager sync\n"
    assert capsys.readouterr().err == said
