"""Which images of Podman and Docker are ours, and what they take."""

from __future__ import annotations

from pathlib import Path

import pytest

from pytest_hpcregistry.core.errors import CommandFailed
from pytest_hpcregistry.images.caches.stored import find_images
from pytest_hpcregistry.images.making.build import LOCAL_BASE
from pytest_hpcregistry.lab import image as node_image
from tests.fakes.tool import Image, Tool

OURS = {"io.hpcregistry.image": "x:1.0", "io.hpcregistry.definition": "0" * 64}
LAST_STEP = '/bin/sh -c #(nop) LABEL "io.hpcregistry.base"="0123"'


def names(tool: Tool) -> list[str]:
    return [entry.name for entry in find_images(tool.name, tool).entries]


@pytest.mark.parametrize(
    "image",
    [
        Image("sha256:" + "1" * 64, ["x:1.0"], OURS),
        Image("1" * 64, ["localhost/x:1.0"], OURS),
        Image("1" * 64, ["docker.io/library/x:1.0"], OURS),
        Image("1" * 64, [f"{LOCAL_BASE}:0123"]),
        Image("1" * 64, [node_image.name("trixie")]),
    ],
    ids=lambda image: image.names[0].partition(":")[0],
)
def test_an_image_that_was_made_here(image: Image) -> None:
    assert names(Tool("podman", image)) == [f"{image.names[0]} (111111111111)"]


def test_one_that_a_container_uses() -> None:
    used = Image("1" * 64, ["localhost/x:1.0"], OURS, used=True)
    unused = Image("2" * 64, ["localhost/y:1.0"], {**OURS, "io.hpcregistry.image": "y:1.0"})
    assert [entry.used for entry in find_images("podman", Tool("podman", used, unused)).entries] == [True, False]
    assert [entry.used for entry in find_images("podman", Tool("podman", unused)).entries] == [False]


def test_one_that_has_lost_its_name() -> None:
    assert names(Tool("podman", Image("1" * 64, [], OURS, step=LAST_STEP))) == ["no name (111111111111)"]


@pytest.mark.parametrize(
    "image",
    [
        Image("1" * 64, ["localhost/theirs:1.0"], OURS, step="RUN make"),  # built on ours
        Image("1" * 64, [], OURS, step="RUN make"),  # and of no name any more
        Image("1" * 64, ["localhost/x:1.0", "registry.example/x:1.0"], OURS, step=LAST_STEP),
        Image("1" * 64, ["registry.example/x:1.0"], OURS, step=LAST_STEP),
        Image("1" * 64, [f"{LOCAL_BASE}:0123", "localhost/theirs:1.0"], step=LAST_STEP),
        Image("1" * 64, ["localhost/x:1.0"], {"io.hpcregistry.definition": "0"}),
        Image("1" * 64, [], {}, step=LAST_STEP),
        Image("1" * 64, ["localhost/theirs:1.0"], {}),
    ],
    ids=str,
)
def test_an_image_that_is_somebody_elses(image: Image) -> None:
    ours = Image("2" * 64, ["localhost/x:1.0"], OURS)
    assert names(Tool("podman", image, ours)) == ["localhost/x:1.0 (222222222222)"]


def test_what_images_take_is_measured() -> None:
    """By their layers; what the tool says is taken only where one of them cannot be read."""
    image = Image("1" * 64, ["localhost/x:1.0"], OURS, ["/layers/2", "/layers/1"])
    tool = Tool("podman", image)
    found = find_images("podman", tool)
    assert (found.path, found.missing) == ("/var/lib/images", "")
    assert found.entries[0].parts == {"/layers/1": 100, "/layers/2": 100}
    assert found.entries[0].made == 1767323045.678901
    image.layers = ()
    assert find_images("podman", tool).entries[0].parts == {"1" * 64: 1000}


def test_a_layer_that_cannot_be_read(monkeypatch: pytest.MonkeyPatch) -> None:
    tool = Tool("podman", Image("1" * 64, ["localhost/x:1.0"], OURS, ["/layers/2", "/layers/1"]))
    monkeypatch.setattr("pytest_hpcregistry.images.caches.stored.measure", lambda paths, here: {"/layers/1": 100})
    assert find_images("podman", tool).entries[0].parts == {"1" * 64: 1000}


def test_an_image_is_removed_without_force() -> None:
    tool = Tool("podman", Image("1" * 64, ["localhost/x:1.0"], OURS), Image("2" * 64, ["theirs:1"]))
    (entry,) = find_images("podman", tool).entries
    entry.remove(None)
    assert tool.asked[-1] == ["podman", "image", "rm", "1" * 64]
    assert [image.id for image in tool.images] == ["2" * 64]


def test_an_image_that_a_container_uses_stays() -> None:
    tool = Tool("podman", Image("1" * 64, ["localhost/x:1.0"], OURS, used=True))
    (entry,) = find_images("podman", tool).entries
    with pytest.raises(CommandFailed, match="in use by a container"):
        entry.remove(None)


def test_a_tool_that_cannot_be_asked_is_not_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tool = Tool("docker")
    tool.wrong = "Cannot connect to the Docker daemon"
    assert find_images("docker", tool).missing == "Cannot connect to the Docker daemon"
    assert find_images("podman", tool).missing == "no podman"


@pytest.mark.parametrize("answer", ["[]", "no JSON", "[{}]", '[{"RepoTags": 5, "Config": 7}]', "[null]"])
def test_an_answer_that_is_none(answer: str, monkeypatch: pytest.MonkeyPatch) -> None:
    tool = Tool("podman", Image("1" * 64, ["localhost/x:1.0"], OURS))
    asked = tool.answer
    monkeypatch.setattr(tool, "answer", lambda words: answer if words[1] == "inspect" else asked(words))
    if answer == "[]":
        assert find_images("podman", tool).entries == []
        return
    with pytest.raises(CommandFailed, match="podman describes an image in a form that is not known"):
        find_images("podman", tool)
