"""Names: what may name an image, and that workstation and node agree on it."""

from __future__ import annotations

import pytest

from pytest_hpcregistry.agent import facts as agent
from pytest_hpcregistry.core import names
from pytest_hpcregistry.core.errors import UsageError

REGISTRY, DIRECTORIES = "/opt/containers", ("ml-frameworks", "custom-images")
HOSTILE = ["../x.sif", "-x.sif", "a b.sif", "x.sif\n", "x;id.sif", "$(id).sif", ".x.sif", "x", ".sif", "", "é.sif",
           "x.sif/", "x\0.sif", "a" * 129 + ".sif"]  # fmt: skip


@pytest.mark.parametrize("name", ["x.sif", "0.sif", "pytorch-cuda12.1-mpi4.1+x_2.sif", "a" * 128 + ".sif"])
def test_good_names_pass_unchanged(name: str) -> None:
    assert names.check_file_name(name) == name


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_names_are_refused_with_a_hint(name: str) -> None:
    with pytest.raises(UsageError, match="not a name for an image") as caught:
        names.check_file_name(name)
    assert "letters, digits" in caught.value.hint


@pytest.mark.parametrize("target", ["ml-frameworks/x.sif", "/opt/containers/ml-frameworks/x.sif"])
@pytest.mark.parametrize("registry", ["/opt/containers", "/opt/containers/"])
def test_a_path_and_a_name_mean_the_same(target: str, registry: str) -> None:
    assert names.image_name(target, registry, DIRECTORIES) == "ml-frameworks/x.sif"


@pytest.mark.parametrize(
    "target",
    ["x.sif", "/srv/x.sif", "/opt/containers/x.sif", "/opt/containersml-frameworks/x.sif", "base-images/x.sif",
     "../ml-frameworks/x.sif", "/opt/containers//ml-frameworks/x.sif", "", ".registry/x.sif"],
)  # fmt: skip
def test_what_lies_outside_is_refused(target: str) -> None:
    with pytest.raises(UsageError, match="does not lie in") as caught:
        names.image_name(target, REGISTRY, DIRECTORIES)
    assert "/opt/containers/custom-images/NAME.sif" in caught.value.hint


@pytest.mark.parametrize("name", [*HOSTILE, "deeper/x.sif", "../../etc/x.sif"])
def test_a_known_directory_does_not_excuse_a_hostile_name(name: str) -> None:
    with pytest.raises(UsageError):
        names.image_name(f"ml-frameworks/{name}", REGISTRY, DIRECTORIES)


def test_only_known_directories() -> None:
    assert names.check_directory("custom-images", DIRECTORIES) == "custom-images"
    with pytest.raises(UsageError, match="not a directory of the registry") as caught:
        names.check_directory("..", DIRECTORIES)
    assert "ml-frameworks" in caught.value.hint


def test_objects_are_named_by_their_digest() -> None:
    assert names.object_path("/r", "0" * 64) == "/r/.registry/objects/sha256/" + "0" * 64
    for wrong in ("", "0" * 63, "0" * 65, "A" * 64, "0" * 64 + "\n", "../" + "0" * 61):
        with pytest.raises(UsageError, match="SHA-256"):
            names.object_path("/r", wrong)


def test_the_nodes_have_the_same_rules() -> None:
    """agent/facts.py runs alone on the nodes and has its own copy."""
    assert agent.FILE_NAME.pattern == names.FILE_NAME.pattern
    assert agent.DIRECTORY_NAME.pattern == names.DIRECTORY_NAME.pattern
    assert agent.DIGEST.pattern == names.DIGEST.pattern


def test_visible_text_cannot_write_to_the_terminal() -> None:
    assert names.visible("é 漢 ' \\ .sif") == "é 漢 ' \\ .sif"
    assert names.visible("a\nb\x1b[31m\udcff\u202e\t") == "a\\nb\\x1b[31m\\udcff\\u202e\\t"
