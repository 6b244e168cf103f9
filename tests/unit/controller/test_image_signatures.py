"""Where images must be signed themselves: what gets no name on the controller, and what a later look reports.

Apptainer's verdict is made up here; tests/lab/test_image_signatures.py has the real one.
"""

from __future__ import annotations

import io
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from pytest_hpcregistry import agent
from pytest_hpcregistry.controller import image_signatures
from pytest_hpcregistry.controller import publish as registry
from pytest_hpcregistry.core.errors import CheckFailed, Undetermined
from pytest_hpcregistry.core.settings import Settings
from pytest_hpcregistry.testing.sif import Sif, system_partition
from pytest_hpcregistry.transports import apptainer
from tests.fakes.registry import digest, names_in
from tests.fakes.settings import change, make_settings

NAME = "ml-frameworks/x.sif"
KEYS = ("a key",)
GOOD, OTHER, BAD = (Sif((system_partition(content=text),)).to_bytes() for text in (b"good", b"other", b"bad"))


class Verdicts:
    """Apptainer, which refuses *refused* bytes, and keeps what it was asked."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *refused: bytes) -> None:
        self.refused, self.asked = list(refused), list[tuple[str, tuple[str, ...]]]()
        monkeypatch.setattr(apptainer, "verify", self.verify)

    def verify(self, path: Path, keys: Any, where: str) -> None:
        assert where == "controller"
        self.asked.append((path.parent.name, tuple(keys)))
        if path.read_bytes() in self.refused:
            raise CheckFailed("is refused")


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    for directory in ("ml-frameworks", agent.OBJECTS, agent.STAGING):
        (tmp_path / directory).mkdir(parents=True, mode=0o700 if directory == agent.STAGING else 0o755)
    (tmp_path / agent.CATALOG).write_text("version: 1\nimages: {}\n")
    # The agent's own look goes by config.yaml, which is not there: it is no part of this.
    return make_settings(tmp_path, directories=("ml-frameworks",), signatures="require", image_keys=KEYS)


def publish(settings: Settings, data: bytes, name: str = NAME) -> None:
    words = {"by": "", "architecture": "amd64", "source": "", "labels": {}}
    registry.receive(settings.registry.path, digest(data), len(data), io.BytesIO(data))
    registry.publish(settings, {"name": name, "digest": digest(data), "size": len(data), **words})


def objects(settings: Settings) -> list[str]:
    return names_in(Path(settings.registry.path, agent.OBJECTS))


def test_what_is_refused_gets_no_name_and_leaves_nothing(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    verdicts = Verdicts(monkeypatch, BAD)
    with pytest.raises(CheckFailed, match="is refused"):
        publish(settings, BAD)
    assert not Path(settings.registry.path, NAME).exists()
    assert objects(settings) == []
    assert names_in(Path(settings.registry.path, agent.STAGING)) == []
    publish(settings, GOOD)
    assert Path(settings.registry.path, NAME).read_bytes() == GOOD
    assert verdicts.asked == [("staging", KEYS), ("staging", KEYS)]


@pytest.mark.parametrize("other", [{"signatures": "warn"}, {"image_keys": ()}, {"signatures": "off"}])
def test_where_it_is_not_required_nobody_is_asked(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, other: dict[str, Any]
) -> None:
    verdicts = Verdicts(monkeypatch, BAD)
    publish(change(settings, **other), BAD)
    assert verdicts.asked == []


def test_bytes_that_are_here_already_are_looked_at_for_another_name(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    publish(change(settings, signatures="off"), BAD, "ml-frameworks/y.sif")
    verdicts = Verdicts(monkeypatch, BAD)
    with pytest.raises(CheckFailed, match="is refused"):
        publish(settings, BAD)
    assert not Path(settings.registry.path, NAME).exists()
    assert objects(settings) == [digest(BAD)]
    assert {place for place, _ in verdicts.asked} <= {"staging", "sha256"}


def test_a_name_that_means_these_bytes_needs_none(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    """So that a name can be signed anew (`sign --all`) after a key of the image has gone."""
    publish(change(settings, signatures="off"), BAD)
    verdicts = Verdicts(monkeypatch, BAD)
    publish(settings, BAD)
    assert verdicts.asked == []


def test_a_file_that_was_put_in_its_place_meanwhile_is_looked_at_as_well(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The verdict is on a path; what is published is what has the digest."""
    verdicts = Verdicts(monkeypatch, BAD)
    staged = Path(settings.registry.path, agent.STAGING, digest(BAD))

    def swap(path: Path, keys: Any, where: str) -> None:
        monkeypatch.setattr(apptainer, "verify", verdicts.verify)
        assert path == staged
        path.unlink()
        path.write_bytes(BAD)

    monkeypatch.setattr(apptainer, "verify", swap)
    with pytest.raises(CheckFailed, match="is refused"):
        publish(settings, BAD)
    assert verdicts.asked == [("sha256", KEYS)]
    assert not Path(settings.registry.path, NAME).exists()


def test_a_rollback_to_what_is_not_signed_any_more_is_refused(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    verdicts = Verdicts(monkeypatch)
    publish(settings, OTHER)
    publish(settings, GOOD)
    verdicts.refused.append(OTHER)
    with pytest.raises(CheckFailed, match="is refused"):
        registry.rollback(settings, NAME, None)
    assert Path(settings.registry.path, NAME).read_bytes() == GOOD
    verdicts.refused.clear()
    registry.rollback(settings, NAME, None)
    assert Path(settings.registry.path, NAME).read_bytes() == OTHER


def test_a_later_look_names_what_is_refused_and_what_is_not_known(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    unsigned = change(settings, signatures="off")
    for name, data in {"bad": BAD, "good": GOOD, "odd": OTHER}.items():
        publish(unsigned, data, f"ml-frameworks/{name}.sif")

    def verify(path: Path, keys: Any, where: str) -> None:
        assert keys == ["theirs"]
        if path.name == digest(BAD):
            raise CheckFailed("is refused\x1b[2J")
        if path.name == digest(OTHER):
            raise Undetermined("no answer", where="controller")

    monkeypatch.setattr(apptainer, "verify", verify)
    names = [f"ml-frameworks/{name}.sif" for name in ("bad", "good", "odd", "unknown")]
    found = image_signatures.look(settings.registry.path, names, ["theirs"])
    assert found.refused == {"ml-frameworks/bad.sif": "is refused\\x1b[2J"}
    assert found.unknown == {"ml-frameworks/odd.sif": "no answer"}


def test_a_damaged_image_is_refused_by_its_structure(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    publish(change(settings, signatures="off"), GOOD)
    Path(settings.registry.path, NAME).write_bytes(b"no SIF")
    found = image_signatures.look(settings.registry.path, [NAME], ["theirs"])
    assert "not a SIF image" in found.refused[NAME]


def test_settings_say_whether_it_is_required(settings: Settings) -> None:
    assert image_signatures.are_required(settings)
    assert not image_signatures.are_required(replace(settings, registry=replace(settings.registry, image_keys=())))
