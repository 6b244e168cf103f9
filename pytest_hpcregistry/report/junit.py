"""JUnit: one file of all phases, made of what pytest wrote for each, and that of an image's checks; the one home of
junit_xml.
"""

from __future__ import annotations

import xml.etree.ElementTree as ET
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from junit_xml import TestCase, TestSuite, to_xml_report_string

from ..core.errors import HpcRegistryError, UsageError
from ..core.events import CheckEnded
from ..core.names import printable, visible

UNREACHABLE = "unreachable"
"""The property of the case of a node that could not be asked."""


@dataclass(frozen=True)
class Counts:
    """How the tests of one phase ended. `failed` includes errors, and the `unreachable` nodes' own cases; `waived` are
    those that a waiver holds for, and none of `skipped`."""

    passed: int = 0
    failed: int = 0
    skipped: int = 0
    unreachable: int = 0
    waived: int = 0


def read_cases(path: Path) -> list[ET.Element]:
    try:
        return list(ET.parse(path).getroot().iter("testcase"))  # noqa: S314 - our own pytest wrote it a moment ago
    except (OSError, ET.ParseError) as error:
        raise HpcRegistryError(f"no JUnit report: {error}", where=path) from None


def is_failed(case: ET.Element) -> bool:
    return case.find("failure") is not None or case.find("error") is not None


def read_counts(path: Path) -> Counts:
    """Count a JUnit file's cases. Raises HpcRegistryError if there is none: then pytest did not get that far."""
    cases = read_cases(path)
    failed = [case for case in cases if is_failed(case)]
    skipped = [case for case in cases if case.find("skipped") is not None]
    unreachable = [case for case in failed if has_property(case, UNREACHABLE)]
    waived = [case for case in skipped if has_property(case, "waiver")]
    passed = len(cases) - len(failed) - len(skipped)
    return Counts(passed, len(failed), len(skipped) - len(waived), len(unreachable), len(waived))


@dataclass(frozen=True)
class Failures:
    """What failed in a phase: the nodes that could not be asked, with the reason; and of the other tests their names in
    words, and the machines that they are about, where a case is about one."""

    unreachable: dict[str, str]
    tests: tuple[str, ...]
    machines: tuple[str, ...]


def read_failures(path: Path) -> Failures:
    """Raises as read_counts."""
    cases = [case for case in read_cases(path) if is_failed(case)]
    silent = {
        value_of(case, "node"): value_of(case, "unreachable") for case in cases if has_property(case, UNREACHABLE)
    }
    others = [case for case in cases if not has_property(case, UNREACHABLE)]
    names = [(case.get("name") or "").partition("[")[0].removeprefix("test_").replace("_", " ") for case in others]
    machines = {value_of(case, "node") for case in others}
    return Failures(silent, tuple(dict.fromkeys(filter(None, names))), tuple(sorted(filter(None, machines))))


def value_of(case: ET.Element, name: str) -> str:
    found = case.find(f"properties/property[@name='{name}']")
    return "" if found is None else found.get("value") or ""


def has_property(case: ET.Element, name: str) -> bool:
    return case.find(f"properties/property[@name='{name}']") is not None


def write_checks(target: Path, image: str, ended: Sequence[CheckEnded], properties: Mapping[str, str]) -> None:
    """Write the checks of an image as a suite with *properties*. Raises UsageError when the file cannot be written."""
    cases = []
    for one in ended:
        case = TestCase(printable(one.check), classname=printable(image), elapsed_sec=one.seconds)
        if one.state == "failed":
            case.add_failure_info(message=printable(one.detail))
        elif one.state == "skipped":
            case.add_skipped_info(message=printable(one.detail))
        elif one.state != "passed":
            case.add_error_info(message=printable(one.detail))
        cases.append(case)
    shown = {key: printable(value) for key, value in properties.items()}
    text = str(to_xml_report_string([TestSuite(printable(image), cases, properties=shown)]))
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text, encoding="utf-8")
    except OSError as error:
        raise UsageError(f"{visible(target)}: cannot be written: {error.strerror}") from error


def gated_suite(phase: str, because: str) -> str:
    """JUnit for a phase that was not run: one case in error, so that no reader takes silence for success."""
    case = TestCase(name=phase, classname="phase")
    case.add_error_info(message=printable(f"not run: {because}"))
    return str(to_xml_report_string([TestSuite(phase, [case])]))


def merge(parts: Mapping[str, str], target: Path) -> None:
    """Write all phases' suites (phase -> JUnit text) into one file, each suite named after its phase."""
    root = ET.Element("testsuites", name="pytest-hpcregistry")
    for phase, text in parts.items():
        for suite in ET.fromstring(text).iter("testsuite"):  # noqa: S314
            suite.set("name", phase)
            make_printable(suite)
            root.append(suite)
    for count in ("tests", "failures", "errors", "skipped"):
        root.set(count, str(sum(int(suite.get(count) or 0) for suite in root)))
    ET.indent(root)
    ET.ElementTree(root).write(target, encoding="utf-8", xml_declaration=True)


def make_printable(suite: ET.Element) -> None:
    """Whatever the tests said: who reads the report in a terminal or a browser sees it, and obeys nothing."""
    for element in suite.iter():
        element.text = element.text and printable(element.text)
        for key, value in element.items():
            element.set(key, printable(value))
