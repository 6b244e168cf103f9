"""An import points down only, and each dependency has one home: CONTRIBUTING's map, checked."""

from __future__ import annotations

import ast
import functools
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests import ROOT

PACKAGE = ROOT / "pytest_hpcregistry"
HOMES = {
    "ansible": {"setup/callback_plugins/"},
    "ClusterShell": {"core/nodeset.py"},
    "click": {"cli/"},
    "cyclonedx": {"images/inventory/sbom.py"},
    "jinja2": {"images/job_script.py"},
    "junit_xml": {"report/junit.py"},
    "packageurl": {"images/inventory/sbom.py"},
    "paramiko": {"transports/paramiko.py"},
    "pytest": {"plugin/"},
    "rich": {"report/bars.py"},
    "ssl": {"agent/relay.py"},
    "subprocess": {"transports/process.py", "transports/conversation.py", "agent/facts.py"},
    "yaml": {"core/documents.py"},
}


def modules() -> list[str]:
    """Every module of the package, as its path below it."""
    return sorted(str(path.relative_to(PACKAGE)) for path in PACKAGE.rglob("*.py"))


@functools.cache
def imports(module: str) -> frozenset[str]:
    """What *module* imports, under TYPE_CHECKING and inside functions too: our modules as paths, others by name."""
    return frozenset(find_imports(module))


def find_imports(module: str) -> Iterator[str]:
    path = PACKAGE / module
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and not node.level:
            assert node.module is not None
            yield node.module.partition(".")[0]
        elif isinstance(node, ast.ImportFrom):
            start = path.parents[node.level - 1].joinpath(*(node.module or "").split("."))
            yield from (found for alias in node.names for found in ours(start, alias.name))


def ours(start: Path, name: str) -> Iterator[str]:
    """The file behind `from START import NAME`: a module of a package, a package, or a module that has the name."""
    choices = (start / f"{name}.py", start / name / "__init__.py", start / "__init__.py", start.with_suffix(".py"))
    yield next(str(path.relative_to(PACKAGE)) for path in choices if path.is_file())


def test_every_folder_is_on_the_map() -> None:
    """Where it runs, and with which Python."""
    named = {name for row in map_rows() for name in re.findall(r"`([a-z]+)/`", row[0])}
    folders = {path.parent.name for path in PACKAGE.glob("*/__init__.py")}
    assert folders - {"suites"} == named


def map_rows() -> list[list[str]]:
    """The cells of CONTRIBUTING's map, a row for each folder."""
    lines = (ROOT / "CONTRIBUTING.md").read_text().splitlines()
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines if line.startswith("| `")]


def test_a_folder_imports_what_the_map_allows() -> None:
    """Its last column; where that is a sentence, import-linter's contracts have it."""
    checked = 0
    for first, *_, allowed in map_rows():
        if not re.fullmatch(r"nothing.*|`\w+`(, `\w+`)*", allowed):
            continue
        folder = re.findall(r"`([a-z]+)/`", first)[0]
        found = {
            name.partition("/")[0]
            for module in modules()
            if module.startswith(f"{folder}/")
            for name in imports(module)
            if "/" in name
        }
        assert found - {folder} <= set(re.findall(r"`(\w+)`", allowed)), folder
        checked += 1
    assert checked > 8


def test_every_folder_says_where_it_runs() -> None:
    for path in PACKAGE.glob("*/__init__.py"):
        words = ast.get_docstring(ast.parse(path.read_text())) or ""
        assert re.search(r"Python >?=? ?3\.(6|9|11)", words), path


def test_the_imports_are_seen() -> None:
    """If they were not, all else here would pass."""
    assert {"core/facts.py", "cluster/remote.py", "transports/__init__.py", "json"} <= imports("cluster/client.py")
    assert {"lab/__init__.py", "cli/show.py"} <= imports("cli/lab.py")
    assert "transports/paramiko.py" in imports("transports/__init__.py")


@pytest.mark.parametrize("dependency", HOMES)
def test_each_dependency_has_one_home(dependency: str) -> None:
    users = {module for module in modules() if dependency in imports(module)}
    strangers = {module for module in users if not any(module.startswith(home) for home in HOMES[dependency])}
    assert users
    assert strangers == set()


def test_nothing_else_is_depended_on() -> None:
    names = {name for module in modules() for name in imports(module) if not name.endswith(".py")}
    own = {PACKAGE.name}  # by which a filter plugin of the role names it: Ansible loads that outside of the package
    assert names - sys.stdlib_module_names - set(HOMES) - own == set()


def test_the_suites_use_the_library_and_pytest_only() -> None:
    for path in (ROOT / "suites").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("pytest_hpcregistry"):
                words = {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
                # conftest.py has their plugin's fixtures, by their short names.
                others = "cli|lab|agent|controller" + ("" if path.name == "conftest.py" else "|plugin")
                assert not {word for word in words if re.search(rf"\.({others})\b", word)}, path


def test_no_module_has_grown_too_long() -> None:
    """One file, one idea."""
    long = {module: (PACKAGE / module).read_text().count("\n") for module in modules()}
    assert {module: lines for module, lines in long.items() if lines > 400} == {}


@pytest.mark.parametrize("words", [[], ["deploy", "--help"], ["image", "--help"], ["test", "--help"]])
def test_the_command_line_starts_fast(words: list[str]) -> None:
    """What is slow to import is imported by those who need it."""
    code = (
        "import sys; from pytest_hpcregistry.cli import commands;"
        f"commands.main({words or ['--help']!r}, standalone_mode=False);"
        "slow = ('ansible', 'cyclonedx', 'paramiko', 'pytest', '_pytest', 'rich');"
        "print([name for name in slow if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.startswith("Usage: ")
    assert done.stdout.splitlines()[-1] == "[]"
