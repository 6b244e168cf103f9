"""`make demo`: the whole workflow on a real cluster in containers, each step a command that a user would type.

Leaves reports/junit.xml and reports/demo.json; the lab stays up, to be played with.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from pytest_hpcregistry import lab
from pytest_hpcregistry.cluster.phases import PHASES
from pytest_hpcregistry.report.junit import read_counts

ROOT = Path(__file__).resolve().parent
IMAGES = "fixtures/images"
REPORTS = ROOT / "reports"
SIF = Path("build/containers/apptainer/python-base.sif")
TOOL = "hpc-container-manager"

STEPS: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("start a cluster in containers", (TOOL, "lab", "up")),
    ("phase 1: set up the registry", (TOOL, "registry", "setup")),
    ("build the image", (TOOL, "image", "build", "python-base", "--definitions", IMAGES)),
    ("convert it to SIF", (TOOL, "convert", "to-apptainer", "python-base:1.0", str(SIF), "--force")),
    ("phase 2: deploy it", (TOOL, "deploy", "single", "--sync-nodes", "--verify", str(SIF))),
    ("sync: nothing is left to do", (TOOL, "sync")),
    ("verify: read it back everywhere", (TOOL, "verify")),
    ("look at the cluster", (TOOL, "status")),
    ("phase 3: run all suites", (TOOL, "test", "--all", "--allow-changes", "--reports", str(REPORTS))),
)


def main() -> int:
    REPORTS.mkdir(exist_ok=True)
    for phase in PHASES:
        (REPORTS / f"{phase}.xml").unlink(missing_ok=True)
    done: list[dict[str, Any]] = []
    for name, argv in STEPS:
        say(f"\n== {name}\n$ {' '.join(argv)}")
        began = time.monotonic()
        code = run(argv)
        seconds = time.monotonic() - began
        done.append({"name": name, "seconds": round(seconds, 1), "ok": code == 0})
        say(f"-- {seconds:.1f} s")
        if code != 0:
            say(f"{name}: exit code {code}")
            break
    write_report(done)
    say(f"\nreports/junit.xml and reports/demo.json are in {REPORTS}")
    state = lab.status("default") if done[0]["ok"] else None
    if state:
        program = Path(sys.executable).parent / TOOL
        say(f"The lab is still up:  export HPC_CLUSTER={state.cluster_file}\nRemove it with:       {program} lab down")
    return 0 if all(step["ok"] for step in done) and len(done) == len(STEPS) else 1


def run(argv: tuple[str, ...]) -> int:
    """Run one command with this environment's programs first."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    cluster = str(lab.state_directory("default") / "cluster.yaml")
    return subprocess.run(
        argv, cwd=ROOT, env={**os.environ, "PATH": path, "HPC_CLUSTER": cluster}, check=False
    ).returncode


def write_report(done: list[dict[str, Any]]) -> None:
    counts = {phase: read_counts(REPORTS / f"{phase}.xml") for phase in PHASES if (REPORTS / f"{phase}.xml").exists()}
    tests = {phase: counts[phase].passed if phase in counts else 0 for phase in PHASES}
    tests["failed"] = sum(count.failed for count in counts.values())
    (REPORTS / "demo.json").write_text(json.dumps({"steps": done, "tests": tests}, indent=2) + "\n")


def say(text: str) -> None:
    print(text, flush=True)  # noqa: T201 - a script for people


if __name__ == "__main__":
    sys.exit(main())
