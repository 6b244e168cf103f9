"""`make demo-ml`: a real image, from its Dockerfile to a training job of two nodes, on a cluster in containers.

Leaves reports/demo-ml.json and reports/demo-ml.xml; the lab stays up, to be played with.
"""

from __future__ import annotations

import json
import sys
import xml.etree.ElementTree as ET
from pathlib import Path
from typing import Any

from demo import IMAGES, REPORTS, ROOT, TOOL, Step, run_steps, say, say_what_is_still_up
from pytest_hpcregistry.lab.podman import podman

LAB = "ml-main"
IMAGE = "pytorch-cpu"
SIF = Path(f"build/containers/apptainer/{IMAGE}.sif")
CASES = REPORTS / "demo-ml.xml"
# Podman's own runtime does not start everywhere, and a RUN in a Dockerfile needs none then.
BUILD = ("env", "BUILDAH_ISOLATION=chroot", TOOL, "image", "build")
# On this lab, which tests/lab/conftest.py calls NAME-main, and which is to stay up.
PYTEST = ("env", f"HPCREG_TEST_LAB={LAB.removesuffix('-main')}", "HPCREG_KEEP_LAB=1", sys.executable, "-m", "pytest")


def image_bytes() -> int:
    """The size of the image in Podman, unpacked."""
    return int(podman("image", "inspect", "--format", "{{.Size}}", f"{IMAGE}:2.13.0").check().stdout)


def sif_bytes() -> int:
    return (ROOT / SIF).stat().st_size


STEPS = (
    Step("remove the cluster of the last time", (TOOL, "lab", "down", "--name", LAB)),
    Step("start a cluster in containers", (TOOL, "lab", "up", "--name", LAB)),
    Step("phase 1: set up the registry", (TOOL, "registry", "setup")),
    Step("build the image", (*BUILD, IMAGE, "--definitions", IMAGES, "--force"), image_bytes),
    Step("convert it to SIF", (TOOL, "convert", "to-apptainer", f"{IMAGE}:2.13.0", str(SIF), "--force"), sif_bytes),
    Step("say what would be deployed", (TOOL, "deploy", "all", "--dry-run"), sif_bytes),
    Step("phase 2: deploy it", (TOOL, "deploy", "all", "--sync-nodes", "--verify"), sif_bytes),
    Step("list its packages", (TOOL, "image", "sbom", str(SIF), "--output", f"{SIF}.cdx.json", "--force")),
    Step("test it on a node, by its own checks", (TOOL, "test", f"{IMAGE}.sif", "--on", "c001")),
    Step("sync: nothing is left to do", (TOOL, "sync")),
    Step("verify: read it back everywhere", (TOOL, "verify")),
    Step("look at the cluster", (TOOL, "status")),
    Step("the workflows, and training", (*PYTEST, "-m", "ml", "-p", "no:xdist", f"--junitxml={CASES}", "tests/lab")),
)


def main() -> int:
    REPORTS.mkdir(exist_ok=True)
    CASES.unlink(missing_ok=True)
    done = run_steps(STEPS, LAB)
    cases, found = read_cases(CASES) if CASES.exists() else ([], {})
    report = {"steps": [*done[:-1], *cases] if cases else done, "digests": {}, "loss": {}} | found
    (REPORTS / "demo-ml.json").write_text(json.dumps(report, indent=2) + "\n")
    say(f"\nreports/demo-ml.json is in {REPORTS}")
    say_what_is_still_up(LAB)
    return 0 if cases and len(done) == len(STEPS) and all(step["ok"] for step in [*done, *cases]) else 1


def read_cases(path: Path) -> tuple[list[dict[str, Any]], dict[str, dict[str, Any]]]:
    """The tests as steps of the report, and what they recorded: a property `loss resumed` as ["loss"]["resumed"]."""
    steps = []
    found: dict[str, dict[str, Any]] = {}
    for case in ET.parse(path).getroot().iter("testcase"):  # noqa: S314 - our own pytest wrote it a moment ago
        wrong = [case.find(tag) is not None for tag in ("failure", "error", "skipped")]
        steps.append(
            {"name": case.get("name"), "seconds": float(case.get("time", 0)), "ok": not any(wrong), "bytes": 0}
        )
        for one in case.iter("property"):
            kind, _, name = one.get("name", "").partition(" ")
            value = one.get("value", "")
            found.setdefault(kind, {})[name] = float(value) if kind == "loss" else value
    return steps, found


if __name__ == "__main__":
    sys.exit(main())
