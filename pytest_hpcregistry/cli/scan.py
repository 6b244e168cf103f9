"""scan: known vulnerabilities in a SIF file, by the site's scanner."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import click

from ..core.messages import count
from ..core.model import Cluster
from ..core.names import excerpt, visible
from ..images.scanning.scan import Scanned, scan
from .options import SIF, cluster_options
from .show import say, show_json, show_table

LONGEST = 100
"""Characters of the packages of one finding: a vulnerability of a kernel is in many."""


@click.command("scan")
@click.argument("path", metavar="SIF", type=SIF)
@click.option("--json", "as_json", is_flag=True, help="For programs.")
@cluster_options
def command(path: Path, as_json: bool, cluster: Cluster) -> None:
    """Scan a SIF file for known vulnerabilities by the cluster file's scanner.

    One of the severity scan.limit and above blocks the image, as does one of unknown severity, unless it is waived:
    exit code 1. The scanner's report and the SBOM are kept beside the image, as SIF.scan.json and SIF.sbom.json.
    `deploy` does the same before it sends anything.

    \b
    Example:
      hpc-container-manager scan build/containers/apptainer/pytorch.sif --cluster cluster.yaml
    """
    scanned = scan(path, cluster.scan)
    if as_json:
        show_json(as_data(scanned))
    else:
        show_findings(scanned, cluster.scan.limit)
    scanned.check()


def as_data(scanned: Scanned) -> dict[str, object]:
    verdict = scanned.verdict
    waived = [
        {**asdict(one), "until": waiver.until.isoformat(), "reason": waiver.reason} for one, waiver in verdict.waived
    ]
    return {
        "path": str(scanned.path),
        "sha256": scanned.digest,
        "components": scanned.report.components,
        "blocking": [asdict(one) for one in verdict.blocking],
        "waived": waived,
        "below": [asdict(one) for one in verdict.below],
        "warnings": list(scanned.warnings),
    }


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
