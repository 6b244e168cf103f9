"""`make demo`: the whole workflow on a real cluster in containers, each step a command that a user would type.

Leaves reports/junit.xml and reports/demo.json; the lab stays up, to be played with.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from pytest_hpcregistry import lab
from pytest_hpcregistry.cluster.phases import PHASES
from pytest_hpcregistry.core.errors import HpcRegistryError
from pytest_hpcregistry.report.junit import read_counts

ROOT = Path(__file__).resolve().parent
IMAGES = "fixtures/images"
REPORTS = ROOT / "reports"
SIF = Path("build/containers/apptainer/python-base.sif")
TOOL = "hpc-container-manager"


class Step(NamedTuple):
    """A command, and how many bytes it made or moved."""

    name: str
    argv: tuple[str, ...]
    count_bytes: Callable[[], int] = lambda: 0


STEPS = (
    Step("start a cluster in containers", (TOOL, "lab", "up")),
    Step("phase 1: set up the registry", (TOOL, "registry", "setup")),
    Step("build the image", (TOOL, "image", "build", "python-base", "--definitions", IMAGES)),
    Step("convert it to SIF", (TOOL, "convert", "to-apptainer", "python-base:1.0", str(SIF), "--force")),
    Step("phase 2: deploy it", (TOOL, "deploy", "single", "--sync-nodes", "--verify", str(SIF))),
    Step("sync: nothing is left to do", (TOOL, "sync")),
    Step("verify: read it back everywhere", (TOOL, "verify")),
    Step("look at the cluster", (TOOL, "status")),
    Step("phase 3: run all suites", (TOOL, "test", "--all", "--allow-changes", "--reports", str(REPORTS))),
)


def main() -> int:
    REPORTS.mkdir(exist_ok=True)
    for phase in PHASES:
        (REPORTS / f"{phase}.xml").unlink(missing_ok=True)
    done = run_steps(STEPS, "default")
    write_report(done)
    say(f"\nreports/junit.xml and reports/demo.json are in {REPORTS}")
    say_what_is_still_up("default")
    return 0 if all(step["ok"] for step in done) and len(done) == len(STEPS) else 1


def run_steps(steps: Sequence[Step], lab_name: str) -> list[dict[str, Any]]:
    """Run each on the lab of that name, up to the first that fails; returns what the report says of them."""
    done: list[dict[str, Any]] = []
    for step in steps:
        say(f"\n== {step.name}\n$ {' '.join(step.argv)}")
        began = time.monotonic()
        code = run(step.argv, lab_name)
        seconds = time.monotonic() - began
        moved = step.count_bytes() if code == 0 else 0
        done.append({"name": step.name, "seconds": round(seconds, 1), "ok": code == 0, "bytes": moved})
        say(f"-- {seconds:.1f} s")
        if code != 0:
            say(f"{step.name}: exit code {code}")
            break
    return done


def run(argv: Sequence[str], lab_name: str) -> int:
    """Run one command with this environment's programs first."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    cluster = str(lab.state_directory(lab_name) / "cluster.yaml")
    return subprocess.run(
        argv, cwd=ROOT, env={**os.environ, "PATH": path, "HPC_CLUSTER": cluster}, check=False
    ).returncode


def say_what_is_still_up(lab_name: str) -> None:
    """How to use the lab, and how to remove it; nothing when it does not run."""
    try:
        state = lab.status(lab_name)
    except HpcRegistryError:
        return
    program = Path(sys.executable).parent / TOOL
    say(f"The lab is still up:  export HPC_CLUSTER={state.cluster_file}")
    say(f"Remove it with:       {program} lab down --name {lab_name}")


def write_report(done: list[dict[str, Any]]) -> None:
    counts = {phase: read_counts(REPORTS / f"{phase}.xml") for phase in PHASES if (REPORTS / f"{phase}.xml").exists()}
    tests = {phase: counts[phase].passed if phase in counts else 0 for phase in PHASES}
    tests["failed"] = sum(count.failed for count in counts.values())
    (REPORTS / "demo.json").write_text(json.dumps({"steps": done, "tests": tests}, indent=2) + "\n")


def say(text: str) -> None:
    print(text, flush=True)  # noqa: T201 - a script for people


if __name__ == "__main__":
    sys.exit(main())
