"""`image build`: one or all, and what is said of each."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from pytest_hpcregistry import cli
from pytest_hpcregistry.core.errors import CommandFailed
from tests.unit.images.test_build import Stand, stand  # noqa: F401 - a fixture
from tests.unit.images.test_definition import define


def run(definitions: Path, *words: str) -> Result:
    return CliRunner().invoke(cli.commands, ["image", "build", *words, "--definitions", str(definitions)])


def test_what_is_up_to_date_is_not_built_again(stand: Stand, tmp_path: Path) -> None:  # noqa: F811
    images = tmp_path / "images"
    define(images, "name: mine\n")
    first, again, forced = run(images, "mine"), run(images, "mine"), run(images, "mine", "--force")
    assert "✓ mine:latest: built in " in first.output
    assert again.output == "✓ mine:latest: up to date (aaaaaaaaaaaa)\n"
    assert "✓ mine:latest: built in " in forced.output
    assert {first.exit_code, again.exit_code, forced.exit_code} == {0}


def test_one_that_fails_keeps_no_other_from_being_built(stand: Stand, tmp_path: Path) -> None:  # noqa: F811
    images = tmp_path / "images"
    for name in ("a", "b", "c"):
        define(images, f"name: {name}\n", name)
    (images / "b" / "fails").touch()
    result = run(images, "all")
    assert result.output.count("✓") == 2
    assert "error: podman could not build b:latest\n  STEP 1" in result.output
    assert isinstance(result.exception, CommandFailed)
    assert str(result.exception) == "1 of 3 images were not built: b"
    with pytest.raises(CommandFailed, match="could not build b:latest"):
        cli.commands.main(["image", "build", "b", "--definitions", str(images)], standalone_mode=False)


def test_the_directory_of_definitions_may_be_set_once(
    stand: Stand,  # noqa: F811
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    define(tmp_path / "images", "name: mine\n")
    monkeypatch.setenv("HPC_IMAGES", str(tmp_path / "images"))
    assert CliRunner().invoke(cli.commands, ["image", "build", "mine"]).exit_code == 0
