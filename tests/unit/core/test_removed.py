"""Removed images in the catalog: read as written, passed over by programs of before, and forgotten in time."""

from __future__ import annotations

import json
from typing import Any

import pytest

from pytest_hpcregistry.core import documents
from pytest_hpcregistry.core.catalog import Catalog, from_data, from_text
from pytest_hpcregistry.core.errors import ConfigError
from pytest_hpcregistry.testing.facts import DIGEST, NAME, OTHER, entry

KEPT = "base-images/y.sif"
THEN, UNTIL, LATER = "2026-11-01T00:00:00Z", "2026-11-15T00:00:00Z", "2026-11-15T00:00:01Z"


@pytest.fixture
def gone() -> Catalog:
    full = Catalog({KEPT: entry("c" * 64)}).with_version(NAME, entry(OTHER), 2).with_version(NAME, entry(DIGEST), 2)
    return full.with_removed([NAME], now=THEN, by="me@x", until=UNTIL)


def test_it_survives_its_file(gone: Catalog) -> None:
    assert from_text(gone.to_text(), "c") == gone
    assert from_data(documents.load(gone.to_text(), "c"), "c") == gone
    assert Catalog(gone.images).to_text() == from_text(Catalog(gone.images).to_text(), "c").to_text()
    assert "removed" not in Catalog(gone.images).to_text(), "a catalog without any is as it was"


def test_a_program_of_before_finds_the_others_as_they_are(gone: Catalog) -> None:
    """It reads `version` and `images`, and nothing else."""
    data = json.loads(gone.to_text())
    assert data["version"] == "1"
    assert list(data["images"]) == [KEPT]


def test_its_bytes_are_kept_and_nobody_must_have_them(gone: Catalog) -> None:
    assert gone.current() == ["c" * 64]
    assert gone.digests() == [DIGEST, OTHER, "c" * 64]


def test_it_is_let_go_when_its_time_has_come_and_remembered_for_some_years(gone: Catalog) -> None:
    assert gone.trimmed(0, "2026-11-14T23:59:59Z").removed == gone.removed
    freed = gone.trimmed(0, LATER)
    assert freed.digests() == ["c" * 64]
    assert freed.removed[NAME].freed == LATER
    assert freed.removed[NAME].digests() == [DIGEST, OTHER]
    assert freed.trimmed(0, "2028-12-31T00:00:00Z") == freed
    assert freed.trimmed(0, "2029-01-01T00:00:00Z").removed == {}
    assert from_text(freed.to_text(), "c") == freed


def test_publishing_the_name_again_ends_it(gone: Catalog) -> None:
    new = entry("d" * 64)
    assert gone.with_version(NAME, new, 2).removed == {}
    assert [one.digest for one in gone.with_version(NAME, new, 2).images[NAME].history()] == ["d" * 64, DIGEST, OTHER]
    freed = gone.trimmed(0, LATER).with_version(NAME, new, 2)
    assert [one.digest for one in freed.images[NAME].history()] == ["d" * 64], "of these there are no bytes"


@pytest.mark.parametrize(
    ("change", "mistake"),
    [
        ({"until": "soon"}, "until 'soon' is not in its form"),
        ({"removed": None}, "removed None is not in its form"),
        ({"by": 7}, "by 7 is not in its form"),
        ({"freed": "x"}, "freed 'x' is not in its form"),
        ({"image": {"digest": "x"}}, "is not SHA-256"),
    ],
)
def test_a_mistake_is_named(gone: Catalog, change: dict[str, Any], mistake: str) -> None:
    data = json.loads(gone.to_text())
    data["removed"][NAME].update(change)
    with pytest.raises(ConfigError, match=mistake):
        from_data(data, "c")
    data["removed"] = [NAME]
    with pytest.raises(ConfigError, match="removed must be a mapping of names"):
        from_data(data, "c")


def test_no_name_is_both(gone: Catalog) -> None:
    data = json.loads(gone.to_text())
    data["images"][NAME] = data["removed"][NAME]["image"]
    with pytest.raises(ConfigError, match=f"{NAME}: in images and in removed"):
        from_data(data, "c")
