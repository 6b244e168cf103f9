"""The checks of an image: their form in a file and in a label, and what each makes of itself."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from pytest_hpcregistry.core.catalog import Version
from pytest_hpcregistry.core.errors import ConfigError, UsageError
from pytest_hpcregistry.images.definitions import checks as module
from pytest_hpcregistry.images.definitions.checks import (
    LABEL,
    Check,
    WrongChecks,
    from_file,
    from_labels,
    from_version,
    read_checks,
    to_label,
)
from pytest_hpcregistry.images.definitions.definition import find_definitions, read
from tests.unit.images.definitions.test_definition import FIXTURES, define, mistakes

EVERY = """\
name: x
checks:
  - run: [mpirun, --version]
    output: Open MPI
    exit: "1"
    timeout: "7"
  - imports: [torch, numpy.linalg]
    name: modules
  - file: /etc/os-release
    gpu: yes
"""
READ = (
    Check(run=("mpirun", "--version"), output="Open MPI", exit=1, timeout=7),
    Check(imports=("torch", "numpy.linalg"), name="modules"),
    Check(file="/etc/os-release", gpu=True),
)


def test_every_key(tmp_path: Path) -> None:
    place = define(tmp_path, EVERY)
    assert read(place).checks == READ
    assert from_file(place / "image.yaml") == READ
    assert [one.title for one in READ] == ["mpirun --version", "modules", "file /etc/os-release"]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("checks: []", "2: checks: must be a list, of one at least"),
        ("checks: {run: [a]}", "2: checks: must be a list"),
        ("checks:\n  - [a]", "3: checks: check 1: must be a mapping"),
        ("checks:\n  - file: /a\n  - name: x", "4: checks: check 2: must have one of run, imports, file"),
        ("checks:\n  - file: /a\n    run: [a]", "3: checks: check 1: must have one of run, imports, file"),
        ("checks:\n  - file: /a\n    tiemout: 3", "4: checks: check 1: tiemout: unknown key. Perhaps you meant"),
        ("checks:\n  - run: a b", "3: checks: check 1: run: must be a list"),
        ("checks:\n  - run: [--nv, a]", "3: checks: check 1: run: '--nv' is not a program"),
        ("checks:\n  - run: [null]", "3: checks: check 1: run: 'null' is not a program"),
        ("checks:\n  - run:\n    - ~", "3: checks: check 1: run: '~' is not a program"),
        ("checks:\n  - run: ['']", "3: checks: check 1: run: '' is not a program"),
        ('checks:\n  - run: ["a\\0"]', "3: checks: check 1: run: 'a\\x00' is not a word"),
        ("checks:\n  - imports: [a-b]", "3: checks: check 1: imports: 'a-b' is not the name of a module"),
        ("checks:\n  - imports: [-c]", "3: checks: check 1: imports: '-c' is not the name of a module"),
        ("checks:\n  - file: etc", "3: checks: check 1: file: 'etc' is not the absolute path"),
        ("checks:\n  - file: /a\n    output: b", "4: checks: check 1: output: is for run"),
        ("checks:\n  - imports: [a]\n    exit: 1", "4: checks: check 1: exit: is for run"),
        ("checks:\n  - imports: [a]\n    mpi: pmix", "4: checks: check 1: mpi: is for run"),
        ("checks:\n  - run: [a]\n    mpi: --x", "4: checks: check 1: mpi: '--x' is not a word of srun --mpi"),
        ("checks:\n  - run: [a]\n    exit: 256", "4: checks: check 1: exit: '256' is not an exit code"),
        ("checks:\n  - run: [a]\n    exit: -1", "4: checks: check 1: exit: '-1' is not an exit code"),
        ("checks:\n  - run: [a]\n    output: ''", "4: checks: check 1: output: '' is not a text"),
        ("checks:\n  - run: [a]\n    timeout: 0", "4: checks: check 1: timeout: '0' is not a whole number above 0"),
        ("checks:\n  - run: [a]\n    timeout: 86401", "4: checks: check 1: timeout: '86401' is more than 86400"),
        ("checks:\n  - run: [a]\n    gpu: 2", "4: checks: check 1: gpu: '2' is neither true nor false"),
        ("checks:\n  - run: [a]\n    gpu: [true]", "4: checks: check 1: gpu: a list is not a text"),
        ('checks:\n  - run: [a]\n    name: "a\\nb"', "4: checks: check 1: name: 'a\\nb' is not a text of one line"),
        ("checks:\n  - file: /a\n  - file: /a", "4: checks: two are called 'file /a'"),
    ],
)
def test_a_mistake_is_said_with_its_line(tmp_path: Path, text: str, says: str) -> None:
    (mistake, *_) = mistakes(tmp_path, f"name: x\n{text}\n")
    assert mistake.startswith(says)
    with pytest.raises(ConfigError, match="1 mistake"):
        from_file(tmp_path / "mine" / "image.yaml")


def test_all_mistakes_are_said(tmp_path: Path) -> None:
    text = "name: x\nchecks:\n  - run: [-a]\n    exit: b\n  - gpu: maybe\n"
    assert [mistake.split(":")[0] for mistake in mistakes(tmp_path, text)] == ["3", "4", "5", "5"]


def test_a_file_without_checks(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="must be a list"):
        from_file(define(tmp_path, "name: x\n") / "image.yaml")
    with pytest.raises(UsageError, match="No such file"):
        from_file(tmp_path / "gone.yaml")


# --- the label


def test_the_label_says_what_the_file_says() -> None:
    special = Check(run=("sh", "-c", "echo \"$HOME\" \\ 'é'\n{[]}"), output="/root é", gpu=True)
    text = to_label((*READ, special))
    assert from_labels({LABEL: text}, "x.sif") == (*READ, special)
    assert text.isascii()
    assert text.isprintable()
    assert "$" not in text, "Podman would take it for a variable"
    assert json.loads(text)[2] == {"file": "/etc/os-release", "gpu": "true"}


def test_an_image_without_the_label_has_no_checks() -> None:
    assert from_labels({"a": "b"}, "x.sif") == ()


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "is not JSON"),
        ("{", "is not JSON"),
        ("[" * 50_000, "is not JSON"),
        (["run"], "is not JSON"),
        ('[{"run": ["\\ud800"]}]', "is not JSON"),
        ("[]", "must be a list, of one at least"),
        ("null", "must be a list"),
        ('[{"run": [1]}]', "check 1: run: 1 is not a word of a command"),
        ('[{"run": ["a"], "timeout": 1e999}]', "check 1: timeout: inf is not a text"),
        ('[{"run": ["a"], "exit": true}]', "check 1: exit: True is not a text"),
        ('[{"run": ["--userns"]}]', "check 1: run: '--userns' is not a program"),
        ('[{"a\\u001b[31m": "b"}]', "check 1: a\\x1b[31m: unknown key"),
        ("[" + " " * 70_000 + "]", "characters, more than 65536"),
    ],
)
def test_a_label_is_believed_in_its_form_only(text: Any, says: str) -> None:
    with pytest.raises(ConfigError) as caught:
        from_labels({LABEL: text}, "x.sif")
    assert str(caught.value).startswith(f"x.sif: label {LABEL}: ")
    assert says in caught.value.mistakes[0]
    assert str(caught.value).replace("\n", "").isprintable()
    assert "--checks" in caught.value.hint


def test_checks_that_no_label_could_hold_are_refused() -> None:
    one: dict[str, Any] = {"run": ["sh", *["x" * 9000] * 4]}
    assert len(read_checks([one])) == 1
    with pytest.raises(WrongChecks, match="more than 65536 characters as a label"):
        read_checks([one, {**one, "name": "more"}])


# --- what is run


def run_here(check: Check) -> subprocess.CompletedProcess[str]:
    argv = [sys.executable if word == "python3" else word for word in check.argv]
    return subprocess.run(argv, capture_output=True, text=True, check=False)


def test_imports_are_tried_in_one_process() -> None:
    check = Check(imports=("json", "os.path"))
    assert check.expected == "imported json os.path"
    assert run_here(check).stdout == "imported json os.path\n"
    failed = run_here(Check(imports=("json", "no_such_module")))
    assert (failed.returncode, failed.stdout) == (1, "")
    assert failed.stderr.endswith("ModuleNotFoundError: No module named 'no_such_module'\n")


def test_a_module_beside_the_command_is_none_of_the_images(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PYTHONPATH", raising=False)
    (tmp_path / "of_the_user.py").touch()
    monkeypatch.chdir(tmp_path)
    assert run_here(Check(imports=("of_the_user",))).returncode == 1


def test_a_module_that_ends_python_is_not_imported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "ends.py").write_text("raise SystemExit")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    check = Check(imports=("ends",))
    assert (run_here(check).returncode, run_here(check).stdout) == (0, "")
    assert check.expected not in run_here(check).stdout


def test_a_file_is_there(tmp_path: Path) -> None:
    assert run_here(Check(file=str(tmp_path))).returncode == 0
    assert run_here(Check(file=str(tmp_path / "gone"))).returncode == 1


def test_every_example_has_checks_that_fit_into_a_label() -> None:
    for one in find_definitions(FIXTURES, "all"):
        assert len(one.checks) > 1, one.name
        assert from_labels({LABEL: to_label(one.checks)}, one.name) == one.checks
        assert any(check.output for check in one.checks), one.name


def test_the_defaults_are_left_out_of_the_label() -> None:
    assert to_label([Check(run=("a",))]) == '[{"run": ["a"]}]'
    assert set(module.READERS) == set(module.DEFAULTS)


def test_checks_that_the_catalog_did_not_take_are_not_taken_for_none() -> None:
    version = Version("a" * 64, 1, "t", "me@x", "amd64", labels={LABEL: to_label([Check(file="/x")])})
    assert from_version(version, "x.sif") == (Check(file="/x"),)
    with pytest.raises(ConfigError, match="too long for the catalog, which takes 4096 bytes") as caught:
        from_version(replace(version, labels={}, left_out=(LABEL,)), "x.sif")
    assert "--checks FILE" in caught.value.hint
