"""A rendered script says to sbatch what was typed."""

from __future__ import annotations

import shlex
from pathlib import Path

import pytest

from .conftest import Cli
from .test_container_run import ALICE

pytestmark = pytest.mark.lab


def test_a_quoted_value_is_one_word_for_sbatch_too(cli: Cli, on: Cli, tmp_path: Path) -> None:
    """Slurm has rules of its own for lines of #SBATCH. They differ from the shell's for a backslash only."""
    template = tmp_path / "named.sh.j2"
    template.write_text("#!/bin/sh\n#SBATCH --job-name={{ name | quote }}\n")
    for name in ("a b", "it's", '"q"', "x #y", "$HOME"):
        script = cli("job", "render", template, "--set", f"name={name}").check().stdout
        held = f"cd ~ && printf %s {shlex.quote(script)} > named.sh && number=$(sbatch --parsable --hold named.sh)"
        shown = on(ALICE, f"{held} && squeue -h -j $number -o %j && scancel $number").check().stdout
        assert shown == f"{name}\n"
