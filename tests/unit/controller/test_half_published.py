"""A publish or a rollback that ends half-way: name and catalog agree, or a sync lets the name follow the catalog."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from pytest_hpcregistry import agent
from pytest_hpcregistry.controller import publish as registry
from pytest_hpcregistry.controller.follow import follow_catalog
from pytest_hpcregistry.controller.sync import sync
from pytest_hpcregistry.core.errors import CheckFailed, HpcRegistryError, UsageError
from pytest_hpcregistry.core.events import Event, Noticed
from tests.fakes.nodes import FakeNodes
from tests.unit.agent.test_crash_points import CALLS, killed_at

NAME = "ml-frameworks/x.sif"


@pytest.fixture
def nodes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeNodes:
    found = FakeNodes(tmp_path, "c1")
    found.use(monkeypatch)
    return found


def meant(nodes: FakeNodes) -> tuple[str | None, str | None]:
    """The digests that the name and the catalog mean on the controller."""
    objects = {path.stat().st_ino: path.name for path in (nodes.registry / agent.OBJECTS).iterdir()}
    name, entry = nodes.registry / NAME, nodes.catalog().images.get(NAME)
    return objects[name.stat().st_ino] if name.is_file() else None, entry.digest if entry else None


def leftovers(nodes: FakeNodes) -> list[str]:
    places = [nodes.registry / ".registry", (nodes.registry / NAME).parent]
    return [path.name for place in places for path in place.iterdir() if path.name.startswith(".")]


def follow(nodes: FakeNodes) -> list[Event]:
    told: list[Event] = []
    follow_catalog(nodes.settings, told.append)
    return told


def failing(call: str, on: Callable[..., bool], code: int) -> Callable[..., Any]:
    real = getattr(os, call)

    def fail(*arguments: Any, **more: Any) -> Any:
        if on(*arguments):
            raise OSError(code, os.strerror(code))
        return real(*arguments, **more)

    return fail


CATALOG_IS_FULL = ("open", lambda path, *_: str(path).startswith(".catalog.yaml."), errno.ENOSPC)
NO_SECOND_NAME = ("link", lambda _, to, *__: str(to).startswith(".catalog.yaml."), errno.ENOSPC)
CATALOG_STAYS = ("rename", lambda _, to, *__: to == "catalog.yaml", errno.EIO)
NO_LINK = ("link", lambda _, to, *__: str(to).startswith(".x.sif"), errno.EMLINK)
NAME_STAYS = ("rename", lambda _, to, *__: to == "x.sif", errno.EIO)
FAULTS = [CATALOG_IS_FULL, NO_SECOND_NAME, CATALOG_STAYS, NO_LINK, NAME_STAYS]


@pytest.mark.parametrize("again", [False, True], ids=["new", "again"])
@pytest.mark.parametrize(("call", "on", "code"), FAULTS)
def test_a_publish_that_fails_has_changed_nothing_and_says_so(
    nodes: FakeNodes, call: str, on: Any, code: int, again: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if again:
        nodes.publish(NAME, b"1")
    before, text = meant(nodes), (nodes.registry / agent.CATALOG).read_text()
    with monkeypatch.context() as patch, pytest.raises(HpcRegistryError) as caught:
        patch.setattr(os, call, failing(call, on, code) if call != "rename" else once(failing(call, on, code), on))
        nodes.publish(NAME, b"2")
    assert caught.value.exit_code == 4
    assert str(caught.value) == (
        f"controller: {os.strerror(code)}: {NAME} means what it meant before, there and in the catalog"
    )
    assert meant(nodes) == before
    assert (nodes.registry / agent.CATALOG).read_text() == text
    assert leftovers(nodes) == []
    assert meant(nodes)[0] != nodes.publish(NAME, b"2") == meant(nodes)[0] == meant(nodes)[1]


def once(fail: Callable[..., Any], on: Callable[..., bool]) -> Callable[..., Any]:
    """Fails the first time only, so that the catalog can be put back."""
    real, left = os.rename, [1]

    def call(*arguments: Any, **more: Any) -> Any:
        if on(*arguments) and left and left.pop():
            return fail(*arguments, **more)
        return real(*arguments, **more)

    return call


def test_a_directory_in_the_names_place(nodes: FakeNodes) -> None:
    (nodes.registry / NAME / "in the way").mkdir(parents=True)
    with pytest.raises(HpcRegistryError, match="is a directory there: move it away"):
        nodes.publish(NAME, b"1")
    assert nodes.catalog().images == {}
    assert leftovers(nodes) == []


def test_a_rollback_that_fails_has_changed_nothing(nodes: FakeNodes, monkeypatch: pytest.MonkeyPatch) -> None:
    nodes.publish(NAME, b"1")
    nodes.publish(NAME, b"2")
    before = meant(nodes)
    for call, on, code in (CATALOG_IS_FULL, NO_LINK):
        with monkeypatch.context() as patch, pytest.raises(HpcRegistryError, match="means what it meant before"):
            patch.setattr(os, call, failing(call, on, code))
            registry.rollback(nodes.settings, NAME, None)
        assert meant(nodes) == before
        assert leftovers(nodes) == []


def test_a_name_that_changed_in_spite_of_a_failure_keeps_its_catalog(
    nodes: FakeNodes, monkeypatch: pytest.MonkeyPatch
) -> None:
    nodes.publish(NAME, b"1")
    before = meant(nodes)
    changed: list[bool] = []
    real_rename, real_sync = os.rename, os.fsync

    def rename(source: Any, target: Any, **more: Any) -> None:
        real_rename(source, target, **more)
        changed.append(target == "x.sif")

    def fsync(descriptor: int) -> None:
        if changed[-1:] == [True]:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        real_sync(descriptor)

    with monkeypatch.context() as patch, pytest.raises(OSError, match="Input/output error"):
        patch.setattr(os, "rename", rename)
        patch.setattr(os, "fsync", fsync)
        nodes.publish(NAME, b"2")
    name, catalog = meant(nodes)
    assert name == catalog != before[0]
    assert leftovers(nodes) == []


def test_a_catalog_that_cannot_be_put_back_is_said_and_a_sync_mends_it(
    nodes: FakeNodes, monkeypatch: pytest.MonkeyPatch
) -> None:
    nodes.publish(NAME, b"1")
    with monkeypatch.context() as patch, pytest.raises(HpcRegistryError) as caught:
        real, seen = os.rename, list[str]()

        def rename(source: Any, target: Any, **more: Any) -> None:
            if "catalog.yaml" in seen and target in ("x.sif", "catalog.yaml"):
                raise OSError(errno.EIO, "it broke")
            seen.append(target)
            real(source, target, **more)

        patch.setattr(os, "rename", rename)
        nodes.publish(NAME, b"2")
    assert "the catalog is new and the image's name is not" in str(caught.value)
    assert caught.value.hint == "hpc-container-manager sync lets the name follow the catalog"
    name, catalog = meant(nodes)
    assert name != catalog
    sync(nodes.settings, None, None, lambda _: None)
    assert meant(nodes) == (catalog, catalog)


@pytest.mark.parametrize("what", ["first", "publish", "rollback"])
def test_a_sync_mends_what_a_kill_left(nodes: FakeNodes, what: str) -> None:
    def work() -> None:
        if what == "rollback":
            registry.rollback(nodes.settings, NAME, None)
        else:
            nodes.publish(NAME, b"3")

    if what != "first":
        nodes.publish(NAME, b"1")
        nodes.publish(NAME, b"2")
    catalog, name = (nodes.registry / agent.CATALOG).read_text(), meant(nodes)
    points, halves = 0, 0
    while killed_at(points, work):
        points += 1
        found = meant(nodes)
        if found[0] != found[1]:
            halves += 1
            assert found[0] == name[0], "the catalog is the first to change"
            (said,) = follow(nodes)
            assert isinstance(said, Noticed)
            assert f"{NAME} on the controller was not the catalog's version {str(found[1])[:12]}" in said.message
            assert said.message.endswith("it is now")
        assert meant(nodes)[0] == meant(nodes)[1]
        assert follow(nodes) == []
        (nodes.registry / agent.CATALOG).write_text(catalog)
        for path in (nodes.registry / ".registry").glob(".catalog.yaml.*"):
            path.unlink()
        if name[0] is None:
            (nodes.registry / NAME).unlink(missing_ok=True)
        else:
            follow(nodes)
        with suppress(FileNotFoundError):
            (nodes.registry / agent.LOCK).unlink()
    assert points > len(CALLS)
    assert halves > 0
    assert meant(nodes)[0] == meant(nodes)[1] != name[1]


def test_a_file_that_somebody_put_there_is_left(nodes: FakeNodes) -> None:
    """Nobody else may have its bytes."""
    nodes.publish(NAME, b"1")
    (nodes.registry / NAME).unlink()
    (nodes.registry / NAME).write_bytes(b"mine")
    assert follow(nodes) == []
    assert (nodes.registry / NAME).read_bytes() == b"mine"


def test_a_name_without_its_object_is_left(nodes: FakeNodes) -> None:
    digest = nodes.publish(NAME, b"1")
    (nodes.registry / NAME).unlink()
    (nodes.registry / agent.OBJECTS / digest).write_bytes(b"short")
    assert follow(nodes) == []
    (nodes.registry / agent.OBJECTS / digest).unlink()
    assert follow(nodes) == []
    assert not (nodes.registry / NAME).exists()


def test_a_name_that_cannot_follow_is_said_and_the_sync_goes_on(nodes: FakeNodes) -> None:
    nodes.publish(NAME, b"1")
    (nodes.registry / NAME).unlink()
    (nodes.registry / NAME).parent.rmdir()
    (said,) = follow(nodes)
    assert isinstance(said, Noticed)
    assert "and cannot be made so: No such file or directory" in said.message
    assert sync(nodes.settings, None, None, lambda _: None)["c1"].state == "synced"


def test_a_catalog_that_would_be_too_large_is_refused_before_anything(
    nodes: FakeNodes, monkeypatch: pytest.MonkeyPatch
) -> None:
    nodes.publish(NAME, b"1")
    before = meant(nodes)
    monkeypatch.setattr("pytest_hpcregistry.controller.catalog.MOST_OBJECTS", 1)
    with pytest.raises(UsageError, match="more than 1 versions") as caught:
        nodes.publish(NAME, b"2")
    assert "gc --keep 1" in caught.value.hint
    assert meant(nodes) == before


def test_a_signature_that_is_missing_changes_nothing(nodes: FakeNodes) -> None:
    nodes.publish(NAME, b"1")
    nodes.publish(NAME, b"2")
    before, text = meant(nodes), (nodes.registry / agent.CATALOG).read_text()
    (nodes.registry / ".registry/config.yaml").write_text('registry:\n  signatures: "require"\n')
    with pytest.raises(CheckFailed, match="is not signed"):
        registry.rollback(nodes.settings, NAME, None)
    assert meant(nodes) == before
    assert (nodes.registry / agent.CATALOG).read_text() == text
