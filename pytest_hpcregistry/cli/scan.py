"""scan: known vulnerabilities in a SIF file, by the site's scanner."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import click

from ..core.messages import count
from ..core.model import Cluster
from ..core.names import excerpt, visible
from ..images.scanning.findings import Finding
from ..images.scanning.scan import Scanned, scan
from .options import SIF, cluster_options
from .output import answer, answers
from .show import say, show_table

LONGEST = 100
"""Characters of the packages of one finding: a vulnerability of a kernel is in many."""


@dataclass(frozen=True)
class WaivedFinding(Finding):
    """A known vulnerability that the cluster file waives `until` a day, for a `reason`."""

    until: str = ""
    reason: str = ""


@dataclass(frozen=True)
class ScanResult:
    """What the scanner found in a SIF file of this SHA-256, by what becomes of it."""

    path: str
    sha256: str
    components: int
    blocking: Sequence[Finding]
    waived: Sequence[WaivedFinding]
    below: Sequence[Finding]
    warnings: Sequence[str]


@click.command("scan")
@answers(ScanResult)
@click.argument("path", metavar="SIF", type=SIF)
@cluster_options
def command(path: Path, cluster: Cluster) -> None:
    """Scan a SIF file for vulnerabilities.

    For known ones, by the cluster file's scanner. One of the severity scan.limit and above blocks the image, as does
    one of unknown severity, unless it is waived: exit code 1. The scanner's report and the SBOM are kept beside the
    image, as SIF.scan.json and SIF.sbom.json. `deploy` does the same before it sends anything.

    \b
    Example:
      hpc-container-manager scan build/containers/apptainer/pytorch.sif --cluster cluster.yaml
    """
    scanned = scan(path, cluster.scan)
    answer(result_of(scanned))
    show_findings(scanned, cluster.scan.limit)
    scanned.check()


def result_of(scanned: Scanned) -> ScanResult:
    verdict = scanned.verdict
    waived = [
        WaivedFinding(**vars(one), until=waiver.until.isoformat(), reason=waiver.reason)
        for one, waiver in verdict.waived
    ]
    return ScanResult(
        str(scanned.path),
        scanned.digest,
        scanned.report.components,
        verdict.blocking,
        waived,
        verdict.below,
        scanned.warnings,
    )


def show_findings(scanned: Scanned, limit: str) -> None:
    verdict = scanned.verdict
    states = {one.id: f"waived until {waiver.until.isoformat()}: {waiver.reason}" for one, waiver in verdict.waived}
    states |= {one.id: "blocks" for one in verdict.blocking}
    rows = [
        [one.severity, excerpt(one.id), excerpt(", ".join(one.packages), LONGEST), states.get(one.id, f"below {limit}")]
        for one in scanned.report.findings
    ]
    if rows:
        show_table([["SEVERITY", "VULNERABILITY", "IN", "STATE"], *rows])
    for warning in scanned.warnings:
        say(f"! {warning}")
    mark = "✗" if verdict.blocking else "✓"
    say(
        f"{mark} {visible(scanned.path)}: {count(scanned.report.components, 'component')} scanned, "
        f"known vulnerabilities: {len(rows)}, blocking: {len(verdict.blocking)} ({scanned.seconds:.1f} s)"
    )
