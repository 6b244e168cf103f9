"""Scan an image by the site's own scanner, and keep its report and the SBOM beside the image."""

from __future__ import annotations

import shutil
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING

from ...core import sif, waivers
from ...core.digest import hash_file
from ...core.errors import CheckFailed, CommandFailed, CommandTimeout, Undetermined, UsageError
from ...core.names import excerpt, visible
from ...core.scan import PLACE, Scan
from ...transports.bounded import BoundedFile
from ...transports.local import LocalTransport
from ..inventory.contents import list_contents, unpack, unpacking_directory
from ..inventory.packages import Package
from ..output import write_file
from .findings import Report, Verdict, comparable, judge, read_report

if TYPE_CHECKING:
    from ..inventory.sbom import Sbom

SBOM = ".sbom.json"
REPORT = ".scan.json"
"""What is kept beside NAME.sif: NAME.sif.sbom.json and NAME.sif.scan.json."""
MOST_OUTPUT = 64 << 20
"""Bytes that a scanner may print."""
MOST_NAMED = 10
"""Findings that an error names."""
LOOK = "is the scanner given this image, and told to report what it looked at? See scan.command in the cluster file"
HINT = (
    "update these packages and build the image again, or waive each in the cluster file: "
    "scan.waivers, with id, until and reason"
)


@dataclass(frozen=True)
class Scanned:
    """What was found in the image at `path` with this SHA-256 `digest`.

    `output` is the report as the scanner printed it; `warnings` say what the SBOM lacks, and what is to be said of
    waivers.
    """

    path: Path
    digest: str
    report: Report
    verdict: Verdict
    warnings: tuple[str, ...]
    seconds: float
    sbom: Sbom
    output: bytes

    def check(self) -> None:
        """Raise CheckFailed when a finding keeps the image from being deployed."""
        blocking = self.verdict.blocking
        if not blocking:
            return
        named = ", ".join(f"{excerpt(one.id)} ({one.severity})" for one in blocking[:MOST_NAMED])
        more = f" and {len(blocking) - MOST_NAMED} more" if len(blocking) > MOST_NAMED else ""
        one = len(blocking) == 1
        what = "1 vulnerability that blocks" if one else f"{len(blocking)} vulnerabilities that block"
        raise CheckFailed(f"the scanner found {what} it: {named}{more}", where=visible(self.path.name), hint=HINT)


def scan(path: Path, settings: Scan, *, today: date | None = None) -> Scanned:
    """Run the scanner of the cluster file on the SIF at *path*. Waivers count by *today*, which is that of UTC.

    What an earlier scan left beside the image is removed first. Raises UsageError when no scanner is configured,
    CommandFailed when it failed, Undetermined when it did not end in time or printed no report that can be used.
    """
    from ..inventory import sbom  # with the library that writes it: without a scanner nobody waits for that

    used = places_in(settings)
    began = time.monotonic()
    kept = path.with_name(path.name + REPORT)
    remove(kept)
    made = sbom.make_sbom(path)
    if "sbom" in used:
        sbom.check_evidence(made, path)
    kept_sbom = path.with_name(path.name + SBOM)
    write_file(kept_sbom, made.text.encode())
    with unpacking_directory() as directory:
        places = {"sbom": kept_sbom.absolute(), "sif": path.absolute(), "root": directory / "root"}
        if "root" in used:
            unpack(list_contents(sif.check(path)), places["root"])
        output = run_scanner(settings, places, directory / "report.json", visible(path))
    report = read_report(output.decode("utf-8-sig", errors="replace"), visible(path))
    if hash_file(path) != made.digest:
        raise CommandFailed("the file changed while it was scanned", where=visible(path), hint="scan it again")
    coverage = check_coverage(report, sbom.parse(made.text).packages, visible(path))
    write_file(kept, output)
    verdict = judge(report.findings, settings, today or waivers.today())
    warnings = (*made.warnings, *coverage, *verdict.notes)
    return Scanned(path, made.digest, report, verdict, warnings, time.monotonic() - began, made, output)


def check_coverage(report: Report, packages: Sequence[Package], where: str) -> list[str]:
    """A warning where the report lacks packages of the image. Raises Undetermined where it names none of them."""
    names = {comparable(one.name) for one in packages}
    missing = names - report.names
    if names and missing == names:
        raise Undetermined(
            f"the scanner's report names none of the {len(names)} packages in the image", where=where, hint=LOOK
        )
    return [f"the scanner's report names {len(names - missing)} of {len(names)} packages"] if missing else []


def places_in(settings: Scan) -> set[str]:
    """What the command asks for, of `sbom`, `sif` and `root`. Raises UsageError when that is nothing."""
    hint = 'such as scan: {command: [trivy, sbom, --scanners, vuln, --format, cyclonedx, "{sbom}"]}'
    if not settings.command:
        raise UsageError("the cluster file names no scanner", hint=hint)
    used = {place for word in settings.command for place in PLACE.findall(word)}
    if not used:
        what = (
            "scan.command of the cluster file has no {sbom}, {sif} or {root}, so it would look at nothing of the image"
        )
        raise UsageError(what, hint=hint)
    return used


def remove(report: Path) -> None:
    """Remove the report of an earlier scan: it may be of other bytes."""
    try:
        report.unlink(missing_ok=True)
    except OSError as error:
        raise UsageError(f"{visible(report)}: cannot be removed: {error.strerror}") from error


def run_scanner(settings: Scan, places: dict[str, Path], output: Path, where: str) -> bytes:
    """What the scanner prints."""
    argv = [PLACE.sub(lambda place: str(places[place[1]]), word) for word in settings.command]
    program = excerpt(settings.command[0])
    if shutil.which(settings.command[0]) is None:
        hint = "install it, or correct scan.command in the cluster file"
        raise UsageError(f"there is no scanner {program} on this machine", where=where, hint=hint)
    try:
        with BoundedFile(output, MOST_OUTPUT) as stream:
            result = LocalTransport(where).run(argv, timeout=settings.timeout, stdout=stream)
    except CommandTimeout:
        what = f"the scanner {program} was still running after {settings.timeout} s and was stopped"
        raise Undetermined(what, where=where, hint="allow it more time: scan.timeout in the cluster file") from None
    except CommandFailed as error:
        if stream.is_full:
            what = f"the scanner {program} printed more than {MOST_OUTPUT >> 20} MiB, which is no report"
            raise Undetermined(what, where=where, hint="see scan.command in the cluster file") from error
        raise
    if result.exit_code not in settings.exit_codes:
        codes = ", ".join(map(str, settings.exit_codes))
        raise CommandFailed(
            f"the scanner {program} failed with exit code {result.exit_code}: {result.last_words('it gave no reason')}",
            where=where,
            hint=f"its report counts as whole by exit code {codes}: scan.exit_codes in the cluster file",
        )
    return output.read_bytes()
