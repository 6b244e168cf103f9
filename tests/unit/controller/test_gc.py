"""Versions on a whole cluster of directories: going back, freeing, and both while others deploy and sync."""

from __future__ import annotations

import fcntl
import hashlib
import json
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from pytest_hpcregistry import agent
from pytest_hpcregistry.agent.gc import sweep
from pytest_hpcregistry.controller import catalog as catalog_file
from pytest_hpcregistry.controller import commands, gc
from pytest_hpcregistry.controller import publish as registry
from pytest_hpcregistry.controller.limits import Room
from pytest_hpcregistry.controller.lock import is_held
from pytest_hpcregistry.controller.note import Note
from pytest_hpcregistry.controller.session import NodeSession
from pytest_hpcregistry.controller.sync import sync
from pytest_hpcregistry.core import messages
from pytest_hpcregistry.core.errors import CheckFailed, CommandFailed, ConfigError, Unreachable, UsageError
from pytest_hpcregistry.core.events import Event, Freed, GcFinished, Noticed
from pytest_hpcregistry.core.fanout import fan_out
from pytest_hpcregistry.core.history import Record
from pytest_hpcregistry.core.layout import HISTORY, METADATA, RUNNING, STAGING, SYNC_LOCK
from pytest_hpcregistry.core.machine import SlurmFacts
from pytest_hpcregistry.core.messages import describe_gc
from pytest_hpcregistry.core.wire import from_line
from tests.fakes.nodes import FakeNodes
from tests.fakes.settings import change
from tests.unit.controller.test_rollout import start

NAME, OTHER = "ml-frameworks/x.sif", "base-images/y.sif"
ALL = ("controller", "c1", "c2")


@pytest.fixture
def nodes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeNodes:
    found = FakeNodes(tmp_path, "c1", "c2")
    found.use(monkeypatch)
    return found


def deploy(nodes: FakeNodes, *contents: bytes, name: str = NAME) -> list[str]:
    """Publish and sync these, one after the other; returns their digests."""
    digests = []
    for content in contents:
        digests.append(nodes.publish(name, content))
        sync(nodes.settings, None, None, lambda _: None)
    return digests


def collect(nodes: FakeNodes, keep: int = 2, grace: int = 0, **how: Any) -> dict[str, Freed]:
    return gc.collect(nodes.settings, lambda _: None, keep=keep, grace=grace, by="me@x", **how)


def top(nodes: FakeNodes, machine: str) -> Path:
    return nodes.registry if machine == "controller" else nodes.root / machine / "registry"


def objects(nodes: FakeNodes) -> list[set[str]]:
    return [{path.name for path in (top(nodes, machine) / agent.OBJECTS).iterdir()} for machine in ALL]


def current(nodes: FakeNodes, name: str = NAME) -> set[str]:
    """What the name means on all machines, read from the bytes."""
    return {hashlib.sha256((top(nodes, machine) / name).read_bytes()).hexdigest() for machine in ALL}


def history(nodes: FakeNodes) -> list[str]:
    return [one.digest for one in nodes.catalog().images[NAME].history()]


def trees(nodes: FakeNodes) -> dict[str, Any]:
    """All files, but for those that tell of every command: the history, its turn, and what runs."""
    found = {}
    for machine in ALL:
        for path in [top(nodes, machine), *top(nodes, machine).rglob("*")]:
            status = path.lstat()
            content = path.read_bytes() if path.is_file() else None
            found[str(path)] = (status.st_ino, status.st_mode, status.st_mtime_ns, status.st_ctime_ns, content)
    for name in (HISTORY, SYNC_LOCK, RUNNING):
        found.pop(str(nodes.registry / name), None)
    return found


def worst(machines: Mapping[str, Freed]) -> dict[str, str]:
    return {machine: one.state for machine, one in machines.items()}


# --- versions


def test_the_catalog_keeps_as_many_older_versions_as_configured(nodes: FakeNodes) -> None:
    digests = [nodes.publish(NAME, content) for content in (b"1", b"2", b"3", b"4")]
    assert history(nodes) == digests[:0:-1]
    nodes.settings = change(nodes.settings, keep=0)
    assert nodes.publish(NAME, b"4") == digests[3]
    assert history(nodes) == digests[:0:-1], "the same bytes again change nothing"
    digest = nodes.publish(NAME, b"5")
    assert history(nodes) == [digest]


def test_a_catalog_that_nobody_could_read_is_not_written(nodes: FakeNodes, monkeypatch: pytest.MonkeyPatch) -> None:
    nodes.publish(NAME)
    before = (nodes.registry / agent.CATALOG).read_text()
    monkeypatch.setattr("pytest_hpcregistry.core.catalog.LARGEST", len(before) + 10)
    with pytest.raises(ConfigError, match="larger than") as caught:
        nodes.publish(NAME, b"2")
    assert str(nodes.registry / agent.CATALOG) in str(caught.value)
    assert (nodes.registry / agent.CATALOG).read_text() == before


# --- rollback


def back(nodes: FakeNodes, *words: str) -> tuple[int, list[Any]]:
    done = start(nodes, "--json", "rollback", NAME, "--by", "me@x", *words)
    told = [json.loads(line) for line in done.stdout.splitlines()]
    assert "Traceback" not in done.stderr
    return done.returncode, told


def test_rollback_moves_nothing_and_takes_one_login_for_each_node(nodes: FakeNodes) -> None:
    one, two = deploy(nodes, b"1", b"2")
    before = [len(nodes.asked(node)) for node in ("c1", "c2")]
    sent = (nodes.root / "c1/rsynced").read_text()
    code, told = back(nodes)
    assert code == 0
    assert current(nodes) == {one}
    finished = [event for event in told if event["event"] == "node_finished"]
    assert [(event["state"], event["objects"], event["bytes"]) for event in finished] == [("synced", 0, 0)] * 2
    assert [len(nodes.asked(node)) for node in ("c1", "c2")] == [count + 1 for count in before]
    assert (nodes.root / "c1/rsynced").read_text() == sent
    assert (told[0]["event"], told[0]["digest"], told[0]["before"]) == ("rolled_back", one, two)
    catalogs = {(top(nodes, machine) / agent.CATALOG).read_text() for machine in ALL}
    assert len(catalogs) == 1


def test_rollback_twice_goes_forward_again(nodes: FakeNodes) -> None:
    one, two, three = deploy(nodes, b"1", b"2", b"3")
    back(nodes)
    assert (current(nodes), history(nodes)) == ({two}, [two, three, one])
    back(nodes)
    assert (current(nodes), history(nodes)) == ({three}, [three, two, one])
    assert back(nodes, "--to", one[:6])[0] == 0
    assert (current(nodes), history(nodes)) == ({one}, [one, three, two])
    back(nodes)
    assert (current(nodes), history(nodes)) == ({three}, [three, one, two])


def test_rollback_to_what_is_current_mends_the_nodes(nodes: FakeNodes) -> None:
    one, two = deploy(nodes, b"1", b"2")
    (top(nodes, "c1") / NAME).unlink()
    code, told = back(nodes, "--to", two)
    assert (code, current(nodes), history(nodes)) == (0, {two}, [two, one])
    assert told[0]["digest"] == told[0]["before"] == two


def test_rollback_drops_no_version_whatever_is_kept(nodes: FakeNodes) -> None:
    one, two = deploy(nodes, b"1", b"2")
    nodes.settings = change(nodes.settings, keep=0)
    registry.rollback(nodes.settings, NAME, None)
    assert history(nodes) == [one, two]


def test_a_node_without_the_old_bytes_gets_them(nodes: FakeNodes) -> None:
    one, _ = deploy(nodes, b"1", b"2")
    (top(nodes, "c2") / agent.OBJECTS / one).unlink()
    code, told = back(nodes)
    assert (code, current(nodes)) == (0, {one})
    moved = {event["node"]: event["objects"] for event in told if event["event"] == "node_finished"}
    assert moved == {"c1": 0, "c2": 1}


@pytest.mark.parametrize(
    ("words", "code", "says"),
    [
        (["--to", "abc"], 2, "at least 6"),
        (["--to", "ffffffffff"], 2, "no version begins"),
        ([], 2, "no older version to go back to"),
    ],
)
def test_wrong_versions_are_wrong_use(nodes: FakeNodes, words: list[str], code: int, says: str) -> None:
    deploy(nodes, b"1")
    back(nodes, *words)  # the first that is noted makes the history's file
    before = trees(nodes)
    exit_code, told = back(nodes, *words)
    assert exit_code == code
    assert says in told[-1]["message"]
    assert told[-1]["hint"].startswith("its versions: ")
    assert trees(nodes) == before


def test_rollback_of_an_unknown_name(nodes: FakeNodes) -> None:
    with pytest.raises(UsageError, match="not in the catalog") as caught:
        registry.rollback(nodes.settings, NAME, None)
    assert "catalog list" in caught.value.hint


@pytest.mark.parametrize("damage", [lambda path: path.unlink(), lambda path: path.write_bytes(b"x" * 40960)])
def test_rollback_to_bytes_that_are_gone_or_damaged_changes_nothing(nodes: FakeNodes, damage: Any) -> None:
    one, two = deploy(nodes, b"1", b"2")
    damage(nodes.registry / agent.OBJECTS / one)
    with pytest.raises(CheckFailed, match=f"version {one[:12]}, are gone or damaged") as caught:
        registry.rollback(nodes.settings, NAME, None)
    assert caught.value.hint == "deploy that image again"
    assert (current(nodes), history(nodes)) == ({two}, [two, one])


def test_a_node_in_trouble_ends_a_rollback_as_a_sync(nodes: FakeNodes) -> None:
    deploy(nodes, b"1", b"2")
    nodes.trouble("c2", "refused")
    assert back(nodes)[0] == 3


def test_the_log_says_who(nodes: FakeNodes) -> None:
    one, two = deploy(nodes, b"1", b"2")
    back(nodes)
    start(nodes, "gc", "--by", "them@y", "--grace", "7", "--keep", "1")
    log = Path(nodes.settings.sync.log).read_text()
    assert f"SUCCESS: {NAME} rolled back by me@x, sha256 {one}, was {two[:12]}" in log
    assert "Garbage collection by them@y (keep 1, grace 7 s) on the controller and c[1-2]" in log


# --- gc


def test_gc_frees_what_is_beyond_keep_everywhere(nodes: FakeNodes) -> None:
    one, two, three = deploy(nodes, b"1", b"2", b"3")
    before = [len(nodes.asked(node)) for node in ("c1", "c2")]
    machines = collect(nodes, keep=1)
    assert objects(nodes) == [{two, three}] * 3
    assert [machines[machine].objects for machine in ALL] == [[one]] * 3
    assert machines["c1"].bytes == (nodes.registry / NAME).stat().st_size
    assert history(nodes) == [three, two]
    assert len({(top(nodes, machine) / agent.CATALOG).read_text() for machine in ALL}) == 1
    assert [len(nodes.asked(node)) for node in ("c1", "c2")] == [count + 1 for count in before], "one login each"
    assert current(nodes) == {three}
    assert {state.state for state in sync(nodes.settings, None, None, lambda _: None).values()} == {"unchanged"}


def test_gc_keeps_what_another_name_means(nodes: FakeNodes) -> None:
    one, two = deploy(nodes, b"1", b"2")
    deploy(nodes, b"1", name=OTHER)
    collect(nodes, keep=0)
    assert objects(nodes) == [{one, two}] * 3


def test_gc_within_the_grace_time_frees_nothing(nodes: FakeNodes) -> None:
    one, two = deploy(nodes, b"1", b"2")
    machines = collect(nodes, keep=0, grace=3600)
    assert objects(nodes) == [{one, two}] * 3
    assert [machines[machine].young for machine in ALL] == [[one]] * 3
    assert history(nodes) == [two], "the catalog comes first"


def test_a_dry_run_changes_nothing_and_says_what_is_so(nodes: FakeNodes) -> None:
    deploy(nodes, b"1", b"2", b"3")
    for machine in ALL:
        (top(nodes, machine) / agent.LOCK).unlink()
    (nodes.registry / ".registry/sync.lock").unlink()
    log = Path(nodes.settings.sync.log)
    before, said = trees(nodes), log.exists() and log.read_text()
    done = start(nodes, "--json", "gc", "--dry-run", "--keep", "0", "--grace", "0")
    assert done.returncode == 0, done.stderr
    after = trees(nodes)
    for place in (METADATA, STAGING):
        path = str(nodes.registry / place)
        assert after.pop(path)[0:2] == before.pop(path)[0:2], "its times alone: the probe was there for a moment"
    assert after == before
    assert (log.exists() and log.read_text()) == said
    forecast = from_line(done.stdout.splitlines()[-1])
    assert isinstance(forecast, GcFinished)
    assert forecast.machines == collect(nodes, keep=0)
    assert len(forecast.machines["c1"].objects) == 2


def test_files_by_hand_are_told_and_left(nodes: FakeNodes) -> None:
    deploy(nodes, b"1")
    mine = top(nodes, "c2") / "ml-frameworks/mine.sif"
    mine.write_bytes(b"mine")
    machines = collect(nodes, keep=0)
    assert {machine: one.unmanaged for machine, one in machines.items()} == {
        "controller": [], "c1": [], "c2": ["ml-frameworks/mine.sif"],
    }  # fmt: skip
    assert mine.read_bytes() == b"mine"


def test_a_node_in_trouble_is_named_and_the_others_are_freed(nodes: FakeNodes) -> None:
    one, two = deploy(nodes, b"1", b"2")
    nodes.trouble("c2", "refused")
    machines = collect(nodes, keep=0)
    assert worst(machines) == {"controller": "freed", "c1": "freed", "c2": "unreachable"}
    assert machines["c2"].message == "login refused"
    assert objects(nodes) == [{two}, {two}, {one, two}]
    assert commands.worst(worst(machines).values()) == 3
    nodes.trouble("c2", "silent")
    assert commands.worst(worst(collect(nodes)).values()) == 4


def test_a_controller_in_trouble_is_named_and_the_nodes_are_freed(
    nodes: FakeNodes, monkeypatch: pytest.MonkeyPatch
) -> None:
    deploy(nodes, b"1", b"2")

    def fail(*_: Any) -> None:
        raise OSError(30, "Read-only file system")

    monkeypatch.setattr(gc, "sweep", fail)
    machines = collect(nodes, keep=0)
    assert machines["controller"] == Freed("failed", "[Errno 30] Read-only file system")
    assert {machines[node].state for node in ("c1", "c2")} == {"freed"}


def test_why_a_machine_failed_is_kept_with_what_to_do() -> None:
    assert gc.failure("c1", CommandFailed("full", where="c1", hint="make room")) == Freed("failed", "full", "make room")
    assert gc.failure("c1", Unreachable("gone", where="c1")) == Freed("unreachable", "gone")
    with pytest.raises(CommandFailed, match="did not look at the registry that it was asked to look at") as caught:
        gc.freed({"shared": True}, shared=False)
    assert "registry setup" in caught.value.hint


def test_a_smaller_window_is_told(nodes: FakeNodes, monkeypatch: pytest.MonkeyPatch) -> None:
    deploy(nodes, b"1")
    for note, told in (("fewer at once", [Noticed("fewer at once")]), ("", [])):
        monkeypatch.setattr(gc, "make_room", lambda *_, note=note, **__: Room(64, 64, note))
        heard: list[Any] = []
        gc.collect(nodes.settings, heard.append, keep=2, grace=0, by="me")
        assert [event for event in heard if isinstance(event, Noticed)] == told


def test_a_node_that_was_away_keeps_what_it_runs_and_is_freed_later(nodes: FakeNodes) -> None:
    one = nodes.publish(NAME, b"1")
    sync(nodes.settings, None, None, lambda _: None)
    two = nodes.publish(NAME, b"2")
    collect(nodes, keep=0)  # before any sync: on the nodes the name still means the old one
    assert objects(nodes) == [{two}, {one}, {one}]
    assert {(top(nodes, node) / NAME).read_bytes()[-1:] for node in ("c1", "c2")} != set()
    sync(nodes.settings, None, None, lambda _: None)
    collect(nodes, keep=0)
    assert objects(nodes) == [{two}] * 3


@pytest.mark.parametrize("text", ["version: 9\n", "{", ""])
def test_a_broken_catalog_frees_nothing(nodes: FakeNodes, text: str) -> None:
    deploy(nodes, b"1", b"2")
    (nodes.registry / agent.CATALOG).write_text(text)
    before = objects(nodes)
    for dry_run in (True, False):
        with pytest.raises(ConfigError):
            collect(nodes, keep=0, dry_run=dry_run)
    assert objects(nodes) == before


def test_nodes_that_slurm_does_not_tell_free_nothing(nodes: FakeNodes) -> None:
    one, two = deploy(nodes, b"1", b"2")
    nodes.settings = change(nodes.settings, nodes=None)
    (nodes.root / "bin/sinfo").write_text("#!/bin/sh\nexit 1\n")
    (nodes.root / "bin/sinfo").chmod(0o755)
    with pytest.raises(Unreachable):
        collect(nodes, keep=0)
    assert (objects(nodes), history(nodes)) == ([{one, two}] * 3, [two, one])


def test_gc_that_dies_between_leaves_no_name_without_bytes(nodes: FakeNodes, monkeypatch: pytest.MonkeyPatch) -> None:
    one, two = deploy(nodes, b"1", b"2")
    monkeypatch.setattr(gc, "fan_out", lambda *_, **how: 1 // 0)
    with pytest.raises(ZeroDivisionError):
        collect(nodes, keep=0)
    assert (history(nodes), objects(nodes)) == ([two], [{one, two}] * 3)


def share(nodes: FakeNodes, *names: str) -> None:
    """Let these nodes have the controller's own registry."""
    for name in names:
        mine = top(nodes, name)
        mine.rename(mine.with_name("was"))
        mine.symlink_to(nodes.registry)


def told(monkeypatch: pytest.MonkeyPatch, answer: dict[str, Any], *names: str) -> None:
    """Let these nodes answer gc so, and everything else as they do."""
    true = NodeSession.ask

    def ask(self: NodeSession, verb: str, *more: Any, **how: Any) -> Any:
        return answer if verb == "gc" and self.node in names else true(self, verb, *more, **how)

    monkeypatch.setattr(NodeSession, "ask", ask)


def test_a_node_that_only_says_that_it_shares_the_registry_keeps_nothing_from_being_freed(
    nodes: FakeNodes, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, two = deploy(nodes, b"1", b"2")
    told(monkeypatch, {"shared": True, "in_use": [one]}, "c1")
    machines = collect(nodes, keep=0)
    assert worst(machines) == {"controller": "freed", "c1": "failed", "c2": "freed"}
    assert objects(nodes)[0] == {two}


@pytest.mark.parametrize("elsewhere", [{"c1": []}, {"c1": ["one"]}])
def test_what_a_node_has_open_on_a_shared_file_system_stays(
    nodes: FakeNodes, elsewhere: dict[str, list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    one, two = deploy(nodes, b"1", b"2")
    asked = [{"one": one}.get(word, word) for word in elsewhere["c1"]]
    share(nodes, "c1", "c2")
    told(monkeypatch, {"shared": True, "in_use": asked}, "c1", "c2")
    machines = collect(nodes, keep=0)
    assert worst(machines) == {"controller": "freed", "c1": "shared", "c2": "shared"}
    assert machines["controller"].in_use == asked
    assert objects(nodes)[0] == {two, *asked}


def test_of_nodes_that_share_the_registry_each_must_say_what_it_has_open(
    nodes: FakeNodes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """c1 has shown that it shares the registry, and then fails; c2 has one of its own."""
    one, two = deploy(nodes, b"1", b"2")
    share(nodes, "c1")
    told(monkeypatch, {}, "c1")
    machines = collect(nodes, keep=0)
    assert worst(machines) == {"controller": "failed", "c1": "failed", "c2": "freed"}
    assert objects(nodes)[0] == {one, two}


@pytest.mark.parametrize("trouble", [["c2"], ["c1", "c2"]])
def test_what_a_node_may_have_open_that_cannot_be_asked_stays(nodes: FakeNodes, trouble: list[str]) -> None:
    one, two = deploy(nodes, b"1", b"2")
    share(nodes, "c1", "c2")
    for name in trouble:
        nodes.trouble(name, "refused")
    machines = collect(nodes, keep=0)
    assert machines["controller"].state == "failed"
    assert "could not be asked" in machines["controller"].message
    assert objects(nodes)[0] == {one, two}


def test_a_node_that_slurm_does_not_count_on_is_not_counted(nodes: FakeNodes) -> None:
    """When it does not answer; one that does is served."""
    deploy(nodes, b"1", b"2")
    nodes.trouble("c2", "refused")
    slurm = SlurmFacts(nodes={"c1": "drained", "c2": "down*"}, reasons={"c2": '"disk swap"'})
    events: list[Event] = []
    machines = gc.collect(nodes.settings, events.append, keep=0, grace=0, by="me@x", slurm=slurm)
    assert worst(machines) == {"controller": "freed", "c1": "freed", "c2": "not counted"}
    (end,) = (event for event in events if isinstance(event, GcFinished))
    assert ("NOTE", 'not counted: c2 down, not responding "disk swap"') in describe_gc(end)
    assert commands.worst(worst(machines).values()) == 0
    note = Note(Record("1" * 15, "2026-11-25T19:23:20Z", "gc"), lambda _: None)
    note.listen(end)
    assert (note.ended(1.0).state, note.ended(1.0).done, note.ended(1.0).failed) == ("ok", "controller,c1", "")
    slurm = SlurmFacts(nodes={"c2": "idle"})
    assert worst(collect(nodes, slurm=slurm))["c2"] == "unreachable"


def test_bytes_that_a_silent_node_may_share_stay_whether_it_counts_or_not(nodes: FakeNodes) -> None:
    one, two = deploy(nodes, b"1", b"2")
    share(nodes, "c1", "c2")
    nodes.trouble("c2", "refused")
    machines = collect(nodes, keep=0, slurm=SlurmFacts(nodes={"c2": "drained"}))
    assert (machines["controller"].state, machines["c2"].state) == ("failed", "not counted")
    assert objects(nodes)[0] == {one, two}


# --- several at once


def test_the_lock_is_held_while_the_catalog_shrinks_and_while_names_are_looked_at(
    nodes: FakeNodes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Or a publish in between gives a name to what is about to go. A dry run changes nothing, and takes no lock."""
    nodes.publish(NAME, b"1")
    nodes.publish(NAME, b"2")
    top = str(nodes.registry)
    held: list[tuple[str, bool]] = []

    def watch(name: str, real: Callable[..., Any]) -> None:
        def call(*words: Any) -> Any:
            with (nodes.registry / agent.LOCK).open("w") as lock:
                try:
                    fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)  # a shared one would be no lock
                    held.append((name, False))
                except BlockingIOError:
                    held.append((name, True))
            return real(*words)

        monkeypatch.setattr(gc, name, call)

    watch("sweep", sweep)
    watch("read_catalog_text", catalog_file.read_catalog_text)
    watch("text_of", catalog_file.text_of)
    for dry_run in (True, False):
        text, catalog = gc.trim(top, 0, dry_run)
        request = gc.request_for(text, catalog, 0, dry_run)
        assert gc.sweep_here(top, request, {}, set()).state == "freed"
    without = [("read_catalog_text", False), ("sweep", False)]
    with_it = [(name, True) for name in ("read_catalog_text", "text_of", "read_catalog_text", "sweep")]
    assert held == without + with_it


def test_no_sync_begins_while_a_gc_is_at_work(nodes: FakeNodes, monkeypatch: pytest.MonkeyPatch) -> None:
    """A dry run changes nothing that a sync counts on, and keeps none waiting."""
    held: list[bool] = []

    def watch(name: str) -> None:
        real = getattr(gc, name)

        def call(*words: Any) -> Any:
            held.append(is_held(nodes.registry / ".registry/sync.lock"))
            return real(*words)

        monkeypatch.setattr(gc, name, call)

    watch("trim")
    watch("sweep_here")
    collect(nodes, dry_run=True)
    collect(nodes)
    assert held == [False, False, True, True]


def test_a_catalog_that_keeps_all_is_not_written(nodes: FakeNodes) -> None:
    nodes.publish(NAME, b"1")
    nodes.publish(NAME, b"2")
    catalog = nodes.registry / agent.CATALOG

    def written() -> tuple[int, int, int]:  # not when it was read, which a sync does too
        return catalog.stat().st_ino, catalog.stat().st_mtime_ns, catalog.stat().st_ctime_ns

    before = written()
    gc.trim(str(nodes.registry), 1, False)
    assert written() == before


def test_gc_waits_for_a_sync(nodes: FakeNodes) -> None:
    _, two = deploy(nodes, b"1", b"2")
    with (nodes.registry / ".registry/sync.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        thread = threading.Thread(target=collect, args=(nodes, 0))
        thread.start()
        thread.join(0.3)
        assert history(nodes)[0] == two
        assert len(history(nodes)) == 2
        assert len(objects(nodes)[1]) == 2
    thread.join(20)
    assert objects(nodes) == [{two}] * 3


def test_what_is_deployed_while_gc_asks_the_nodes_stays(nodes: FakeNodes, monkeypatch: pytest.MonkeyPatch) -> None:
    deploy(nodes, b"1", b"2")
    come = list[str]()

    def deploy_meanwhile(names: Iterable[str], *rest: Any, **how: Any) -> Any:
        come.extend(nodes.publish(NAME, content) for content in (b"3", b"4"))
        return fan_out(names, *rest, **how)

    monkeypatch.setattr(gc, "fan_out", deploy_meanwhile)
    collect(nodes, keep=0)
    assert history(nodes)[:2] == come[::-1]
    assert set(come) <= objects(nodes)[0], "also the one that has no name any more, and is a version"


def published(nodes: FakeNodes, content: bytes) -> bool:
    try:
        nodes.publish(NAME, content)
    except registry.BytesMissing:
        return False
    return True


def test_deploys_and_syncs_lose_nothing_to_gcs(nodes: FakeNodes) -> None:
    """Without any grace period, some seconds and some times each; a deploy whose bytes were freed sends them again."""
    contents = [bytes([number]) for number in range(1, 4)]
    deploy(nodes, *contents)
    stop, failures = time.monotonic() + 6, list[str]()
    counted = dict.fromkeys(("publish", "sync", "gc"), 0)

    def repeat(what: str, once: Callable[[int], Iterable[str]]) -> None:
        while (time.monotonic() < stop or min(counted.values()) <= 3) and not failures:
            try:
                failures.extend(once(counted[what]))
            except Exception as error:
                failures.append(f"{what}: {error!r}")
            counted[what] += 1

    def publish(turn: int) -> Iterable[str]:
        while not published(nodes, contents[turn % 3]):
            pass
        return ()

    def synchronise(_: int) -> Iterable[str]:
        return [one.message for one in sync(nodes.settings, None, None, lambda _: None).values() if one.message]

    def free(turn: int) -> Iterable[str]:
        return [one.message for one in collect(nodes, keep=turn % 2).values() if one.state != "freed"]

    work = {"publish": publish, "sync": synchronise, "gc": free}
    threads = [threading.Thread(target=repeat, args=one) for one in work.items()]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert failures == []
    assert min(counted.values()) > 3, counted
    assert {one.state for one in sync(nodes.settings, None, None, lambda _: None).values()} <= {"synced", "unchanged"}
    assert current(nodes) == {history(nodes)[0]}
    collect(nodes, keep=0)
    assert objects(nodes) == [{history(nodes)[0]}] * 3


def test_bytes_that_were_freed_are_asked_for_again(nodes: FakeNodes) -> None:
    words = {"by": "me@x", "architecture": "amd64", "source": "", "labels": {}}
    request = {"name": NAME, "digest": "a" * 64, "size": 10, **words}
    start(nodes, "--version")
    done = subprocess.run(
        [sys.executable, "-m", "pytest_hpcregistry.controller", "--config", str(nodes.root / "config.yaml"), "--json",
         "publish"],
        input=json.dumps(request), capture_output=True, text=True, timeout=60, check=True,
    )  # fmt: skip
    assert json.loads(done.stdout) == {"event": "bytes_missing", "digest": "a" * 64}


# --- what is said


def test_machines_with_the_same_to_tell_are_one_line() -> None:
    one = Freed("freed", objects=["a", "b"], bytes=134_200_000)
    busy = replace(one, in_use=["c"], in_use_bytes=5_000_000, unmanaged=["ml-frameworks/mine.sif"])
    young = Freed("freed", debris=["x"], young=["c", "d"], young_bytes=1_000_000)
    machines = {
        "controller": one, "c1": one, "c2": busy, "c3": Freed("failed", "disk"), "c4": young, "c5": Freed("shared"),
    }  # fmt: skip
    assert messages.describe(GcFinished(machines, False)) == [
        "SUCCESS: controller,c[1-2]: 2 objects freed, 134 MB",
        "NOTE: c2: 1 object kept, 5.0 MB: in use",
        "NOTE: c2: not in the catalog, left alone: ml-frameworks/mine.sif",
        "ERROR: c3: disk",
        "SUCCESS: c4: 0 objects and 1 leftover freed, 0 B",
        "NOTE: c4: 2 objects kept, 1.0 MB: unreferenced for less than the grace period",
        "SUCCESS: c5: shares the controller's registry",
    ]
    told = messages.describe(GcFinished({"c1": one}, True))
    assert told == ["SUCCESS: c1: 2 objects would be freed, 134 MB"]
