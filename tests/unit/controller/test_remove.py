"""Images that are removed and restored on a cluster of directories, and dry runs, which change nothing."""

from __future__ import annotations

import hashlib
import json
import os
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from pytest_hpcregistry import agent
from pytest_hpcregistry.controller import gc, remove
from pytest_hpcregistry.controller.follow import follow_catalog
from pytest_hpcregistry.controller.sync import sync
from pytest_hpcregistry.core.errors import CommandFailed, UsageError
from pytest_hpcregistry.core.events import (
    Event,
    ImageRestored,
    ImagesRemoved,
    NodeFinished,
    Noticed,
    Planned,
    SyncFinished,
)
from pytest_hpcregistry.core.history import now
from pytest_hpcregistry.core.wire import from_line
from tests.fakes.nodes import FakeNodes
from tests.unit.agent.test_crash_points import CALLS, killed_at
from tests.unit.controller.test_rollout import start

NAME, OTHER = "ml-frameworks/x.sif", "base-images/y.sif"
DAY = 86400


@pytest.fixture
def nodes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeNodes:
    found = FakeNodes(tmp_path, "c1", "c2")
    found.use(monkeypatch)
    return found


def deploy(nodes: FakeNodes, content: bytes = b"1", name: str = NAME) -> str:
    digest = nodes.publish(name, content)
    sync(nodes.settings, None, None, lambda _: None)
    return digest


def take_away(nodes: FakeNodes, *names: str, after: int = DAY) -> list[Event]:
    told: list[Event] = []
    remove.remove(nodes.settings, names or [NAME], after=after, by="me@x", listener=told.append)
    return told


def bring(nodes: FakeNodes, *names: str) -> tuple[dict[str, Any], list[Event]]:
    told: list[Event] = []
    outcomes = sync(nodes.settings, None, names or None, told.append)
    return {node: (one.state, one.removed) for node, one in outcomes.items()}, told


def collect(nodes: FakeNodes, **how: Any) -> list[str]:
    """Collect with all the severity that there is; returns the objects that are left on the controller."""
    gc.collect(nodes.settings, lambda _: None, keep=0, grace=0, by="me@x", **how)
    return objects(nodes.registry)


def objects(registry: Path) -> list[str]:
    return sorted(path.name for path in (registry / agent.OBJECTS).iterdir())


def registries(nodes: FakeNodes) -> list[Path]:
    return [nodes.registry, *(nodes.root / node / "registry" for node in ("c1", "c2"))]


def tree(nodes: FakeNodes) -> str:
    """A hash of every path, its kind, mode, inode and bytes, on all machines, and of the log."""
    total = hashlib.sha256()
    for top in (*registries(nodes), Path(nodes.settings.sync.log)):
        for path in sorted([top, *top.rglob("*")]):
            with suppress(FileNotFoundError):
                found = path.lstat()
                total.update(f"{path} {found.st_mode} {found.st_ino} {found.st_nlink}".encode())
                total.update(path.read_bytes() if path.is_file() else b"")
    return total.hexdigest()


def test_a_removed_image_has_no_name_anywhere_and_keeps_its_bytes(nodes: FakeNodes) -> None:
    digest = deploy(nodes)
    (told,) = take_away(nodes)
    assert isinstance(told, ImagesRemoved)
    assert told.names == {NAME: digest}
    assert now() < told.until <= now(DAY)
    assert bring(nodes)[0] == {"c1": ("synced", [NAME]), "c2": ("synced", [NAME])}
    for registry in registries(nodes):
        assert not (registry / NAME).exists()
        assert objects(registry) == [digest]
        assert (registry / agent.CATALOG).read_text() == (nodes.registry / agent.CATALOG).read_text()
    assert bring(nodes)[0] == {"c1": ("unchanged", None), "c2": ("unchanged", None)}


def test_gc_keeps_the_bytes_until_their_time_and_then_restore_says_when_they_went(nodes: FakeNodes) -> None:
    digest = deploy(nodes)
    take_away(nodes)
    bring(nodes)
    assert collect(nodes) == [digest]
    assert objects(nodes.root / "c1/registry") == [digest]
    remove.restore(nodes.settings, NAME, None)
    bring(nodes)
    take_away(nodes, after=0)
    bring(nodes)
    assert collect(nodes, dry_run=True) == [digest]
    assert not nodes.catalog().removed[NAME].freed, "a dry run lets go of nothing"
    assert collect(nodes) == []
    assert objects(nodes.root / "c1/registry") == []
    with pytest.raises(UsageError, match=rf"{NAME}: its bytes are gone: removed at .* by me@x, freed by the gc of 20"):
        remove.restore(nodes.settings, NAME, None)


def test_a_restored_image_is_as_before(nodes: FakeNodes) -> None:
    first, second = deploy(nodes, b"1"), deploy(nodes, b"2")
    before = nodes.catalog().images[NAME]
    take_away(nodes)
    bring(nodes)
    assert remove.restore(nodes.settings, NAME, None).digest == second
    assert bring(nodes)[0] == {"c1": ("synced", None), "c2": ("synced", None)}
    assert nodes.catalog().images[NAME] == before
    assert nodes.catalog().removed == {}
    assert all((registry / NAME).samefile(registry / agent.OBJECTS / second) for registry in registries(nodes))
    take_away(nodes)
    assert remove.restore(nodes.settings, NAME, first[:8]).digest == first
    assert [one.digest for one in nodes.catalog().images[NAME].history()] == [first, second]


def test_what_cannot_be_removed_or_restored_is_said_and_nothing_is_done(nodes: FakeNodes) -> None:
    digest = deploy(nodes)
    text = (nodes.registry / agent.CATALOG).read_text()
    with pytest.raises(UsageError, match=f"^{OTHER} is not in the catalog"):
        take_away(nodes, NAME, OTHER)
    with pytest.raises(UsageError, match="it was not removed"):
        remove.restore(nodes.settings, NAME, None)
    assert (nodes.registry / agent.CATALOG).read_text() == text
    take_away(nodes)
    with pytest.raises(UsageError, match=r"was removed already, at 20.* by me@x"):
        take_away(nodes)
    (nodes.registry / agent.OBJECTS / digest).write_bytes(b"damaged")
    with pytest.raises(CommandFailed, match="are gone or damaged here") as caught:
        remove.restore(nodes.settings, NAME, None)
    assert caught.value.exit_code == 4
    assert NAME in nodes.catalog().removed


def test_a_node_that_was_away_loses_the_name_at_its_next_sync(nodes: FakeNodes) -> None:
    deploy(nodes)
    nodes.trouble("c2", "refused")
    take_away(nodes)
    assert bring(nodes, NAME)[0] == {"c1": ("synced", [NAME]), "c2": ("unreachable", None)}
    (nodes.root / "c2/trouble").unlink()
    assert bring(nodes)[0] == {"c1": ("unchanged", None), "c2": ("synced", [NAME])}
    assert not (nodes.root / "c2/registry" / NAME).exists()


def test_a_node_that_was_away_until_the_bytes_had_gone_loses_the_name(nodes: FakeNodes) -> None:
    digest = deploy(nodes)
    nodes.trouble("c2", "refused")
    take_away(nodes, after=0)
    bring(nodes)
    collect(nodes)
    assert nodes.catalog().removed[NAME].freed
    (nodes.root / "c2/trouble").unlink()
    assert bring(nodes)[0]["c2"] == ("synced", [NAME])
    collect(nodes)
    assert objects(nodes.root / "c2/registry") == [], digest


@pytest.mark.parametrize("machine", ["c1/registry", "controller"])
def test_a_foreign_file_under_the_name_is_left_and_said(nodes: FakeNodes, machine: str) -> None:
    deploy(nodes)
    file = nodes.root / machine / NAME
    file.unlink()
    file.write_bytes(b"mine")
    said = [one.message for one in [*take_away(nodes), *bring(nodes)[1]] if isinstance(one, Noticed)]
    where = "controller" if machine == "controller" else "c1"
    assert [one for one in said if one.startswith(f"{NAME} on {where} is no version that was removed")]
    assert file.read_bytes() == b"mine"


def test_deploying_again_ends_it(nodes: FakeNodes) -> None:
    first = deploy(nodes, b"1")
    take_away(nodes)
    bring(nodes)
    second = deploy(nodes, b"2")
    catalog = nodes.catalog()
    assert catalog.removed == {}
    assert [one.digest for one in catalog.images[NAME].history()] == [second, first], "a rollback goes back to it"
    assert all((registry / NAME).exists() for registry in registries(nodes))


def test_a_removal_that_is_killed_is_done_or_mended_by_the_next_sync(nodes: FakeNodes) -> None:
    nodes.publish(NAME, b"1")
    text = (nodes.registry / agent.CATALOG).read_text()
    points = halves = 0

    def work() -> None:
        take_away(nodes)

    while killed_at(points, work):
        points += 1
        told: list[Event] = []
        gone = NAME in nodes.catalog().removed
        assert gone or (nodes.registry / NAME).exists(), "the catalog is the first to change"
        halves += gone and (nodes.registry / NAME).exists()
        follow_catalog(nodes.settings, told.append)
        assert (nodes.registry / NAME).exists() != gone
        follow_catalog(nodes.settings, told.append)
        assert len(told) <= 1
        (nodes.registry / agent.CATALOG).write_text(text)
        follow_catalog(nodes.settings, told.append)
        assert (nodes.registry / NAME).exists()
    assert points > len(CALLS)
    assert halves > 0
    assert not (nodes.registry / NAME).exists()


def test_a_dry_run_changes_nothing_and_says_what_would_be(nodes: FakeNodes) -> None:
    first, second = deploy(nodes, b"1"), deploy(nodes, b"2")
    deploy(nodes, b"3", OTHER)
    nodes.publish(OTHER, b"4")
    take_away(nodes, OTHER)
    remove.restore(nodes.settings, OTHER, None)
    nodes.publish("ml-frameworks/new.sif", b"5")
    (nodes.registry / "ml-frameworks/new.sif").unlink()
    before = tree(nodes)
    done = start(nodes, "sync", "--dry-run")
    assert done.returncode == 0, done.stderr
    assert "c1 would get base-images/y.sif, ml-frameworks/new.sif" in done.stdout
    done = start(nodes, "rollback", NAME, "--dry-run")
    assert f"{NAME} would mean version {first[:12]}" in done.stdout
    assert f"c1 would get {NAME} (its bytes are there)" in done.stdout
    done = start(nodes, "remove", NAME, "--dry-run")
    assert f"{NAME} would go out of the catalog and from the controller, the bytes kept until 20" in done.stdout
    assert f"c1 would lose the name {NAME}" in done.stdout
    assert start(nodes, "remove", "ml-frameworks/none.sif", "--dry-run").returncode == 2
    assert tree(nodes) == before
    assert start(nodes, "remove", NAME).returncode == 0
    assert tree(nodes) != before
    before = tree(nodes)
    done = start(nodes, "restore", NAME, "--dry-run")
    assert f"again, version {second[:12]}" in done.stdout
    assert f"c1 would get {NAME} (its bytes are there)" in done.stdout
    assert tree(nodes) == before


def test_a_dry_run_can_assume_what_is_not_published_yet(nodes: FakeNodes) -> None:
    digest = deploy(nodes)
    before = tree(nodes)
    new = {NAME: {"digest": digest, "size": 1}, OTHER: {"digest": "e" * 64, "size": 2_000_000}}
    done = start(nodes, "sync", "--dry-run", "--name", OTHER, "--assume", json.dumps(new))
    assert done.returncode == 0, done.stderr
    assert f"c1 would get {OTHER} (2.0 MB by " in done.stdout
    for name, odd in (("../x", digest), (OTHER, "../x")):
        assume = json.dumps({name: {"digest": odd, "size": 1}})
        assert start(nodes, "sync", "--dry-run", "--assume", assume).returncode == 2
    assert tree(nodes) == before


def test_the_commands_are_in_the_history_with_their_digests(nodes: FakeNodes) -> None:
    digest = deploy(nodes)
    for words in (("remove", NAME, "--by", "me@x"), ("restore", NAME)):
        done = start(nodes, *words)
        assert done.returncode == 0, done.stderr
    lines = (nodes.registry / ".registry/history.jsonl").read_text().splitlines()
    records = [json.loads(line) for line in lines if '"begun"' not in line]
    assert [(one["command"], one.get("before"), one.get("after")) for one in records] == [
        ("remove", digest, None),
        ("restore", None, digest),
    ]
    assert "bytes kept until 20" in records[0]["detail"]
    assert records[0]["done"] == "c[1-2]"


def test_a_workstation_hears_it_all(nodes: FakeNodes) -> None:
    """As JSON lines: of a real removal and of one that is only thought of."""
    deploy(nodes)
    for words in (["remove", NAME, "--dry-run"], ["remove", NAME], ["restore", NAME, "--dry-run"], ["restore", NAME]):
        done = start(nodes, "--json", *words)
        assert done.returncode == 0, done.stderr
        events = [from_line(line) for line in done.stdout.splitlines()]
        assert isinstance(events[-1], SyncFinished), words
        ended = {event.node: event for event in events if isinstance(event, NodeFinished)}
        assert list(ended) == ["c1", "c2"] or list(ended) == ["c2", "c1"]
        assert {event.state for event in ended.values()} == {"planned" if "--dry-run" in words else "synced"}
        assert ended["c1"].removed == ([NAME] if words[0] == "remove" else None)
        kinds = (Planned, ImagesRemoved, ImageRestored)
        said = [event for event in events if isinstance(event, kinds)]
        logins = [Planned("2 logins, one a node")] if "--dry-run" in words else []
        assert said[1:] == logins


def test_who_uses_a_removed_image_is_named(nodes: FakeNodes) -> None:
    deploy(nodes)
    with (nodes.root / "c1/registry" / NAME).open("rb"):
        done = start(nodes, "remove", NAME, env={**os.environ, "SLURM_JOB_ID": "1"})
    assert done.returncode == 0, done.stderr
    assert f"NOTE: {NAME}: " in done.stdout
    assert "has it open on c1; it keeps its bytes" in done.stdout or "runs from it on c1; it keeps" in done.stdout
