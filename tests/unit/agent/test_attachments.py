"""Beside objects: written as a whole or not at all, and gone with them."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import Any

import pytest

from pytest_hpcregistry import agent
from pytest_hpcregistry.agent import gc
from tests.fakes.registry import NEW, OLD, digest, make_registry, names_in, publish
from tests.unit.agent.test_crash_points import killed_at

PLACES = (agent.SBOMS, agent.SCANS)


@pytest.fixture
def registry(tmp_path: Path) -> Path:
    return make_registry(tmp_path / "registry")


def attach(registry: Path, image: bytes, data: bytes, place: str = agent.SBOMS) -> bool:
    with agent.locked(str(registry)) as root:
        return agent.attach(root, place, {"digest": digest(image), "size": len(image)}, data)


def collect(registry: Path, *keep: bytes, grace: int = 0, dry_run: bool = False) -> dict[str, Any]:
    digests = [digest(data) for data in keep]
    asked = {"catalog": None, "objects": [], "keep": digests, "names": ["ml-frameworks/x.sif"], "spare": []}
    answer: dict[str, Any] = gc.collect(str(registry), {**asked, "shared": False, "grace": grace, "dry_run": dry_run})
    return answer


def test_it_is_made_as_the_objects_are(registry: Path) -> None:
    publish(registry, OLD)
    (registry / agent.OBJECTS).chmod(0o750)
    old = os.umask(0o077)
    try:
        assert attach(registry, OLD, b"{}")
        assert attach(registry, OLD, b"[]"), "and replaced"
    finally:
        os.umask(old)
    path = registry / agent.SBOMS / f"{digest(OLD)}.json"
    assert path.read_bytes() == b"[]"
    assert names_in(registry / agent.SBOMS) == [path.name]
    assert stat.S_IMODE((registry / agent.SBOMS).stat().st_mode) == 0o750
    assert stat.S_IMODE(path.stat().st_mode) == 0o644


def test_nothing_is_kept_beside_what_is_not_there(registry: Path) -> None:
    assert not attach(registry, OLD, b"{}")
    assert not (registry / agent.SBOMS).exists()


@pytest.mark.parametrize("before", [None, b"the one before"])
def test_a_machine_that_dies_leaves_the_old_one_or_the_new(registry: Path, before: bytes | None) -> None:
    publish(registry, OLD)
    path = registry / agent.SBOMS / f"{digest(OLD)}.json"
    points, left = 0, 0
    while True:
        if before is not None:
            assert attach(registry, OLD, before)
        died = killed_at(points, lambda: attach(registry, OLD, b"the new one"))
        found = path.read_bytes() if path.exists() else None
        assert found in (before, b"the new one")
        beside = [name for name in names_in(path.parent) if name.startswith(".")] if path.parent.exists() else []
        left += len(beside)
        assert collect(registry, OLD, grace=3600)["debris"] == [], "it may be under way"
        assert collect(registry, OLD)["debris"] == beside
        if not died:
            break
        assert attach(registry, OLD, b"again")
        path.unlink()
        points += 1
    assert points > 5
    assert left > 0, "gc had something to do"


def test_a_full_disk_leaves_what_was_there(registry: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    publish(registry, OLD)
    attach(registry, OLD, b"before")

    def full(*arguments: Any) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "write", full)
    with pytest.raises(OSError, match="No space left"):
        attach(registry, OLD, b"after")
    assert names_in(registry / agent.SBOMS) == [f"{digest(OLD)}.json"]
    assert (registry / agent.SBOMS / f"{digest(OLD)}.json").read_bytes() == b"before"


def test_it_goes_with_its_object(registry: Path) -> None:
    publish(registry, OLD)
    publish(registry, NEW)
    for image in (OLD, NEW):
        for place in PLACES:
            attach(registry, image, b"12345", place)
    assert collect(registry, OLD, NEW)["attachments"] == [], "a rollback may want it"
    of_old = [f"{place}/{digest(OLD)}.json" for place in PLACES]
    would = collect(registry, NEW, dry_run=True)
    assert (would["objects"], would["attachments"], would["bytes"]) == ([digest(OLD)], of_old, len(OLD) + 10)
    assert all((registry / name).exists() for name in of_old)
    assert collect(registry, NEW, grace=3600)["attachments"] == [], "as long as the object stays"
    assert {**collect(registry, NEW), "debris": []} == {**would, "debris": []}
    for place in PLACES:
        assert names_in(registry / place) == [f"{digest(NEW)}.json"]


def test_an_object_that_is_in_use_keeps_its_sbom(registry: Path) -> None:
    publish(registry, OLD)
    publish(registry, NEW)
    attach(registry, OLD, b"{}")
    with (registry / agent.OBJECTS / digest(OLD)).open("rb"):
        assert collect(registry, NEW)["attachments"] == []
    assert collect(registry, NEW)["attachments"] == [f"{agent.SBOMS}/{digest(OLD)}.json"]


def test_one_that_lost_its_object_in_another_way_goes_too(registry: Path) -> None:
    publish(registry, OLD)
    attach(registry, OLD, b"{}")
    (registry / agent.OBJECTS / digest(OLD)).unlink()
    (registry / "ml-frameworks/x.sif").unlink()
    assert collect(registry)["attachments"] == [f"{agent.SBOMS}/{digest(OLD)}.json"]


def test_what_others_put_there_is_reported_and_left(registry: Path) -> None:
    publish(registry, OLD)
    attach(registry, OLD, b"{}")
    places = registry / agent.SBOMS
    strangers = ["notes.json", f"{digest(OLD)}.json.gz", f"{'A' * 64}.json"]
    for name in strangers:
        (places / name).write_text("{}")
    (places / f"{'1' * 64}.json").symlink_to("notes.json")
    (places / f"{'2' * 64}.json").mkdir()
    answer = collect(registry, OLD)
    strangers += [f"{'1' * 64}.json", f"{'2' * 64}.json"]
    assert answer["unmanaged"] == sorted(f"{agent.SBOMS}/{name}" for name in strangers)
    assert answer["attachments"] == []
    assert names_in(places) == sorted([*strangers, f"{digest(OLD)}.json"])


def test_a_registry_of_the_version_before_has_none(registry: Path) -> None:
    publish(registry, OLD)
    assert collect(registry, OLD)["attachments"] == []
    assert not any((registry / place).exists() for place in PLACES), "only a publish makes them"


def test_a_leftover_of_a_killed_write_is_debris(registry: Path) -> None:
    publish(registry, OLD)
    attach(registry, OLD, b"{}")
    (registry / agent.SBOMS / f".{digest(OLD)}.json.12").write_text("{")
    assert collect(registry, OLD)["debris"] == [f".{digest(OLD)}.json.12"]
