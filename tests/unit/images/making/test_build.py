"""Building images: what Podman is asked to do and when, and how it fails. A stand-in keeps the words."""

from __future__ import annotations

import json
import os
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pytest_hpcregistry import __version__
from pytest_hpcregistry.core.errors import CommandFailed, UsageError
from pytest_hpcregistry.images.definitions.checks import from_labels
from pytest_hpcregistry.images.definitions.definition import Definition, read
from pytest_hpcregistry.images.making.build import Builder, Built
from pytest_hpcregistry.images.workspace import locked
from tests.fakes.podman import Stand
from tests.fakes.tool import Image, Tool
from tests.unit.images.definitions.test_definition import define


def test_an_image_is_built_once_for_what_it_is_made_of(stand: Stand, tmp_path: Path) -> None:
    place = define(tmp_path, "name: x\nlabels: {a: b c}\n")
    first = stand.builder().build(read(place))
    again = stand.builder().build(read(place))
    assert [first.fresh, again.fresh] == [True, False]
    assert first.digest == again.digest == "sha256:" + "a" * 64
    (argv,) = stand.asked("build")
    revision = read(place).revision()
    for label in ("a=b c", f"io.hpcregistry.definition={revision}", f"io.hpcregistry.version={__version__}"):
        assert argv[argv.index(label) - 1] == "--label"
    assert argv[:5] == ["build", "--layers=false", "--force-rm", "--tag", "x:latest"]
    assert argv[-3:] == ["--file", f"{argv[-1]}/Dockerfile", argv[-1]]
    assert "--build-arg" not in argv
    (place / "Dockerfile").write_text("FROM scratch\nLABEL c=d\n")
    assert stand.builder().build(read(place)).fresh
    assert stand.builder().build(read(place), force=True).fresh
    assert len(stand.asked("build")) == 3


def test_the_checks_travel_with_the_image(stand: Stand, tmp_path: Path) -> None:
    place = define(tmp_path, "name: x\nchecks:\n  - run: [sh, -c, 'echo $HOME \"b\"']\n    output: b\n")
    stand.builder().build(read(place))
    (argv,) = stand.asked("build")
    (label,) = [word for word in argv if word.startswith("io.hpcregistry.checks=")]
    assert from_labels(dict([label.split("=", 1)]), "x") == read(place).checks


def test_another_base_by_the_same_name_makes_another_image(stand: Stand, tmp_path: Path) -> None:
    stand.keep("images", {"docker.io/library/debian:trixie": ""})
    place = define(tmp_path, BASE)
    assert stand.builder().build(read(place)).fresh
    assert not stand.builder().build(read(place)).fresh
    images = json.loads((stand.directory / "images").read_text())
    stand.keep("images", {**images, "x:latest": images["x:latest"].replace("a" * 64, "b" * 64)})
    assert stand.builder().build(read(place)).fresh


BASE = "name: x\nbase: docker.io/library/debian:trixie\n"


def base_of(stand: Stand) -> str:
    argv = stand.asked("build")[-1]
    return argv[argv.index("--build-arg") + 1].removeprefix("BASE=")


def test_a_base_that_is_there_is_not_fetched(stand: Stand, tmp_path: Path) -> None:
    stand.keep("images", {"docker.io/library/debian:trixie": ""})
    stand.builder().build(read(define(tmp_path, BASE)))
    assert base_of(stand) == "docker.io/library/debian:trixie"
    assert stand.asked("pull") == []


def test_a_base_is_fetched(stand: Stand, tmp_path: Path) -> None:
    stand.keep("registry", ["docker.io/library/debian:trixie"])
    stand.builder().build(read(define(tmp_path, BASE)))
    assert base_of(stand) == "docker.io/library/debian:trixie"
    assert len(stand.asked("pull")) == 1


def test_a_registry_that_never_ends_is_as_one_that_has_no_such_image(
    stand: Stand, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pytest_hpcregistry.images.making.build.PULL", 0.5)
    (stand.directory / "slow").touch()
    with pytest.raises(CommandFailed, match=r"cannot be fetched: no end within 0 s"):
        stand.builder().build(read(define(tmp_path, BASE)))


def root_script(tmp_path: Path, text: str) -> None:
    script = tmp_path / "make.sh"
    script.write_text(f"#!/bin/sh\n{text}\n")
    script.chmod(0o755)


@pytest.mark.parametrize("base", ["", "base: docker.io/library/debian:trixie\n"])
def test_a_base_that_cannot_be_fetched_is_made_here_once(stand: Stand, tmp_path: Path, base: str) -> None:
    root_script(tmp_path, 'printf "%s" "$1 $2" > "$3"')
    place = define(tmp_path, f"name: x\n{base}root: [../make.sh, one, two]\n")
    for _ in range(2):
        stand.builder().build(read(place), force=True)
    assert base_of(stand) == f"localhost/hpcregistry-base:{read(place).root_revision()[:12]}"
    assert json.loads((stand.directory / "images").read_text())[base_of(stand)] == "one two"
    assert (len(stand.asked("pull")), len(stand.asked("import"))) == (bool(base), 1)
    if base:
        assert any("cannot be fetched: Error: no such host" in line for line in stand.said)


@pytest.fixture
def mine(stand: Stand, tmp_path: Path) -> Definition:
    """A definition without a base."""
    return read(define(tmp_path, "name: x\n"))


def build(tool: Tool, definition: Definition) -> Built:
    return Builder(print, tool).build(definition, force=True)


def test_what_is_replaced_goes(mine: Definition) -> None:
    """Or each build would leave an image without a name."""
    tool = Tool("podman", Image("0" * 64, ["theirs:1"]))
    first, second = build(tool, mine), build(tool, mine)
    assert first.digest != second.digest
    assert [image.id for image in tool.images] == ["0" * 64, second.digest]
    assert tool.asked.count(["podman", "image", "rm", first.digest]) == 1


@pytest.mark.parametrize(
    "change",
    [
        lambda image: image.names.append("theirs:1"),  # they have given it a name
        lambda image: image.labels.pop("io.hpcregistry.image"),  # it is not ours
        lambda image: image.labels.update({"io.hpcregistry.image": "y:latest"}),
        lambda image: setattr(image, "used", True),
    ],
)
def test_what_is_replaced_stays_where_it_is_not_ours_alone(mine: Definition, change: Callable[[Image], None]) -> None:
    tool = Tool("podman")
    first = build(tool, mine)
    change(tool.images[0])
    second = build(tool, mine)
    assert [image.id for image in tool.images] == [first.digest, second.digest]


def test_what_a_killed_build_left_goes(stand: Stand, mine: Definition) -> None:
    """Its wheels may be gigabytes. A directory that somebody works in stays, and so does one that is new."""
    places = [stand.directory / "tmp" / f"hpc-build-{number:08}" for number in range(3)]
    for place in places:
        place.mkdir()
        (place / "wheel").touch()
        os.utime(place, (1000, 1000))
    killed, used, new = places
    os.utime(new)
    with locked(used):
        stand.builder().build(mine)
        assert [killed.exists(), used.exists(), new.exists()] == [False, True, True]
    for place in (used, new):
        shutil.rmtree(place)


def test_no_base_at_all(stand: Stand, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", "/no/wheels/are/downloaded/for/it")
    with pytest.raises(
        CommandFailed, match=r"x: its base docker\.io/.* cannot be fetched: Error: no such host"
    ) as caught:
        stand.builder().build(read(define(tmp_path, f'{BASE}python: "3.11"\nwheels: [torch]\n')))
    assert "root" in caught.value.hint


def test_a_root_directory_that_cannot_be_made(stand: Stand, tmp_path: Path) -> None:
    root_script(tmp_path, "echo no mirror >&2; exit 1")
    with pytest.raises(CommandFailed, match=r"make\.sh could not make a root directory\n  no mirror"):
        stand.builder().build(read(define(tmp_path, "name: x\nroot: [../make.sh]\n")))


def test_a_dockerfile_that_fails(stand: Stand, tmp_path: Path) -> None:
    place = define(tmp_path, "name: x\n")
    (place / "fails").touch()
    with pytest.raises(CommandFailed) as caught:
        stand.builder().build(read(place))
    expected = ["podman could not build x:latest", "  STEP 1", "  STEP 2: RUN false"]
    assert str(caught.value).splitlines() == [*expected, "  error: building at STEP 2: exit status 1"]
    assert "x:latest" not in json.loads((stand.directory / "images").read_text())


def test_pip_is_asked_for_wheels_of_the_images_python(stand: Stand, tmp_path: Path, monkeypatch: Any) -> None:
    pip = stand.directory / "pip"
    pip.write_text('#!/bin/sh\necho "$@" > "$STANDS_IN/pip-asked"; mkdir -p "${10}"; touch "${10}/a.whl"\n')
    pip.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(pip))
    stand.builder().build(read(define(tmp_path, 'name: x\npython: "3.11"\nwheels: [torch==2.13.0, numpy]\n')))
    words = (stand.directory / "pip-asked").read_text().split()
    assert words[:8] == ["-m", "pip", "download", "--quiet", "--only-binary", ":all:", "--python-version", "3.11"]
    assert words[-2:] == ["torch==2.13.0", "numpy"]


def test_without_any_tool(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(UsageError, match="Podman or Docker is needed"):
        Builder(print)


def test_docker_where_there_is_no_podman(stand: Stand, tmp_path: Path) -> None:
    (stand.directory / "bin" / "podman").rename(stand.directory / "bin" / "docker")
    os.environ["PATH"] = str(stand.directory / "bin")
    stand.builder().build(Definition(define(tmp_path, "name: x\n"), "x"))
    assert stand.asked("build")[0][:3] == ["build", "--force-rm", "--tag"]
