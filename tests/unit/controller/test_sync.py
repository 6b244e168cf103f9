"""A sync from its question to its answer; the way between is in the tests of rollouts and engines."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from pytest_hpcregistry import agent
from pytest_hpcregistry.controller import sync as module
from pytest_hpcregistry.controller.limits import RSYNC, SESSION, Room
from pytest_hpcregistry.controller.lock import is_held
from pytest_hpcregistry.controller.outcome import Outcome
from pytest_hpcregistry.controller.sync import choose_images, in_words, sync
from pytest_hpcregistry.core.catalog import Catalog, Entry
from pytest_hpcregistry.core.errors import ConfigError, UsageError
from pytest_hpcregistry.core.events import Noticed
from pytest_hpcregistry.core.layout import SYNC_LOCK
from pytest_hpcregistry.core.machine import SlurmFacts
from pytest_hpcregistry.core.settings import Settings
from pytest_hpcregistry.testing.facts import entry
from pytest_hpcregistry.testing.listener import recorder
from tests.fakes.settings import change, make_settings

A, B, C = "ml-frameworks/a.sif", "ml-frameworks/b.sif", "custom-images/c.sif"
CATALOG = Catalog({A: entry("a" * 64), B: entry("b" * 64), C: entry("c" * 64)})
NODES = ("c2", "c1")


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    (tmp_path / ".registry").mkdir()
    (tmp_path / agent.CATALOG).write_text(CATALOG.to_text())
    directories = ("ml-frameworks", "custom-images", "custom")
    return make_settings(tmp_path, directories=directories, nodes=NODES, window=4)


class Rollouts:
    """In the place of Rollout: what it was given, and whether the sync's lock was held."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, room: Room) -> None:
        self.made: list[tuple[Any, ...]] = []
        self.run_with: list[Any] = []
        self.reckoned: list[Any] = []
        self.room = room
        monkeypatch.setattr(module, "Rollout", self.make)
        monkeypatch.setattr(module, "make_room", self.make_room)
        monkeypatch.setattr(module, "lost_images", lambda registry, wanted: [])  # nor are there any bytes

    def make_room(self, *words: Any, **how: Any) -> Room:
        self.reckoned.append((words, how))
        return self.room

    def make(self, settings: Settings, *words: Any, **how: Any) -> Rollouts:
        self.out_of_service = how.pop("out_of_service")
        assert how == {"repair": False, "gone": {}, "users": False}
        self.made.append((settings, *words))
        return self

    def run(self, nodes: Sequence[str], at_once: int) -> Mapping[str, Outcome]:
        held = is_held(Path(self.made[-1][0].registry.path, SYNC_LOCK))
        self.run_with.append((nodes, at_once, held))
        return {"c1": Outcome("synced"), "c2": Outcome("failed", message="c2: no")}


@pytest.fixture
def rollouts(monkeypatch: pytest.MonkeyPatch) -> Rollouts:
    return Rollouts(monkeypatch, Room(2, 3, "narrow"))


def test_a_sync_reads_the_catalog_and_goes_on_one_rollout(settings: Settings, rollouts: Rollouts) -> None:
    told: list[Any] = []
    outcomes = sync(settings, None, None, recorder(told))
    assert outcomes == {"c1": Outcome("synced"), "c2": Outcome("failed", message="c2: no")}
    text = Path(settings.registry.path, agent.CATALOG).read_text()
    ((used, what, wanted, catalog, listener),) = rollouts.made
    assert used == change(settings, window=3)
    assert (what, list(wanted), catalog) == ("all images", [C, A, B], (text, CATALOG))
    assert rollouts.run_with == [(["c1", "c2"], 2, True)]
    assert not is_held(Path(settings.registry.path, SYNC_LOCK))
    assert told == [
        {"event": "sync_started", "what": "all images", "nodes": ["c1", "c2"]},
        {"event": "noticed", "message": "narrow"},
        {"event": "sync_finished", "what": "all images", "states": {"c1": "synced", "c2": "failed"}},
    ]
    listener(Noticed("heard"))
    assert told[-1]["message"] == "heard"


def test_where_there_is_room_nothing_is_noticed(settings: Settings, rollouts: Rollouts) -> None:
    told: list[Any] = []
    rollouts.room = Room(2, 4)
    sync(settings, None, None, recorder(told))
    assert [event["event"] for event in told] == ["sync_started", "sync_finished"]


def test_what_slurm_does_not_count_on_need_not_answer(settings: Settings, rollouts: Rollouts) -> None:
    view = SlurmFacts(nodes={"c1": "drained", "c2": "idle", "c3": "down"}, reasons={"c1": '"disk swap" (root)'})
    sync(settings, None, None, lambda _: None, slurm=view)
    assert rollouts.out_of_service == {"c1": 'drained "disk swap" (root)', "c3": "down"}
    sync(settings, None, None, lambda _: None, slurm=SlurmFacts(error="no slurmctld"))
    assert rollouts.out_of_service == {}
    sync(change(settings, nodes=None), None, None, lambda _: None, slurm=view)
    assert [nodes for nodes, *_ in rollouts.run_with] == [["c1", "c2"], ["c1", "c2"], ["c1", "c2", "c3"]]


@pytest.mark.parametrize(
    ("subdirectory", "names", "what", "images"),
    [
        ("ml-frameworks", None, "ml-frameworks", [A, B]),
        (None, [B, C], f"{B}, {C}", [B, C]),
        (None, [], "all images", [C, A, B]),
        ("custom-images", [A], A, [A]),
    ],
)
def test_what_is_synced(
    settings: Settings,
    rollouts: Rollouts,
    subdirectory: str | None,
    names: list[str] | None,
    what: str,
    images: list[str],
) -> None:
    told: list[Any] = []
    sync(settings, subdirectory, names, recorder(told))
    assert rollouts.made[0][1] == told[0]["what"] == told[-1]["what"] == what
    assert list(rollouts.made[0][2]) == images


@pytest.mark.parametrize(("method", "files"), [("auto", 2), ("relay", 2), ("star", 0), ("shared", 0)])
def test_a_relay_has_all_images_open(settings: Settings, rollouts: Rollouts, method: str, files: int) -> None:
    sync(change(settings, method=method), "ml-frameworks", None, lambda event: None)
    assert rollouts.reckoned == [((2, 4), {"held": SESSION, "each": RSYNC, "files": files})]


@pytest.mark.parametrize(
    ("subdirectory", "names", "other", "says", "hint"),
    [
        ("..", None, {}, "'..' is not a directory of the registry", "ml-frameworks"),
        ("custom", None, {}, "the catalog has no image in custom/", "deploy one first"),
        (None, [A, "x"], {}, "x is not in the catalog", "catalog list"),
        (None, None, {"method": "pigeon"}, "there is no engine 'pigeon'", "star"),
    ],
)
def test_what_cannot_be_synced(
    settings: Settings, rollouts: Rollouts, subdirectory: str | None, names: list[str] | None, other: dict[str, Any],
    says: str, hint: str,
) -> None:  # fmt: skip
    told: list[Any] = []
    with pytest.raises(UsageError) as caught:
        sync(change(settings, **other), subdirectory, names, recorder(told))
    assert str(caught.value) == says
    assert hint in caught.value.hint
    assert (told, rollouts.made) == ([], [])


def test_an_empty_catalog(settings: Settings) -> None:
    with pytest.raises(UsageError) as caught:
        choose_images(Catalog(), settings, None, None)
    assert str(caught.value) == f"the catalog has no image in {settings.registry.path}"


def test_a_broken_catalog(settings: Settings, rollouts: Rollouts) -> None:
    path = Path(settings.registry.path, agent.CATALOG)
    path.write_text("{")
    with pytest.raises(ConfigError, match=str(path)):
        sync(settings, None, None, lambda event: None)
    assert rollouts.made == []


def test_an_image_is_wanted_as_the_catalog_has_it(settings: Settings) -> None:
    assert choose_images(CATALOG, settings, None, [C])[0] == {C: Entry(**vars(entry("c" * 64)))}


def test_an_image_that_is_to_go_is_not_brought() -> None:
    assert in_words(None, [A, "b"], {A: 1}) == f"{A}, b"
    assert in_words(None, [A, "b"], {}) == f"the removal of {A}, b"
    assert (in_words("custom", None, {}), in_words(None, None, {})) == ("custom", "all images")
