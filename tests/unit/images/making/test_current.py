"""Which SIF `convert all` leaves as it is: one of the image that is there now."""

from __future__ import annotations

from pathlib import Path

import pytest

from pytest_hpcregistry.images.definitions.definition import REVISION, SOURCE, Definition, read
from pytest_hpcregistry.images.making.build import BASE
from pytest_hpcregistry.images.making.current import is_current
from pytest_hpcregistry.testing.sif import Sif, label_object, system_partition
from tests.fakes.podman import Stand
from tests.unit.images.definitions.test_definition import define
from tests.unit.images.making.test_build import BASE as ON_DEBIAN

DEBIAN = "docker.io/library/debian:trixie"


@pytest.fixture
def built(stand: Stand, tmp_path: Path) -> Definition:
    """The definition of an image with the ID bbb…, built on a base with the ID aaa…"""
    stand.keep("images", {DEBIAN: ""})
    stand.keep("ids", {"x:latest": "b"})
    definition = read(define(tmp_path, ON_DEBIAN))
    stand.builder().build(definition)
    return definition


def sif_with(tmp_path: Path, **labels: str) -> Path:
    names = {"revision": REVISION, "source": SOURCE, "base": BASE}
    path = tmp_path / "x.sif"
    found = label_object({names[name]: value for name, value in labels.items()})
    path.write_bytes(Sif(parts=(found, system_partition())).to_bytes())
    return path


def digest(letter: str) -> str:
    return "sha256:" + letter * 64


def test_a_sif_of_this_image(built: Definition, tmp_path: Path) -> None:
    assert is_current(sif_with(tmp_path, revision=built.revision(), source=digest("b")), built)


def test_a_sif_of_another_revision(built: Definition, tmp_path: Path) -> None:
    assert not is_current(sif_with(tmp_path, revision="0" * 64, source=digest("b")), built)


def test_no_sif(built: Definition, tmp_path: Path) -> None:
    assert not is_current(tmp_path / "gone.sif", built)
    sif_with(tmp_path).write_text("no SIF")
    assert not is_current(tmp_path / "x.sif", built)


def test_an_image_that_was_built_on_another_base(stand: Stand, built: Definition, tmp_path: Path) -> None:
    """Of the same revision it is another image, by its ID or, where the SIF does not tell its source, by its base."""
    without = sif_with(tmp_path, revision=built.revision(), base=digest("a")).rename(tmp_path / "without.sif")
    path = sif_with(tmp_path, revision=built.revision(), source=digest("b"), base=digest("a"))
    assert is_current(path, built)
    assert is_current(without, built)
    stand.keep("ids", {DEBIAN: "c", "x:latest": "d"})
    assert stand.builder().build(built).fresh
    assert not is_current(path, built)
    assert not is_current(without, built)


def test_an_image_that_is_not_there_any_more(stand: Stand, built: Definition, tmp_path: Path) -> None:
    """Nothing newer is there to be converted."""
    path = sif_with(tmp_path, revision=built.revision(), source=digest("e"))
    assert not is_current(path, built)
    stand.keep("images", {})
    assert is_current(path, built)
