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


@pytest.mark.parametrize("registry", ["/X", "/opt/X//"])
def test_a_registry_of_any_name(registry: str) -> None:
    target = registry.rstrip("/") + "/ml-frameworks/x.sif"
    assert names.image_name(target, registry, DIRECTORIES) == "ml-frameworks/x.sif"


@pytest.mark.parametrize(
    "target",
    ["x.sif", "/srv/x.sif", "/opt/containers/x.sif", "/opt/containersml-frameworks/x.sif", "base-images/x.sif",
     "../ml-frameworks/x.sif", "/opt/containers//ml-frameworks/x.sif", "", ".registry/x.sif",
     "ml-frameworks", "/opt/containers/ml-frameworks"],
)  # fmt: skip
def test_what_lies_outside_is_refused(target: str) -> None:
    with pytest.raises(UsageError, match="does not lie in") as caught:
        names.image_name(target, REGISTRY, DIRECTORIES)
    assert "/opt/containers/custom-images/NAME.sif" in caught.value.hint


@pytest.mark.parametrize("name", [*HOSTILE, "deeper/x.sif", "../../etc/x.sif"])
def test_a_known_directory_does_not_excuse_a_hostile_name(name: str) -> None:
    with pytest.raises(UsageError, match="is not a name for an image"):
        names.image_name(f"ml-frameworks/{name}", REGISTRY, DIRECTORIES)


def test_only_known_directories() -> None:
    assert names.check_directory("custom-images", DIRECTORIES) == "custom-images"
    with pytest.raises(UsageError, match="not a directory of the registry") as caught:
        names.check_directory("..", DIRECTORIES)
    assert "ml-frameworks" in caught.value.hint


def test_the_nodes_have_the_same_rules() -> None:
    """agent/facts.py runs alone on the nodes and has its own copy."""
    assert agent.FILE_NAME.pattern == names.FILE_NAME.pattern
    assert agent.DIRECTORY_NAME.pattern == names.DIRECTORY_NAME.pattern
    assert agent.DIGEST.pattern == names.DIGEST.pattern


def test_visible_text_cannot_write_to_the_terminal() -> None:
    assert names.visible("é 漢 ' \\ .sif") == "é 漢 ' \\ .sif"
    assert names.visible("'\\\n") == "'\\\\n"
    assert names.visible("a\nb\x1b[31m\udcff\u202e\t") == "a\\nb\\x1b[31m\\udcff\\u202e\\t"


def test_an_excerpt_is_one_visible_line_of_bounded_length() -> None:
    assert names.excerpt(" a\nb\x1b \n") == "a\\nb\\x1b"
    assert names.excerpt("x" * 300) == "x" * 300
    assert names.excerpt("x" * 301) == names.excerpt("x" * 100_000) == "x" * 299 + "…"
    assert names.excerpt("abc", 3) == "abc"
    assert names.excerpt("abcd", 3) == names.excerpt("ab\0", 3) == "ab…"
    assert names.excerpt("  abc", 2) == "a…"
    assert names.excerpt("a  bc", 2) == "a…"
    assert names.excerpt("x" * 1001, names.LONGEST_REASON) == "x" * 999 + "…"


def test_a_message_keeps_its_lines_and_is_bounded() -> None:
    assert names.printable("a\tb\n\x1b[2J\rc\n") == "a   b\n\\x1b[2J\\rc\n"
    assert names.printable("x" * 200_000) == "x" * 200_000
    assert names.printable("x" * 200_002) == "x" * 200_000 + "… (200002 characters)"


@pytest.mark.parametrize(
    ("text", "last"),
    [
        ("a\nb\n\n", "b"),
        ("a\n \x1b[2J \n", "\\x1b[2J"),
        ("", "nothing"),
        (" \n", "nothing"),
        ("x" * 301, "x" * 299 + "…"),
    ],
)
def test_the_last_line_of_what_a_program_said(text: str, last: str) -> None:
    assert names.last_line(text, "nothing") == last
