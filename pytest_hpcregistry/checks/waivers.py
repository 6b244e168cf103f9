"""Which findings are known, and waived by somebody for some time, and which are open."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import date
from fnmatch import filter as matching
from fnmatch import fnmatchcase

from ..core.errors import UsageError
from ..core.facts import Facts
from ..core.model import Cluster
from ..core.nodeset import expand, fold, fold_machines, group_by
from ..core.waivers import FindingWaiver
from . import IDS, OF_SUITES, run
from .finding import Finding


@dataclass(frozen=True)
class Judged:
    """Findings that count, and those that a waiver holds for; each says so in `Finding.waiver`."""

    open: list[Finding]
    waived: list[Finding]


def judge(findings: Iterable[Finding], waivers: Sequence[FindingWaiver], today: date) -> Judged:
    """Split *findings*, of each its machines. An open one for which a waiver has expired says that, too."""
    judged = Judged([], [])
    for one in findings:
        for waiver, where in parts(one, waivers, today) if waivers else [(None, one.where)]:
            is_valid = waiver is not None and waiver.until >= today
            said = waiver.describe(today) if waiver else one.waiver
            (judged.waived if is_valid else judged.open).append(replace(one, where=where, waiver=said))
    return judged


def parts(
    finding: Finding, waivers: Sequence[FindingWaiver], today: date
) -> Iterator[tuple[FindingWaiver | None, str]]:
    """The finding's machines, by the waiver that counts there: one that holds before one that has expired."""
    fitting = [one for one in waivers if fits(one, finding)]
    in_order = sorted(fitting, key=lambda one: one.until < today)

    def choose(machine: str) -> FindingWaiver | None:
        return next((one for one in in_order if not one.nodes or machine in one.nodes), None)

    for waiver, machines in group_by(machines_of(finding), choose).items():
        yield waiver, fold_machines(machines) if len(machines) > 1 else machines[0]


def machines_of(finding: Finding) -> list[str]:
    try:
        return expand(finding.where) or [finding.where]
    except UsageError:
        return [finding.where]  # of a check that is a project's own: it may name anything


def fits(waiver: FindingWaiver, finding: Finding) -> bool:
    """Whether it is about such a finding, on whichever machine."""
    return (not waiver.check or fnmatchcase(finding.id, waiver.check)) and (
        not waiver.image or is_about(finding, waiver.image)
    )


def is_about(finding: Finding, image: str) -> bool:
    """Whether a finding is about an image that is meant, by its full name or its file's alone."""
    name = finding.what.partition(": ")[0]
    return name.endswith(".sif") and fnmatchcase(f"/{name}", f"*/{image}")


def unused(facts: Facts, cluster: Cluster) -> list[str]:
    """A sentence for each waiver that is about nothing that the checks find in *facts*: for `run`, with all that it
    asks for. Of what suites find beside facts nobody knows here."""
    waivers = [one for one in cluster.waivers if not one.check or matching(set(IDS) - set(OF_SUITES), one.check)]
    found = list(run(facts, cluster)) if waivers else []
    return [
        describe_unused(waiver)
        for waiver in waivers
        if not any(fits(waiver, one) and (not waiver.nodes or one.where in waiver.nodes) for one in found)
    ]


def describe_unused(waiver: FindingWaiver) -> str:
    what = ", ".join(filter(None, [fold(waiver.nodes) if waiver.nodes else "", waiver.image, waiver.check]))
    return f"the waiver of {waiver.who} ({what}) matches nothing that was found: is it still needed?"
