"""A scanner's report and what follows from it: limits, waivers, and texts that are no report."""

from __future__ import annotations

import json
from datetime import date
from typing import Any

import pytest

from pytest_hpcregistry.core.errors import Undetermined
from pytest_hpcregistry.core.scan import Scan, Waiver
from pytest_hpcregistry.images.scanning.findings import DEEPEST, Finding, judge, read_report

TODAY = date(2026, 6, 15)
COMPONENTS = [{"bom-ref": "r1", "name": "tar", "version": "1"}, {"bom-ref": "r2", "name": "xz"}]


def report(*vulnerabilities: Any, **more: Any) -> str:
    return json.dumps(
        {"bomFormat": "CycloneDX", "components": COMPONENTS, "vulnerabilities": list(vulnerabilities), **more}
    )


def vulnerability(name: str = "CVE-1", *severities: str, affects: tuple[str, ...] = ()) -> dict[str, Any]:
    return {
        "id": name,
        "ratings": [{"severity": one, "source": {"name": "x"}} for one in severities],
        "affects": [{"ref": one} for one in affects],
    }


def test_a_report_is_read() -> None:
    found = read_report(
        report(
            vulnerability("CVE-2", "low", affects=("r1",)),
            vulnerability("CVE-1", "high", "low", "unknown", affects=("r2", "r1", "pkg:deb/x")),
            vulnerability("CVE-2", "medium", affects=("r2",)),
        ),
        "x.sif",
    )
    assert found.components == 2
    assert found.findings == (
        Finding("CVE-1", "high", ("pkg:deb/x", "tar 1", "xz")),
        Finding("CVE-2", "medium", ("tar 1", "xz")),
    )


@pytest.mark.parametrize(
    "ratings",
    [
        [],
        [{}],
        [{"severity": "unknown"}],
        [{"severity": "severe"}],
        [{"severity": 3}],
        [{"severity": ["high"]}],
        [{"score": 9.8}],
    ],
)
def test_a_severity_that_is_not_told_is_unknown(ratings: list[Any]) -> None:
    (one,) = read_report(report({"id": "CVE-1", "ratings": ratings}), "x").findings
    assert one.severity == "unknown"


def test_components_in_components_count() -> None:
    nested: dict[str, Any] = {"name": "a", "components": [{"name": "b", "components": [{"name": "c"}]}]}
    assert read_report(report(components=[nested]), "x").components == 3


def test_a_nest_of_components_has_a_bottom() -> None:
    nest: dict[str, Any] = {"name": "a"}
    for _ in range(200):
        nest = {"name": "a", "components": [nest]}
    assert read_report(report(components=[nest]), "x").components == DEEPEST + 1


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "it is empty"),
        (" \n", "it is empty"),
        ("CVE-1 high\x1b[0m\n", r"it is not JSON, but begins with 'CVE-1 high\x1b[0m'"),
        ('{"bomFormat": "CycloneDX"', "it is not JSON"),
        ("[" * 100_000, "it is not JSON"),
        ("[]", "it is JSON of another kind"),
        ('{"Results": []}', "it is JSON of another kind"),
        ('{"bomFormat": "SPDX"}', "it is JSON of another kind"),
        ('{"bomFormat": "CycloneDX", "vulnerabilities": []}', "it names no component, so nothing was looked at"),
        (report(components=[]), "it names no component"),
        (report(components={"a": 1}), "components is not a list of objects"),
        (report(components=[1]), "components is not a list of objects"),
        (report(vulnerabilities={}), "vulnerabilities is not a list of objects"),
        (report(vulnerabilities=None), "vulnerabilities is not a list of objects"),
        (report("CVE-1"), "vulnerabilities is not a list of objects"),
        (report({}), "a finding has None for its id"),
        (report({"id": 1}), "a finding has 1 for its id"),
        (report({"id": "a b"}), "a finding has 'a b' for its id"),
        (report({"id": ""}), "a finding has '' for its id"),
        (report({"id": "CVE-1", "ratings": "high"}), "ratings is not a list of objects"),
        (report({"id": "CVE-1", "affects": [1]}), "affects is not a list of objects"),
    ],
)
def test_what_is_no_report_is_no_answer(text: str, why: str) -> None:
    with pytest.raises(Undetermined) as caught:
        read_report(text, "x.sif")
    assert f"x.sif: the scanner's output is no CycloneDX report in JSON: {why}" in str(caught.value)
    assert caught.value.hint


def found(*severities: str) -> list[Finding]:
    return [Finding(f"CVE-{severity}", severity) for severity in severities]


ALL = found("none", "info", "low", "medium", "high", "critical", "unknown")


@pytest.mark.parametrize(
    ("limit", "blocking"),
    [
        ("low", ["low", "medium", "high", "critical", "unknown"]),
        ("medium", ["medium", "high", "critical", "unknown"]),
        ("high", ["high", "critical", "unknown"]),
        ("critical", ["critical", "unknown"]),
    ],
)
def test_what_is_at_the_limit_or_above_blocks(limit: str, blocking: list[str]) -> None:
    verdict = judge(ALL, Scan(limit=limit), TODAY)
    assert [one.severity for one in verdict.blocking] == blocking
    assert len(verdict.blocking) + len(verdict.below) == len(ALL)
    assert (verdict.waived, verdict.notes) == ((), ())


@pytest.mark.parametrize(
    ("until", "blocks"), [(date(2026, 6, 14), True), (date(2026, 6, 15), False), (date(2026, 6, 16), False)]
)
def test_a_waiver_counts_up_to_its_day(until: date, blocks: bool) -> None:
    waiver = Waiver("CVE-unknown", until, "no network")
    verdict = judge(found("unknown", "critical"), Scan(waivers=(waiver,)), TODAY)
    assert [one.severity for one in verdict.blocking] == (["unknown", "critical"] if blocks else ["critical"])
    assert list(verdict.waived) == ([] if blocks else [(Finding("CVE-unknown", "unknown"), waiver)])
    assert list(verdict.notes) == (["the waiver of CVE-unknown ended on 2026-06-14"] if blocks else [])


def test_a_waiver_of_nothing_is_said() -> None:
    waivers = (Waiver("CVE-high", date(2027, 1, 1), "x"), Waiver("CVE-2", date(2026, 1, 1), "x"))
    verdict = judge(found("high"), Scan(waivers=waivers), TODAY)
    assert verdict.blocking == ()
    assert verdict.notes == ("the waiver of CVE-2 matches no finding: is it still needed?",)


def test_a_waiver_that_ended_does_not_end_another() -> None:
    waivers = tuple(Waiver("CVE-high", date(year, 1, 1), "x") for year in (2025, 2027, 2024))
    assert judge(found("high"), Scan(waivers=waivers), TODAY).blocking == ()
