"""image.yaml: what it may say, and what makes another revision of it."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from pytest_hpcregistry.core.errors import ConfigError, UsageError
from pytest_hpcregistry.images.definitions.definition import Definition, find_definitions, read
from tests import ROOT

FIXTURES = ROOT / "fixtures" / "images"


def define(directory: Path, text: str, name: str = "mine") -> Path:
    place = directory / name
    place.mkdir(parents=True, exist_ok=True)
    (place / "Dockerfile").write_text("ARG BASE\nFROM ${BASE}\n")
    (place / "image.yaml").write_text(text)
    return place


def mistakes(tmp_path: Path, text: str) -> tuple[str, ...]:
    place = define(tmp_path, text)
    with pytest.raises(ConfigError) as caught:
        read(place)
    assert "nothing was built" in caught.value.hint
    return tuple(mistake.removeprefix(f"{place}/image.yaml:") for mistake in caught.value.mistakes)


def test_every_key(tmp_path: Path) -> None:
    place = define(
        tmp_path,
        'name: x-1.0_y\ntag: "2.1"\nbase: docker.io/library/debian:trixie\n'
        'root: [../make.sh, python3]\npython: "3.11"\n'
        'wheels: [torch==2.13.0, "numpy>=2", "a[b,c]"]\nlabels: {org.x: some text}\n',
    )
    assert read(place) == Definition(
        place, "x-1.0_y", "2.1", "docker.io/library/debian:trixie", ("../make.sh", "python3"), "3.11",
        ("torch==2.13.0", "numpy>=2", "a[b,c]"), {"org.x": "some text"},
    )  # fmt: skip
    assert read(place).image == "x-1.0_y:2.1"
    assert read(define(tmp_path, "name: x\n")) == Definition(place, "x")


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("nam: x", "1: nam: unknown key. Perhaps you meant \"name\"?"),
        ("name: X", "1: name: 'X' is not a name"),
        ("name: [x]", "1: name: a list is not a name"),
        ("name: ../x", "1: name: '../x' is not a name"),
        ("name: x\ntag: a b", "2: tag: 'a b' is not a tag"),
        ("name: x\nbase: -v", "2: base: '-v' is not the name of an image"),
        ("name: x\nbase: ''", "2: base: '' is not the name of an image"),
        ("name: x\nroot: make", "2: root: must be a list"),
        ("name: x\nroot: []", "2: root: must be a list"),
        ("name: x\nroot: [[a]]", "2: root: a list is not a word"),
        ('name: x\npython: "2.7"', "2: python: '2.7' is not a version"),
        ('name: x\npython: "3.11"\nwheels: [--index-url=x]', "3: wheels: '--index-url=x' is not a requirement"),
        ('name: x\npython: "3.11"\nwheels: ["a @ http://x"]', "3: wheels: 'a @ http://x' is not a requirement"),
        ("name: x\nwheels: [a]", "2: wheels: for which python?"),
        ("name: x\nlabels: [a]", "2: labels: must be a mapping"),
        ("name: x\nlabels: {a b: c}", "2: labels: 'a b': a name of"),
        ('name: x\nlabels: {a: "b\\nc"}', "2: labels: 'a': a name of"),
        ("name: x\nlabels: {io.hpcregistry.source: x}", "2: labels: 'io.hpcregistry.source': labels that begin with"),
        ("[x]", "1: must be a mapping"),
        ("tag: x", "1: name is missing"),
    ],
)  # fmt: skip
def test_a_mistake_is_said_with_its_line(tmp_path: Path, text: str, says: str) -> None:
    assert mistakes(tmp_path, text)[0].startswith(says)


def test_all_mistakes_are_said(tmp_path: Path) -> None:
    assert len(mistakes(tmp_path, "tag: a b\nbase: -v\nx: y\n")) == 4


def test_one_or_all(tmp_path: Path) -> None:
    for name in ("b", "a"):
        define(tmp_path, f"name: {name}\n", name)
    (tmp_path / "no-definition").mkdir()
    assert [one.name for one in find_definitions(tmp_path, "all")] == ["a", "b"]
    assert [one.name for one in find_definitions(tmp_path, "b")] == ["b"]
    with pytest.raises(UsageError, match=r"no image c\. Known: a, b"):
        find_definitions(tmp_path, "c")


def test_none_is_an_error(tmp_path: Path) -> None:
    for place in (tmp_path, tmp_path / "gone"):
        with pytest.raises(UsageError, match="no definition of an image") as caught:
            find_definitions(place, "all")
        assert "--definitions" in caught.value.hint
    (define(tmp_path, "name: x\n") / "Dockerfile").unlink()
    with pytest.raises(UsageError, match="no Dockerfile"):
        find_definitions(tmp_path, "all")


def test_another_input_is_another_revision(tmp_path: Path) -> None:
    """A file's text, its name, whether it can be executed, and the script that makes the base."""
    script = tmp_path / "make.sh"
    script.write_text("#!/bin/sh\n")
    place = define(tmp_path, "name: x\nroot: [../make.sh, a]\n")
    seen = [read(place).revision()]
    assert read(place).revision() == seen[0]
    changes: list[Callable[[], object]] = [
        lambda: (place / "Dockerfile").write_text("FROM scratch\n"),
        lambda: (place / "more").write_text("text"),
        lambda: (place / "more").rename(place / "other"),
        lambda: (place / "other").chmod(0o755),
        lambda: script.write_text("#!/bin/sh\ntrue\n"),
        lambda: (place / "image.yaml").write_text("name: x\nroot: [../make.sh, b]\n"),
    ]
    changes += [
        (place / "empty").mkdir,
        lambda: (place / "link").symlink_to("other"),
        (place / "link").unlink,
        lambda: (place / "link").symlink_to("Dockerfile"),
    ]
    for change in changes:
        change()
        seen.append(read(place).revision())
    assert len(set(seen)) == len(seen) - 1, "all but without the link again"


def test_what_no_build_would_see(tmp_path: Path) -> None:
    place = define(tmp_path, "name: x\n")
    (tmp_path / "outside").write_text("text")
    (place / "link").symlink_to("../outside")
    with pytest.raises(UsageError, match="leads out of the definition's directory"):
        read(place).revision()
    (place / "link").unlink()
    os.mkfifo(place / "pipe")
    with pytest.raises(UsageError, match="pipe: neither a file nor a directory"):
        read(place).revision()


def test_two_of_one_name(tmp_path: Path) -> None:
    for name, tag in (("a", "1"), ("b", "1"), ("c", "2")):
        define(tmp_path, f'name: x\ntag: "{tag}"\n', name)
    with pytest.raises(UsageError, match=f"{tmp_path}/a, {tmp_path}/b: all are called x:1"):
        find_definitions(tmp_path, "all")
    assert find_definitions(tmp_path, "a")[0].image == "x:1"


def test_the_examples_are_sound() -> None:
    for one in find_definitions(FIXTURES, "all"):
        assert one.name.startswith(one.directory.name)
        assert not one.root or Path(one.root_command()[0]).is_file()
        assert "ARG BASE\n" in (one.directory / "Dockerfile").read_text()
