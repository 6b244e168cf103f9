"""The catalog: read as written, and every mistake of a broken one told at once."""

from __future__ import annotations

import json
from typing import Any

import pytest

from pytest_hpcregistry.agent import forms, requests
from pytest_hpcregistry.core import catalog as catalog_module
from pytest_hpcregistry.core import documents
from pytest_hpcregistry.core.catalog import Catalog, Entry, from_data, from_text, unknown_image
from pytest_hpcregistry.core.errors import ConfigError, UsageError
from pytest_hpcregistry.core.history import now
from pytest_hpcregistry.core.labels import MOST_LABELS, fit_labels
from pytest_hpcregistry.testing.facts import DIGEST, NAME, OTHER, entry

FIELDS: dict[str, Any] = {"digest": DIGEST, "size": "10", "published": "then", "by": "me", "architecture": "amd64"}


def test_a_catalog_survives_its_file() -> None:
    labels = {"org.example.version": "1.10", "yes": "no"}
    first = Catalog({NAME: entry(), "base-images/y.sif": Entry(OTHER, 5, "t", "me@x", "arm64", "docker://y", labels)})
    first = first.with_version(NAME, entry(OTHER), 2)
    assert from_text(first.to_text(), "c") == first
    assert from_data(documents.load(first.to_text(), "c"), "c") == first, "as YAML, by a version of before"


def test_digests_that_look_like_numbers_stay_text() -> None:
    odd = "1e" + "0" * 62
    text = Catalog({NAME: entry(odd)}).to_text()
    assert from_data(documents.load(text, "c"), "c").images[NAME].digest == odd
    assert from_text(text, "c").images[NAME].digest == odd


def test_the_same_catalog_is_the_same_text() -> None:
    one = Catalog().with_version("a-images/x.sif", entry(), 2).with_version("b-images/x.sif", entry(), 2)
    two = Catalog().with_version("b-images/x.sif", entry(), 2).with_version("a-images/x.sif", entry(), 2)
    assert one.to_text() == two.to_text()


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
    assert digests(catalog.trimmed(1, now())) == ["d" * 64, "c" * 64]
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


def test_a_version_is_a_line() -> None:
    """People read it, and diff shows the one that changed."""
    catalog = Catalog().with_version(NAME, entry(), 2).with_version(NAME, entry(OTHER), 2)
    catalog = catalog.with_version("a-images/x.sif", entry(), 2)
    first, one, two, three, last = catalog.to_text().splitlines()
    assert (first, last) == ('{"version": "1", "images": {', "}}")
    assert one.startswith(f'"a-images/x.sif": {{"digest": "{DIGEST}", "size": {entry().size}, ')
    assert two.startswith(f'"{NAME}": {{"digest": "{OTHER}"')
    assert two.endswith('"versions": [')
    assert three.startswith(f'  {{"digest": "{DIGEST}"')
    assert '"labels"' not in one, "what is empty is left out"


@pytest.mark.parametrize(
    "text",
    ["\x1b[2J", "\x7f", "\x85", "\u00a0", "\u2028", "\u202e", "\ufeff", "\U000e0001", "é", "\U0001f600"],
)
def test_any_text_in_a_label_reaches_every_reader(text: str) -> None:
    """A node takes no catalog that holds what a terminal would obey; other YAML would be read otherwise."""
    first = Catalog({NAME: Entry(DIGEST, 1, "t", "me@x", "amd64", labels={text: f"a{text}b"})})
    written = first.to_text()
    forms.prose(1000)(written, "the catalog")
    assert from_text(written, "c") == first
    if text != "\U000e0001":  # a pair of escapes, which YAML of before does not put together
        assert from_data(documents.load(written, "c"), "c") == first


def test_half_a_surrogate_pair_is_not_written() -> None:
    with pytest.raises(UsageError, match="not Unicode"):
        Catalog({NAME: Entry(DIGEST, 1, "t", "me@x", "amd64", labels={"a": "\ud800"})}).to_text()


def in_json(entry_text: str) -> str:
    return f'{{"version": "1", "images": {{"{NAME}": {entry_text}}}}}'


GOOD = json.dumps(FIELDS)


def test_people_may_write_other_yaml() -> None:
    first = Catalog().with_version(NAME, entry(), 2)
    assert from_text(first.to_text() + "# mine\n", "c") == first
    beyond = first.to_text() + " " * documents.SIZE_LIMIT + "mine"
    with pytest.raises(ConfigError, match="c:4: Extra data"):
        from_text(beyond, "c")


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("{", "c:1: "),
        ('{"version": "1",\n\n oops]', "c:3: "),
        ("[" * 10, "c:1: "),
        ('{"a":' + "[" * 100_000, "depth|recursion"),
        (in_json(GOOD[:-1] + ', "by": "x"}'), "'by' is there twice"),
        (in_json(GOOD[:-1] + ', "labels": {"a": "\\ud800"}}'), "surrogate"),
        (in_json(GOOD.replace('"10"', "1" * 5000)), "not a number of bytes"),
        (in_json(GOOD.replace('"10"', "1.5")), "not a number of bytes"),
        (in_json(GOOD.replace('"me"', "null")), "is not a text"),
        (in_json(GOOD.replace('"me"', '["me"]')), "is not a text"),
        (in_json(GOOD[:-1] + ', "labels": {"a": {}}}'), "is not a text"),
        (in_json("[]"), NAME),
        (in_json("NaN"), NAME),
        (GOOD + GOOD, "c:1: "),
        ('{"version": "2", "images": {}}', "version is '2'"),
    ],
)
def test_what_is_no_catalog_is_a_mistake_in_words(text: str, says: str) -> None:
    with pytest.raises(ConfigError, match=says) as caught:
        from_text(text, "c")
    assert len(str(caught.value)) < 1000


def test_a_catalog_has_a_size(monkeypatch: pytest.MonkeyPatch) -> None:
    assert catalog_module.LARGEST == requests.LARGEST_CATALOG
    text = Catalog({NAME: Entry(DIGEST, 1, "t", "é", "amd64")}).to_text()
    monkeypatch.setattr(catalog_module, "LARGEST", len(text) + 1)
    assert from_text(text, "c")
    monkeypatch.setattr(catalog_module, "LARGEST", len(text))
    with pytest.raises(ConfigError, match="larger than 0 MiB") as caught:
        from_text(text, "c")
    assert "gc --keep 1" in caught.value.hint


def test_labels_are_kept_whole_or_left_out() -> None:
    usual = {"b": "1", "a": "2"}
    assert fit_labels(usual) == (usual, ())
    assert list(fit_labels(usual)[0]) == ["a", "b"]
    checks = {"io.hpcregistry.checks": "x" * 65536}
    assert fit_labels({**usual, **checks}) == (usual, ("io.hpcregistry.checks",))
    assert fit_labels({"n" * 5000: ""}) == ({}, ("n" * 99 + "…",))
    assert len(fit_labels({f"{number:05}": "x" * 5000 for number in range(50)})[1]) == 20
    rest = MOST_LABELS - len('{"a": ""}')
    assert fit_labels({"a": "x" * rest})[1] == ()
    assert fit_labels({"a": "x" * (rest + 1)})[1] == ("a",)
    assert fit_labels({"a": "é" * (rest // 2 + 1)})[1] == ("a",)
    assert fit_labels({"a": '"' * (rest // 2 + 1)})[1] == ("a",), "as it is written"
    many = {f"{number:02}": "x" * 993 for number in range(9)}
    kept, out = fit_labels(many)
    assert (list(kept), out) == (["00", "01", "02", "03"], ("04", "05", "06", "07", "08"))
    assert sum(len(json.dumps({name: value})) for name, value in kept.items()) <= MOST_LABELS
    assert fit_labels({"a": "\ud800"}) == ({"a": "\ud800"}, ()), "that is for to_text to refuse"


def test_what_was_left_out_is_remembered() -> None:
    first = Catalog({NAME: Entry(DIGEST, 1, "t", "me@x", "amd64", left_out=("io.hpcregistry.checks",))})
    assert from_text(first.to_text(), "c") == first


def test_5000_images_with_two_older_versions_fit() -> None:
    """Each with 2 KiB of labels and signature; and they are read as they were written."""
    catalog, labels = Catalog(), {"a": "x" * 1600}
    images = {}
    for number in range(5000):
        versions = [
            Entry(f"{3 * number + age:064x}", 10**9, "2026-11-27T01:02:47Z", "alice@workstation.example.org", "amd64",
                  labels=labels, signed="2026-11-27T01:02:47.000000Z", signature="s" * 300)
            for age in range(3)
        ]  # fmt: skip
        images[f"ml-frameworks/pytorch-{number:05}-cuda12.sif"] = Entry(
            **{**vars(versions[0]), "versions": tuple(catalog_module.plain(one) for one in versions[1:])}
        )
    catalog = Catalog(images)
    text = catalog.to_text()
    catalog_module.check_size(text, "c")
    assert from_text(text, "c") == catalog
    assert len(catalog.digests()) == 15_000 <= requests.MOST_OBJECTS
    assert 2 * len(text) < requests.LONGEST_REQUEST


@pytest.mark.parametrize(
    ("name", "near"),
    [
        ("ml-frameworks/pytroch.sif", "base-images/pytorch.sif"),
        ("base-images/pytorch.sif", ""),
        ("ml-frameworks/nope.sif", ""),
        ("odd\x1b", ""),
    ],
)
def test_an_unknown_image_and_what_was_meant(name: str, near: str) -> None:
    known = {"base-images/pytorch.sif", "ml-frameworks/tensorflow.sif"} - {name}
    error = unknown_image(name, known)
    meant = f'. Perhaps you meant "{near}"?' if near else ""
    assert str(error) == f"{name.encode('unicode_escape').decode()} is not in the catalog{meant}"
    assert error.hint == "see: hpc-container-manager catalog list"
