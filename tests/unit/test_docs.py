"""README and CONTRIBUTING are true: what they name is there, and what is there is named."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from pytest_hpcregistry.cli import commands
from pytest_hpcregistry.cluster import phases
from pytest_hpcregistry.core import errors
from pytest_hpcregistry.core.kinds import settings_of
from pytest_hpcregistry.core.model import SYNC_METHODS, Sync
from pytest_hpcregistry.images.definitions import checks, definition
from pytest_hpcregistry.plugin import fixtures, session
from tests import ROOT
from tests.lab import diary

README = (ROOT / "README.md").read_text()
CONTRIBUTING = (ROOT / "CONTRIBUTING.md").read_text()
PROGRAM = "hpc-container-manager"


def shown_commands(text: str) -> list[str]:
    """Every command line of the program in *text*: in code blocks and between backticks."""
    blocks = "\n".join(re.findall(r"^```.*?\n(.*?)^```", text, re.MULTILINE | re.DOTALL))
    inline = re.findall(rf"`({PROGRAM} [^`]*)`", re.sub(r"^```.*?^```", "", text, flags=re.MULTILINE | re.DOTALL))
    lines = [line.removeprefix("$ ") for line in blocks.replace("\\\n", " ").splitlines()]
    return [line for line in [*lines, *inline] if line.startswith(f"{PROGRAM} ")]


def check_command(line: str) -> str | None:
    """What is wrong with a command line, going down the tree of commands as click would."""
    words = line.split("#", maxsplit=1)[0].split()[1:]
    command: click.Command = commands
    while words and isinstance(command, click.Group) and words[0] not in ("--help", "--version"):
        default = getattr(command, "default", None)
        name = words.pop(0) if default is None or words[0] in command.commands else default
        found = command.get_command(click.Context(command), name)
        if found is None:
            return f"{line}: there is no {name}"
        command = found
    if isinstance(command, click.Group):
        return None if words and words[0] in ("--help", "--version") else f"{line}: names no command"
    known = {option for parameter in command.params for option in parameter.opts}
    wrong = [
        word for word in words if word.startswith("-") and word.split("=")[0].rstrip(",") not in known | {"--help"}
    ]
    return f"{line}: no option {wrong[0]}" if wrong else None


def all_commands(group: click.Group = commands, path: str = "") -> Iterator[tuple[str, click.Command]]:
    for name in group.list_commands(click.Context(group)):
        command = group.get_command(click.Context(group), name)
        assert command
        if isinstance(command, click.Group):
            yield from all_commands(command, f"{path}{name} ")
        else:
            yield f"{path}{name}", command


def test_readme_shows_every_key_of_an_images_definition(tmp_path: Path) -> None:
    definition_text = README.partition("### From a definition")[2].partition("```yaml\n")[2].partition("```")[0]
    (tmp_path / "image.yaml").write_text(definition_text)
    (tmp_path / "Dockerfile").touch()
    assert definition.read(tmp_path).name == "solver"
    assert list(yaml_keys(definition_text)) == list(definition.READERS)
    checks_text = README.partition("### Tested by their own checks")[2].partition("```yaml\n")[2].partition("```")[0]
    (tmp_path / "image.yaml").write_text(f"name: solver\n{checks_text}")
    assert len(definition.read(tmp_path).checks) == 5
    assert {key for key in checks.READERS if f"{key}:" in checks_text} == set(checks.READERS) - {"name"}


def yaml_keys(text: str) -> list[str]:
    return re.findall(r"^(\w+):", text, re.MULTILINE)


@pytest.mark.parametrize("document", ["README.md", "CONTRIBUTING.md", "CHANGELOG.md", "docs/inventory.md"])
def test_every_command_shown_is_one(document: str) -> None:
    lines = shown_commands((ROOT / document).read_text())
    assert [mistake for line in lines if (mistake := check_command(line))] == []


def test_the_readme_shows_the_workflow() -> None:
    shown = {" ".join(line.split()[1:3]) for line in shown_commands(README)}
    assert {"registry setup", "image build", "convert single", "deploy --sync-nodes", "test --all"} <= shown
    assert {"$ make demo", "$ make test"} <= set(README.splitlines())


def test_wrong_commands_are_seen() -> None:
    """If they were not, the test above would pass whatever the README says."""
    assert shown_commands("```console\n$ hpc-container-manager a \\\n  b\n```\n`hpc-container-manager c`") == [
        "hpc-container-manager a    b",
        "hpc-container-manager c",
    ]
    assert check_command("hpc-container-manager status --json") is None
    for wrong in ("gone", "catalog gone", "status --gone", "catalog", ""):
        assert check_command(f"hpc-container-manager {wrong}"), wrong


def test_every_exit_code_is_in_the_readme() -> None:
    kinds = [kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, Exception)]
    codes = {0, 130} | {kind.exit_code for kind in kinds if issubclass(kind, errors.HpcRegistryError)}
    assert codes == {0, 1, 2, 3, 4, 130}
    table = {int(number) for number in re.findall(r"^\| ?`?(\d+)`? ?\|", README, re.MULTILINE)}
    assert table == codes


def test_the_error_tree_is_in_its_docstring() -> None:
    assert errors.__doc__ is not None
    for name, kind in vars(errors).items():
        if isinstance(kind, type) and issubclass(kind, errors.HpcRegistryError):
            assert re.search(rf"\b{name} +{kind.exit_code} ", errors.__doc__), name


def test_every_place_in_the_readmes_map_is_there() -> None:
    rows = re.findall(r"^\| (`[^|]+) \|", README.partition("## The code")[2], re.MULTILINE)
    package = ROOT / "pytest_hpcregistry"
    places = [place for row in rows for place in re.findall(r"`([^`]+)`", row)]
    assert len(places) > 5
    assert [place for place in places if not (ROOT / place).exists() and not (package / place).exists()] == []
    tracked = {path.name for path in ROOT.iterdir() if (path / "__init__.py").exists() or path.name == "fixtures"}
    assert tracked <= {place.partition("/")[0] for place in places}


def test_links_lead_somewhere() -> None:
    for text in (README, CONTRIBUTING):
        links = re.findall(r"\]\((?!https?:)([^)#]+)\)", text)
        assert [link for link in links if not (ROOT / link).exists()] == []


def test_contributing_names_tests_that_exist() -> None:
    named = set(re.findall(r"`(tests/[\w/]+\.py)`", CONTRIBUTING))
    assert "tests/unit/test_layers.py" in named
    assert [name for name in named if not (ROOT / name).is_file()] == []


def test_fixtures_options_and_variables_exist() -> None:
    for name in re.findall(r"--hpc-([a-z-]+)", README):
        assert name in {*session.OPTIONS, *session.CHOICES, "allow-changes"}
    sentence = README.partition("there are the fixtures")[2].partition("\n\n")[0]
    names = re.findall(r"`(\w+)`", sentence)
    assert names
    assert [name for name in names if not hasattr(fixtures, name)] == []


def test_every_engine_is_explained_wherever_engines_are() -> None:
    for_people = {
        "README.md": re.findall(
            r"^\| `(\w+)` \|", README.partition("| engine |")[2].partition("\n\n")[0], re.MULTILINE
        ),
        "cluster.yaml": re.findall(r"(\w+)(?: \([^)]*\))?(?: \||$)", method_line().partition("# ")[2]),
        "model.py": re.findall(r"(\w+): ", settings_of(Sync)["method"].help),
    }
    assert {place: sorted({"auto", *names}) for place, names in for_people.items()} == dict.fromkeys(
        for_people, sorted(SYNC_METHODS)
    )


def method_line() -> str:
    """The line of the example of a cluster file that shows `sync.method`."""
    lines = (ROOT / "fixtures" / "cluster.yaml").read_text().splitlines()
    (line,) = [line for line in lines if line.strip().startswith("method:")]
    return line


def test_every_phase_is_shown() -> None:
    assert [phase for phase in phases.PHASES if f"-m {phase}" not in README] == []


def test_the_bad_day_is_the_one_that_a_test_lives_through() -> None:
    """Written by `python -m tests.lab.diary > docs/a-bad-day.md`."""
    assert (ROOT / "docs" / "a-bad-day.md").read_text() == diary.render()
