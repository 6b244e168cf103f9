"""YAML as this project reads and writes it: all scalars text, nothing that can surprise, lines for messages."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
import yaml

from pytest_hpcregistry.core import documents
from pytest_hpcregistry.core.errors import ConfigError, UsageError

TRAPS = ["1.10", "no", "NO", "1e3", "0755", "0o755", "2026-01-02", "12:30:00", "null", "~", "", ".nan", "0x1F", "1_000"]


def mistakes(text: str) -> tuple[str, ...]:
    with pytest.raises(ConfigError) as caught:
        documents.load(text, "f.yaml")
    return caught.value.mistakes


@pytest.mark.parametrize("trap", TRAPS)
def test_a_scalar_stays_the_text_that_was_written(trap: str) -> None:
    assert documents.load(f"key: {trap}\n", "f.yaml") == {"key": trap}


@pytest.mark.parametrize(
    "trap", [*TRAPS, "a: b", "- a", "line\nbreak", " x ", '"', "é 😀 \u0085\u2028\x00\x7f", "#", "x" * 500]
)
def test_what_is_written_is_text_for_us_and_for_any_other_reader(trap: str) -> None:
    data = {"value": trap, "list": [trap, {trap: trap}], "no": {}, "1.10": []}
    text = documents.dump(data)
    assert documents.load(text, "f.yaml") == data
    assert yaml.safe_load(text) == data


def test_dump_is_block_style_in_the_order_of_the_data() -> None:
    assert documents.dump({"version": 1, "images": {}}) == "version: 1\nimages: {}\n"
    assert documents.dump({"b": {"a/x.sif": True}, "a": ["1", "x"]}) == (
        'b:\n  a/x.sif: true\na:\n- "1"\n- "x"\n'  # b first: the order is the caller's
    )


def test_a_key_that_another_reader_takes_for_a_number_is_quoted() -> None:
    assert documents.dump({"1e3": 1, "0o17": 2, "no": 3}) == '"1e3": 1\n"0o17": 2\n"no": 3\n'


@pytest.mark.parametrize("data", [None, {"a": 1.5}, {1: "a"}, {"a": {"b"}}])
def test_dump_takes_nothing_that_would_not_come_back(data: object) -> None:
    with pytest.raises(TypeError):
        documents.dump(data)


def test_dump_refuses_text_from_a_file_name_that_is_not_utf8() -> None:
    with pytest.raises(UsageError, match="not UTF-8"):
        documents.dump({"a": "\udcff"})


def test_every_key_path_has_its_line() -> None:
    document = documents.parse("a:\n  b:\n  - x\n  - c: 1\n\nd: 2\n", "f.yaml")
    assert document.place(("a", "b", 1, "c")) == "f.yaml:4"
    assert document.place(["d"]) == "f.yaml:6"
    assert document.place(("a", "missing", "deep")) == "f.yaml:1"
    assert document.place(()) == "f.yaml:1"


@pytest.mark.parametrize(
    ("text", "line", "words"),
    [
        ("a: 1\nb: 2\na: 3\n", 3, "'a' is here for the second time; first on line 1"),
        ("a:\n  x: &x 1\n  y: *x\n", 3, "aliases"),
        ("a: &a {k: v}\nb:\n  <<: *a\n", 3, "aliases"),
        ("a: 1\nb: !!python/object/apply:os.system [id]\n", 2, "python/object/apply:os.system"),
        ("a: !vault |\n  x\n", 1, "!vault"),
        ("a: !!int 3\n", 1, "int"),
        ("!!binary aGk=: 3\n", 1, "binary"),
        ("? [a, b]\n: c\n", 1, "a key must be plain text"),
        ("a: 1\n---\nb: 2\n", 2, "second document"),
        ("a: 1\n  b: 2\n", 2, "mapping values are not allowed"),
        ("a:\n\t- x\n", 2, "tab"),
        ("a: [1, 2\n", 2, "flow sequence"),
        ("a: 1\nb: \x07\n", 2, "does not allow"),
        ('a: "\\UFFFFFFFF"\n', 1, "out of range"),
        ('a: 1\nb: "\\uD800"\n', 2, "surrogate"),
    ],
)
def test_a_bad_file_is_refused_with_its_line(text: str, line: int, words: str) -> None:
    (mistake,) = mistakes(text)
    assert words in mistake
    assert f"line {line}:" in mistake or mistake.startswith(f"f.yaml:{line}: ")


def test_all_mistakes_are_told_at_once() -> None:
    assert len(mistakes("a: 1\na: 2\nb: !x 1\nc: *d\n")) == 3


def test_an_explicit_text_tag_is_harmless() -> None:
    assert documents.load("a: !!str 0755\nb: ! no\n", "f.yaml") == {"a": "0755", "b": "no"}


@pytest.mark.parametrize("text", ["", "# a comment\n", "\n\n"])
def test_an_empty_file_is_a_mistake(text: str) -> None:
    assert mistakes(text) == ("f.yaml: empty",)


@pytest.mark.parametrize(
    "text",
    [
        "[" * 500_000,
        "{a: " * 100_000,
        "".join(" " * depth + "a:\n" for depth in range(1000)),
        "- " * 10_000 + "a",
        "x" * (documents.SIZE_LIMIT + 1),
        "a: &a [x, x]\n" + "".join(f"{i}: &b{i} [*a, *a]\n" for i in range(30)),
    ],
)
def test_a_bomb_is_refused_quickly(text: str) -> None:
    started = time.monotonic()
    assert mistakes(text)
    assert time.monotonic() - started < 5


def test_a_large_catalog_is_read_in_seconds() -> None:
    data = {"images": {f"ml/{number}.sif": {"digest": "ab" * 32, "size": number} for number in range(2000)}}
    started = time.monotonic()
    assert len(documents.load(documents.dump(data), "f.yaml")["images"]) == 2000
    assert time.monotonic() - started < 15


def test_a_file_that_cannot_be_read_is_a_plain_error(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="No such file"):
        documents.read(tmp_path / "missing.yaml")
    with pytest.raises(UsageError, match="Is a directory"):
        documents.read(tmp_path)
    (tmp_path / "latin.yaml").write_bytes(b"a: \xe9\n")
    with pytest.raises(UsageError, match="not UTF-8 text"):
        documents.read(tmp_path / "latin.yaml")
    with pytest.raises(UsageError, match="larger than 1024 KiB"):
        documents.read(Path("/dev/zero"))
