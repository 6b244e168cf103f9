"""`make sites`: every site of the lab, or those that are named, one after the other.

What became of each is kept in reports/sites.json, and docs/sites.md is written of it.
"""

from __future__ import annotations

import json
import signal
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path

from pytest_hpcregistry import lab
from pytest_hpcregistry.core.cache import only_one
from pytest_hpcregistry.core.errors import HpcRegistryError
from pytest_hpcregistry.lab import site
from pytest_hpcregistry.report.lines import table as aligned
from tests import ROOT
from tests.lab.conftest import IMAGES, keep

from .matrix import page, table, verdicts
from .walk import FAILED, Done, command_line, walk

PAGE = ROOT / "docs" / "sites.md"
KEPT = ROOT / "reports" / "sites.json"


def main(names: Sequence[str]) -> int:
    sites = {name: site.load(name) for name in site.names()}
    walked = {}
    for name in names or sites:
        say(f"\n== {name}: {site.load(name).about}")
        began = time.monotonic()
        walked[name] = on_site(name, f"site-{name}")
        say(f"== {name}: {time.monotonic() - began:.0f} s")
        keep_result(name, walked[name])
    say("")
    for line in aligned(table(walked)):
        say(line)
    known = {name: done for name, done in kept_results().items() if name in sites}
    PAGE.parent.mkdir(exist_ok=True)
    PAGE.write_text(page({name: known.get(name, []) for name in sites}, sites))
    say(f"written: {PAGE.relative_to(ROOT)}")
    return 1 if any(FAILED in verdicts(done).values() for done in walked.values()) else 0


def keep_result(name: str, done: Sequence[Done]) -> None:
    """At once: a walk on all sites takes long, and may be stopped."""
    results = {**kept_results(), name: done}
    KEPT.parent.mkdir(exist_ok=True)
    KEPT.write_text(json.dumps({one: [asdict(step) for step in steps] for one, steps in results.items()}, indent=1))


def kept_results() -> dict[str, Sequence[Done]]:
    found = json.loads(KEPT.read_text()) if KEPT.exists() else {}
    return {name: [Done(**step) for step in steps] for name, steps in found.items()}


def on_site(name: str, lab_name: str) -> list[Done]:
    """The walk on a lab of that site, called *lab_name*, which is gone afterwards.

    A lab that does not start is a failed first step.
    """
    try:
        with running(name, lab_name) as state, tempfile.TemporaryDirectory(prefix="hpcreg-site-") as scratch:
            real = real_image(state.cluster_file, Path(scratch))
            here = state.site
            return walk(state.cluster_file, here.limits, real, Path(scratch), say, refused=here.refused)
    except HpcRegistryError as error:
        say(str(error))
        return [Done("setup", FAILED, str(error).splitlines()[0])]


@contextmanager
def running(name: str, lab_name: str) -> Iterator[lab.LabState]:
    """A fresh lab of that site."""
    lab.down(lab_name)
    try:
        yield lab.up(lab_name, on_step=lambda text, seconds: say(f"  {text} ({seconds:.1f} s)"), site_name=name)
    finally:
        lab.down(lab_name)


def real_image(cluster_file: Path, scratch: Path) -> Path:
    """The demo's image as a SIF file, made once."""
    path = keep("python-base") / "demo.sif"
    run = command_line(cluster_file, scratch)
    with only_one("demo"):
        if not path.exists():
            run("image", "build", "python-base", "--definitions", str(IMAGES)).check()
            run("convert", "to-apptainer", "python-base:1.0", str(path)).check()
    return path


def say(text: str) -> None:
    print(text, flush=True)  # noqa: T201 - a script for people


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(130))  # so that a lab goes with who is stopped
    sys.exit(main(sys.argv[1:]))
