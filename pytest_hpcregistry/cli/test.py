"""test: the three phases of the suites."""

from __future__ import annotations

from pathlib import Path

import click

from ..cluster.phases import PHASES, run_phases
from ..report.lines import BANNER
from .options import SIF, which_cluster
from .show import say


@click.command("test")
@click.option("--phase", type=click.Choice(PHASES), help="Only this phase.")
@click.option("--all", "everything", is_flag=True, help="All phases in order; a failed one gates the next [default].")
@which_cluster
@click.option("--image", envvar="TEST_IMAGE", metavar="NAME", help="Only this image [default: all in the catalog].")
@click.option("-n", "--workers", type=int, default=0, help="How many processes run the tests (pytest-xdist).")
@click.option(
    "--allow-changes",
    is_flag=True,
    help="Also the tests that deploy an image, which stays in the catalog. Jobs run in any case.",
)
@click.option("--reports", type=SIF, default=Path("reports"), show_default=True, help="Where the JUnit files go.")
def command(
    phase: str | None,
    everything: bool,
    cluster: Path | None,
    controller: str | None,
    user: str | None,
    key: Path | None,
    image: str | None,
    workers: int,
    allow_changes: bool,
    reports: Path,
) -> None:
    """Run the checks of a cluster, phase by phase.

    Infrastructure, deployed images, and whole jobs end to end.

    \b
    Examples:
      hpc-container-manager test --phase infrastructure
      hpc-container-manager test --all --image pytorch-cuda12.1-mpi4.1.sif
    """
    if phase and everything:
        raise click.UsageError("--phase and --all exclude each other")
    given = {"cluster": cluster, "controller": controller, "user": user, "key": key, "image": image}
    options = [f"--hpc-{name}={value}" for name, value in given.items() if value is not None]
    options += ["--hpc-allow-changes"] if allow_changes else []
    counts = run_phases((phase,) if phase else PHASES, options, reports, workers=workers, on_line=say)
    for name, count in counts.items():
        say(f"phase {name}: {count.passed} passed, {count.failed} failed, {count.skipped} skipped")
    say(f"report: {reports / 'junit.xml'}")
    if not phase:
        say(BANNER)
