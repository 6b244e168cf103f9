"""A job script is rendered whole, with every value as one word of the shell, or the mistake is named."""

from __future__ import annotations

import shlex
import subprocess
from pathlib import Path

import pytest

from pytest_hpcregistry.core.errors import UsageError
from pytest_hpcregistry.images.job_script import LONGEST, render
from tests import ROOT

TRAINING = ROOT / "examples" / "training" / "distributed_training.sh.j2"
NEEDED = {"container": "/opt/x.sif", "nodes": "2", "ntasks_per_node": "4", "script": "train.py"}


@pytest.fixture
def template(tmp_path: Path) -> Path:
    return tmp_path / "job.sh.j2"


def fill(template: Path, text: str, **values: str) -> str:
    template.write_text(text)
    return render(template, values)


def test_the_seeds_script() -> None:
    """What the workflow document has between its EOFs, each line for its variable."""
    lines = render(TRAINING, {**NEEDED, "gres": "gpu:4", "digest": "ab" * 32}).splitlines()
    assert lines[0] == "#!/bin/bash"
    assert {
        "#SBATCH --job-name=pytorch-distributed",
        "#SBATCH --nodes=2",
        "#SBATCH --ntasks-per-node=4",
        "#SBATCH --gres=gpu:4",
    } <= set(lines)
    assert any("ab" * 32 in line for line in lines)
    assert lines[-1] == "srun --container=/opt/x.sif python3 train.py --distributed"


def test_what_has_a_default_may_be_left_out() -> None:
    script = render(TRAINING, {**NEEDED, "arguments": "--steps 3  --every=1", "job_name": "mine"})
    assert "--gres" not in script
    assert "SHA-256" not in script
    assert "#SBATCH --job-name=mine\n" in script
    assert script.endswith(" train.py --distributed --steps 3 --every=1\n")
    subprocess.run(["bash", "-n"], input=script, text=True, check=True)


@pytest.mark.parametrize(
    "value", ["a b", "it's", '"q" $HOME', "$(id)", "`id`", "; id #", "-x", "\\", "*", "ü", "{{ x }}"]
)
def test_a_quoted_value_is_one_word_of_the_shell(template: Path, value: str) -> None:
    script = fill(template, "#!/bin/sh\nprintf %s {{ word | quote }}\n", word=value)
    done = subprocess.run(["/bin/sh"], input=script, capture_output=True, text=True, check=True)
    assert done.stdout == value
    assert shlex.split(script.splitlines()[1])[2:] == [value]


@pytest.mark.parametrize(
    ("values", "message", "hint"),
    [
        ({"nodes": "2"}, "'script' is undefined", "without a value: script"),
        ({"nodes": "2", "script": "x", "node": "1"}, "has no variable node", "it has nodes, script"),
        ({"nodes": "2", "script": ""}, "script has an empty value", "leave it out"),
        ({"nodes": "2", "script": "x\nid"}, "script has a control character or a line break in its value: x\\nid", ""),
        ({"nodes": "2", "script": "x\x1b[2J"}, "script has a control character", ""),
        ({"nodes": "2", "script": "x\u202e"}, "script has a control character", ""),
        ({"nodes": "2", "script": "x\udc80"}, "script has a control character", ""),
        ({"nodes": "2", "script": "x", "a-b": "1"}, "'a-b' can't name a variable", "letters"),
        ({"nodes": "x", "script": "x"}, "cannot be filled in: ZeroDivisionError", ""),
    ],
)
def test_a_wrong_value_is_named(template: Path, values: dict[str, str], message: str, hint: str) -> None:
    with pytest.raises(UsageError) as caught:
        fill(template, "#!/bin/sh\n{{ 4 // nodes | int }} {{ script }}\n", **values)
    assert message in str(caught.value)
    assert hint in caught.value.hint
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("#!/bin/sh\n\n{{ }}\n", "line 3: Expected an expression"),
        ("#!/bin/sh\necho ${#name}\n", "line 2: Missing end of comment tag"),
        ("#!/bin/sh\n{{ x | qoute }}\n", "line 2: No filter named 'qoute'"),
        ("echo\n", "does not begin with #!"),
        ("", "does not begin with #!"),
        ("#!/bin/sh\necho \x1b]0;\n", "line 2 of the script: a control character: echo \\x1b]0;"),
        ("#!/bin/sh\n{% include '/etc/passwd' %}\n", "cannot be filled in"),
        ("#!/bin/sh\n{{ ''.__class__.__mro__ }}\n", "access to attribute '__class__'"),
        ("#!/bin/sh\n{{ range(10 ** 9) | list }}\n", "cannot be filled in: OverflowError"),
    ],
)
def test_a_template_that_makes_no_script_is_refused(template: Path, text: str, message: str) -> None:
    template.write_bytes(text.encode())
    with pytest.raises(UsageError) as caught:
        render(template, {})
    assert message in str(caught.value)
    assert str(caught.value).startswith(str(template))


def test_a_file_that_is_no_template(template: Path) -> None:
    for prepare, message in (
        (lambda: None, "cannot be read: No such file"),
        (lambda: template.write_bytes(b"#!\xff"), "is no text in UTF-8"),
        (lambda: template.write_bytes(b"#!" + b" " * LONGEST), "is larger than 1 MiB"),
    ):
        prepare()
        with pytest.raises(UsageError, match=message):
            render(template, {})
    with pytest.raises(UsageError, match="is no regular file"):
        render(template.parent, {})


def test_lines_of_windows_become_lines_that_bash_reads(template: Path) -> None:
    assert fill(template, "#!/bin/sh\r\necho {{ x }}\r\n", x="1") == "#!/bin/sh\necho 1\n"


def test_tabs_and_a_lines_end_stay_as_they_are(template: Path) -> None:
    assert fill(template, "#!/bin/sh\n\techo {{ x }}", x="1") == "#!/bin/sh\n\techo 1"
