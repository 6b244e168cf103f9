"""The catalog: read as written, and every mistake of a broken one told at once."""

from __future__ import annotations

from typing import Any

import pytest

from pytest_hpcregistry.core import documents
from pytest_hpcregistry.core.catalog import Catalog, Entry, from_data
from pytest_hpcregistry.core.errors import ConfigError, UsageError
from pytest_hpcregistry.testing.facts import DIGEST, NAME, OTHER, entry

FIELDS: dict[str, Any] = {"digest": DIGEST, "size": "10", "published": "then", "by": "me", "architecture": "amd64"}


def test_a_catalog_survives_its_file() -> None:
    labels = {"org.example.version": "1.10", "yes": "no"}
    first = Catalog({NAME: entry(), "base-images/y.sif": Entry(OTHER, 5, "t", "me@x", "arm64", "docker://y", labels)})
    first = first.with_version(NAME, entry(OTHER), 2)
    assert from_data(documents.load(documents.dump(first.to_data()), "c"), "c") == first


def test_digests_that_look_like_numbers_stay_text() -> None:
    odd = "1e" + "0" * 62
    text = documents.dump(Catalog({NAME: entry(odd)}).to_data())
    assert from_data(documents.load(text, "c"), "c").images[NAME].digest == odd


def test_the_same_catalog_is_the_same_text() -> None:
    one = Catalog().with_version("a-images/x.sif", entry(), 2).with_version("b-images/x.sif", entry(), 2)
    two = Catalog().with_version("b-images/x.sif", entry(), 2).with_version("a-images/x.sif", entry(), 2)
    assert documents.dump(one.to_data()) == documents.dump(two.to_data())


def digests(catalog: Catalog) -> list[str]:
    return [one.digest for one in catalog.images[NAME].history()]


def test_a_new_version_is_current_and_the_old_ones_are_kept() -> None:
    catalog = Catalog()
    for letter in "abcd":
        catalog = catalog.with_version(NAME, entry(letter * 64), 2)
    assert digests(catalog) == ["d" * 64, "c" * 64, "b" * 64]
    assert digests(catalog.with_version(NAME, entry("b" * 64), 2)) == ["b" * 64, "d" * 64, "c" * 64], "no digest twice"
    assert digests(catalog.with_version(NAME, entry("e" * 64), 0)) == ["e" * 64]
    assert digests(catalog) == ["d" * 64, "c" * 64, "b" * 64], "the one before is left alone"
    assert digests(catalog.trimmed(1)) == ["d" * 64, "c" * 64]
    assert catalog.current() == ["d" * 64]
    assert catalog.digests() == ["b" * 64, "c" * 64, "d" * 64]


def test_a_version_is_found_by_its_digests_beginning() -> None:
    alike = "bbbbbb" + "c" * 58
    one = Catalog().with_version(NAME, entry(DIGEST), 3).with_version(NAME, entry(OTHER), 3)
    found = one.with_version(NAME, entry(alike), 3).images[NAME]
    assert found.find(None).digest == OTHER
    assert found.find("AAAAAA").digest == DIGEST
    assert found.find("bbbbbbc").digest == alike
    for wanted, says in (("aaaaa", "at least 6"), ("bbbbbb", "more than one"), ("cccccc", "no version begins")):
        with pytest.raises(UsageError, match=says) as caught:
            found.find(wanted)
        assert OTHER[:12] in caught.value.hint
    with pytest.raises(UsageError, match="no older version to go back to") as caught:
        entry().find(None)
    assert caught.value.hint == f"its versions: {DIGEST[:12]}"


def test_a_catalog_of_before_there_were_versions_is_one() -> None:
    found = from_data({"version": "1", "images": {NAME: FIELDS}}, "c").images[NAME]
    assert (found.digest, found.versions) == (DIGEST, ())
    assert (found.source, found.labels) == (entry().source, entry().labels) == ("", {})


def test_phase_1s_empty_catalog_is_one() -> None:
    assert from_data(documents.load("version: 1\nimages: {}\n", "c"), "c") == Catalog()
    assert from_data(documents.load("version: 1\nimages:\n", "c"), "c") == Catalog()


@pytest.mark.parametrize("data", [None, "", [], {}, {"version": "2", "images": {}}, {"images": {}}])
def test_another_version_is_refused(data: Any) -> None:
    with pytest.raises(ConfigError, match=r"c\.yaml: 1 mistake\n  version is"):
        from_data(data, "c.yaml")


@pytest.mark.parametrize(("data", "found"), [({"version": "2"}, "'2'"), ({}, "None"), ([], "None")])
def test_the_version_that_was_found_is_told(data: Any, found: str) -> None:
    with pytest.raises(ConfigError) as caught:
        from_data(data, "c")
    assert caught.value.mistakes == (f"version is {found}, and this program writes version '1'",)


@pytest.mark.parametrize("images", ["x", ["ml-frameworks/x.sif"]])
def test_images_must_be_a_mapping(images: Any) -> None:
    with pytest.raises(ConfigError, match="images"):
        from_data({"version": "1", "images": images}, "c.yaml")


@pytest.mark.parametrize(
    ("name", "change"),
    [("../x.sif", {}), ("ml-frameworks/x", {}), ("x.sif", {}), ("ml-frameworks/a/x.sif", {}),
     (NAME, {"digest": "short"}), (NAME, {"size": "many"}), (NAME, {"digest": {}}), (NAME, {"labels": "none"}),
     (NAME, {"versions": "text"}), (NAME, {"versions": [{**FIELDS, "digest": "short"}]}), (NAME, {"versions": [{}]})],
)  # fmt: skip
def test_a_wrong_entry_is_a_mistake(name: str, change: dict[str, Any]) -> None:
    with pytest.raises(ConfigError) as caught:
        from_data({"version": "1", "images": {name: {**FIELDS, **change}}}, "c")
    assert len(caught.value.mistakes) == 1
    assert caught.value.mistakes[0].startswith(f"{name}: ")


def test_a_digest_that_is_none_is_quoted() -> None:
    with pytest.raises(ConfigError) as caught:
        from_data({"version": "1", "images": {NAME: {**FIELDS, "digest": "short"}}}, "c")
    assert caught.value.mistakes == (f"{NAME}: ValueError: digest 'short' is not SHA-256 in hex",)


def test_every_mistake_is_told() -> None:
    without_by = {key: value for key, value in FIELDS.items() if key != "by"}
    images = {"base-images/1.sif": "text", "base-images/2.sif": without_by, "base-images/3.sif": FIELDS}
    with pytest.raises(ConfigError) as caught:
        from_data({"version": "1", "images": images}, "c")
    assert len(caught.value.mistakes) == 2
    assert "by" in caught.value.mistakes[1]
