"""test: an image by its own checks, or a cluster by the three phases of the suites."""

from __future__ import annotations

import contextlib
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

from ..cluster.client import open_client
from ..cluster.image_checks import check_on
from ..cluster.phases import PHASES, run_phases
from ..core.coverage import Required
from ..core.errors import HpcRegistryError
from ..core.fields import read_memory
from ..core.messages import count
from ..core.names import visible
from ..images.definitions.checks import from_file
from ..images.running.container import MEMORY, check_file
from ..images.running.outcomes import PASSED, SKIPPED, Outcome
from ..report.junit import Counts, write_checks
from ..report.lines import BANNER
from . import output
from .known_names import complete_images, complete_nodes
from .options import SIF, load, nodes_options, refuse, require_option, which_cluster
from .output import answer, answers
from .show import say, show, tell

OF_A_CLUSTER = ("phase", "everything", "workers", "allow_changes", "reports")
CHOOSING = ("image", "nodes", "exclude", "required")
OF_AN_IMAGE = ("where", "checks", "memory", "junit")

HEADING = re.compile(r"=+ .* =+$")
FINDINGS = re.compile(r"=+ hpc: [0-9]+ findings?\b")
OF_A_RESULT = ("FAILED ", "ERROR ", "hpc: not proven")


@dataclass(frozen=True)
class Phases:
    """How the tests of each phase ended that was run, and the JUnit file of all of them."""

    phases: dict[str, Counts]
    report: str


def memory_option(context: click.Context, option: click.Parameter, text: str | None) -> int | None:
    try:
        return read_memory(text) if text else None
    except ValueError as error:
        raise click.BadParameter(str(error)) from None


def image_options(function: Any) -> Any:
    """What only the test of one SIF can be told: OF_AN_IMAGE."""
    option = click.option
    function = option("--junitxml", "junit", type=SIF, metavar="FILE", help="SIF: write a JUnit file.")(function)
    text = "SIF: the most that a check may take [default: 8G; on a node, as Slurm has it]."
    function = option("--memory", metavar="SIZE", callback=memory_option, help=text)(function)
    text = "SIF: the checks of this image.yaml [default: those in its label]."
    function = option("--checks", type=SIF, metavar="FILE", help=text)(function)
    text = "SIF is an image of the registry: test it on NODE by Slurm, or on the `controller`."
    return option("--on", "where", metavar="NODE", shell_complete=complete_nodes, help=text)(function)


@click.command("test")
@answers(Outcome | Phases)
@click.argument("sif", required=False)
@image_options
@click.option("--phase", type=click.Choice(PHASES), help="Only this phase.")
@click.option("--all", "everything", is_flag=True, help="All phases in order; a failed one gates the next [default].")
@which_cluster
@click.option(
    "--image",
    envvar="TEST_IMAGE",
    metavar="NAME",
    shell_complete=complete_images,
    help="Only this image [default: all in the catalog].",
)
@require_option
@nodes_options
@click.option("-n", "--workers", type=int, default=0, help="How many processes run the tests (pytest-xdist).")
@click.option(
    "--allow-changes",
    is_flag=True,
    help="Also the tests that deploy an image, which stays in the catalog. Jobs run in any case.",
)
@click.option("--reports", type=SIF, default=Path("reports"), show_default=True, help="Where the JUnit files go.")
def command(
    sif: str | None,
    cluster: Path | None,
    controller: str | None,
    user: str | None,
    key: Path | None,
    image: str | None,
    required: Required | None,
    nodes: str,
    exclude: str,
    **given: Any,
) -> None:
    """Test an image, or a cluster phase by phase.

    With SIF: what `checks` of its definition says is run in the image, on this machine by Apptainer or, with --on,
    where it lies in the registry. Without SIF: infrastructure, deployed images, and whole jobs end to end.

    \b
    Examples:
      hpc-container-manager test build/containers/apptainer/pytorch.sif
      hpc-container-manager test ml-frameworks/pytorch.sif --on c001 --junitxml reports/pytorch.xml
      hpc-container-manager test --phase infrastructure --exclude gpu07
      hpc-container-manager test --all --image pytorch-cuda12.1-mpi4.1.sif
    """
    which = {"cluster": cluster, "controller": controller, "user": user, "key": key}
    if sif:
        refuse((*OF_A_CLUSTER, *CHOOSING), "is for a cluster, not for a SIF")
        test_image(sif, which, **{name: given[name] for name in OF_AN_IMAGE})
    else:
        refuse(OF_AN_IMAGE, "needs a SIF")
        with contextlib.suppress(HpcRegistryError):  # what is wrong with it, each phase's report says
            load(cluster, controller=controller, user=user, key=key)
        chosen = {**which, "image": image, "nodes": nodes or None, "exclude": exclude or None}
        chosen["require"] = required.text if required else None
        options = [f"--hpc-{name}={value}" for name, value in chosen.items() if value is not None]
        test_cluster(options, **{name: given[name] for name in OF_A_CLUSTER})


def test_image(
    sif: str,
    which: dict[str, Any],
    *,
    where: str | None,
    checks: Path | None,
    memory: int | None,
    junit: Path | None,
) -> None:
    own = from_file(checks) if checks else None
    if junit:
        with contextlib.suppress(OSError):  # nobody is to take an old one for this test's
            junit.unlink(missing_ok=True)
    if where is None:
        outcome = check_file(Path(sif), show, checks=own, memory=memory or MEMORY)
    else:
        with open_client(load(which.pop("cluster"), **which)) as client:
            outcome = check_on(where, sif, client, show, checks=own, memory=memory)
    if junit:
        properties = {"digest": f"sha256:{outcome.digest}", "where": outcome.where, "memory": outcome.limit}
        write_checks(junit, outcome.image, outcome.ended, properties)
    answer(outcome)
    passed = f"{count(outcome.count(PASSED), 'check')} passed, {outcome.count(SKIPPED)} skipped"
    say(f"{visible(outcome.image)} on {outcome.where}: {passed}; {outcome.limit}")
    say(f"sha256 {outcome.digest}")
    outcome.check()


class Results:
    """Of the lines of pytest those that --quiet leaves, as they are its result: the findings, the failed tests, and
    what was not proven."""

    def __init__(self) -> None:
        self.found = False

    def take(self, line: str) -> None:
        if HEADING.match(line):
            self.found = bool(FINDINGS.match(line))
        if self.found or line.startswith(OF_A_RESULT):
            tell(line)


def test_cluster(
    options: list[str], *, phase: str | None, everything: bool, workers: int, allow_changes: bool, reports: Path
) -> None:
    if phase and everything:
        raise click.UsageError("--phase and --all exclude each other")
    options += ["--hpc-allow-changes"] if allow_changes else []
    counts: dict[str, Counts] = {}
    answer(Phases(counts, str(reports / "junit.xml")))

    def on_phase(name: str, ended: Counts) -> None:
        counts[name] = ended
        waived = f", {ended.waived} waived" if ended.waived else ""
        say(f"phase {name}: {ended.passed} passed, {ended.failed} failed, {ended.skipped} skipped{waived}")

    on_line = Results().take if output.current.quiet else say
    run_phases((phase,) if phase else PHASES, options, reports, workers=workers, on_line=on_line, on_phase=on_phase)
    say(f"report: {reports / 'junit.xml'}")
    if not phase and not any(ended.waived for ended in counts.values()):
        say(BANNER)
