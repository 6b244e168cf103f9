"""What a scanner found, read from its CycloneDX report, and judged by the limit and the waivers of the cluster file.

A report is another program's text: what has not the form of one is no answer, and never taken for "nothing was found".
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any

from ...core.errors import Undetermined
from ...core.names import excerpt
from ...core.scan import SEVERITIES, Scan, Waiver

UNKNOWN = "unknown"
LADDER = ("none", "info", *SEVERITIES, UNKNOWN)
"""CycloneDX's severities; the worst is what nobody has judged."""
IDENTIFIER = re.compile(r"\S{1,200}")
DEEPEST = 50


@dataclass(frozen=True)
class Finding:
    """A known vulnerability. `packages` are `NAME VERSION` of the components that have it, if the report says so."""

    id: str
    severity: str
    packages: tuple[str, ...] = ()


@dataclass(frozen=True)
class Report:
    """What a scanner says: how many `components` it looked at, and what it found, the worst first; `names` are those of
    the components.
    """

    components: int
    findings: tuple[Finding, ...]
    names: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Verdict:
    """The findings that keep an image from being deployed, those that are waived, and those below the limit.

    `notes` are about waivers: past their day, or of no use.
    """

    blocking: tuple[Finding, ...]
    waived: tuple[tuple[Finding, Waiver], ...]
    below: tuple[Finding, ...]
    notes: tuple[str, ...]


def read_report(text: str, where: str) -> Report:
    """The report that a scanner printed about *where*. Raises Undetermined when it is none, or of nothing."""
    try:
        return parse(text)
    except NoReport as error:
        what = f"the scanner's output is no CycloneDX report in JSON: {error}"
        raise Undetermined(what, where=where, hint="see scan.command in the cluster file") from None


class NoReport(Exception):
    """Why a text is no report."""


def parse(text: str) -> Report:
    try:
        data = json.loads(text)
    except (ValueError, RecursionError):
        raise NoReport(
            f"it is not JSON, but begins with '{excerpt(text, 60)}'" if text.strip() else "it is empty"
        ) from None
    if not isinstance(data, dict) or data.get("bomFormat") != "CycloneDX":
        raise NoReport("it is JSON of another kind")
    components = list(components_of(data.get("components", []), 0))
    if not components:
        raise NoReport("it names no component, so nothing was looked at")
    names = {reference: name for reference, name in components if reference}
    found: dict[str, Finding] = {}
    for raw in list_in(data, "vulnerabilities"):
        one = read_finding(raw, names)
        found[one.id] = merge(found[one.id], one) if one.id in found else one
    worst_first = sorted(found.values(), key=lambda one: (-LADDER.index(one.severity), one.id))
    plain = frozenset(comparable(name.partition(" ")[0]) for _, name in components)
    return Report(len(components), tuple(worst_first), plain)


def comparable(name: str) -> str:
    """A package's name, as programs that spell it differently agree on it: PEP 503."""
    return re.sub(r"[-_.]+", "-", name).lower()


def list_in(data: dict[str, Any], key: str) -> list[dict[str, Any]]:
    """The objects under *key*; none where there is no such key. Raises NoReport."""
    found = data.get(key, [])
    if not isinstance(found, list) or not all(isinstance(one, dict) for one in found):
        raise NoReport(f"{key} is not a list of objects")
    return found


def components_of(raw: Any, depth: int) -> Iterator[tuple[str, str]]:
    """Reference and `NAME VERSION` of each component, those inside others too."""
    for one in list_in({"components": raw}, "components"):
        yield str(one.get("bom-ref", "")), f"{one.get('name', '?')} {one.get('version', '')}".strip()
        if depth < DEEPEST:
            yield from components_of(one.get("components", []), depth + 1)


def read_finding(raw: dict[str, Any], names: dict[str, str]) -> Finding:
    identifier = raw.get("id")
    if not isinstance(identifier, str) or not IDENTIFIER.fullmatch(identifier):
        raise NoReport(f"a finding has {excerpt(repr(identifier), 60)} for its id")
    ratings = [one.get("severity") for one in list_in(raw, "ratings")]
    known = [str(one) for one in ratings if one in LADDER and one != UNKNOWN]
    severity = max(known, key=LADDER.index, default=UNKNOWN)
    references = [str(one.get("ref", "")) for one in list_in(raw, "affects")]
    return Finding(identifier, severity, tuple(sorted({names.get(one, one) for one in references})))


def merge(one: Finding, other: Finding) -> Finding:
    """A vulnerability that is in the report twice."""
    worst = max(one.severity, other.severity, key=LADDER.index)
    return Finding(one.id, worst, tuple(sorted({*one.packages, *other.packages})))


def judge(findings: Sequence[Finding], settings: Scan, today: date) -> Verdict:
    """Which findings keep an image from being deployed on that day."""
    valid = {one.id: one for one in settings.waivers if one.until >= today}
    limit = LADDER.index(settings.limit)
    above = [one for one in findings if LADDER.index(one.severity) >= limit]
    return Verdict(
        blocking=tuple(one for one in above if one.id not in valid),
        waived=tuple((one, valid[one.id]) for one in above if one.id in valid),
        below=tuple(one for one in findings if LADDER.index(one.severity) < limit),
        notes=tuple(notes_on(settings.waivers, {one.id for one in findings}, valid)),
    )


def notes_on(waivers: Sequence[Waiver], found: set[str], valid: dict[str, Waiver]) -> Iterator[str]:
    for one in waivers:
        if one.id not in found:
            yield f"the waiver of {one.id} matches no finding: is it still needed?"
        elif one.id not in valid:
            yield f"the waiver of {one.id} ended on {one.until.isoformat()}"
