"""`scan`: what is shown of a report, and the exit codes."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from pytest_hpcregistry import cli
from pytest_hpcregistry.core.errors import HpcRegistryError
from tests.fakes.image import debian

REPORT = {
    "bomFormat": "CycloneDX",
    "components": [
        {"name": "xz", "version": "5.6.1", "bom-ref": "r"},
        {"name": "tar\x1b[31m", "bom-ref": "s"},
        {"name": "tar"},
        {"name": "libc6"},
    ],
    "vulnerabilities": [
        {"id": "CVE-2", "ratings": [{"severity": "low"}], "affects": [{"ref": "s"}]},
        {"id": "CVE-3", "ratings": [{"severity": "critical"}], "affects": [{"ref": "r"}]},
        {"id": "CVE-1", "ratings": [{"severity": "high"}], "affects": [{"ref": "r"}]},
    ],
}
WAIVED = """
  waivers:
    - {id: CVE-3, until: 9999-12-31, reason: the library is not loaded}
    - {id: CVE-1, until: 9999-12-31, reason: the same}
    - {id: CVE-9, until: 9999-12-31, reason: x}
"""


def run(directory: Path, *words: str, code: str = f"print({json.dumps(REPORT)!r})", more: str = "") -> Result:
    image = debian(directory)
    command = json.dumps([sys.executable, "-c", code, "{sbom}"])
    (directory / "cluster.yaml").write_text(f"controller: {{host: hpc}}\nscan:\n  command: {command}\n{more}")
    words = ("scan", str(image), "--cluster", str(directory / "cluster.yaml"), *words)
    return CliRunner().invoke(cli.commands, words)


def exit_code(result: Result) -> int:
    assert isinstance(result.exception, HpcRegistryError), result.output
    return result.exception.exit_code


def test_what_blocks_is_shown_first(tmp_path: Path) -> None:
    result = run(tmp_path)
    assert [line.split() for line in result.output.splitlines()[:-1]] == [
        ["SEVERITY", "VULNERABILITY", "IN", "STATE"],
        ["critical", "CVE-3", "xz", "5.6.1", "blocks"],
        ["high", "CVE-1", "xz", "5.6.1", "blocks"],
        ["low", "CVE-2", "tar\\x1b[31m", "below", "high"],
    ]
    assert result.output.splitlines()[-1].startswith(
        f"✗ {tmp_path / 'debian.sif'}: 4 components scanned, known vulnerabilities: 3, blocking: 2 ("
    )
    assert exit_code(result) == 1


def test_what_is_waived_is_shown_with_its_reason(tmp_path: Path) -> None:
    result = run(tmp_path, more=WAIVED)
    assert result.exit_code == 0, result.output
    assert "waived until 9999-12-31: the library is not loaded\n" in result.output
    assert "\n! the waiver of CVE-9 matches no finding: is it still needed?\n✓ " in result.output


def test_for_programs(tmp_path: Path) -> None:
    result = run(tmp_path, "--json", more=WAIVED.replace("CVE-3", "CVE-4"))
    data: dict[str, Any] = json.loads(result.stdout)
    assert (data["components"], [one["id"] for one in data["blocking"]]) == (4, ["CVE-3"])
    assert data["waived"] == [
        {"id": "CVE-1", "severity": "high", "packages": ["xz 5.6.1"], "until": "9999-12-31", "reason": "the same"}
    ]
    assert [one["id"] for one in data["below"]] == ["CVE-2"]
    assert len(data["warnings"]) == 2
    assert exit_code(result) == 1


@pytest.mark.parametrize(
    ("code", "more", "expected"),
    [
        ("raise SystemExit(1)", "", 4),
        ("print('x')", "", 3),
        ("import time; time.sleep(60)", "  timeout: 1\n", 3),
    ],
)
def test_exit_codes(tmp_path: Path, code: str, more: str, expected: int) -> None:
    assert exit_code(run(tmp_path, code=code, more=more)) == expected


def test_no_scanner(tmp_path: Path) -> None:
    result = CliRunner().invoke(cli.commands, ["scan", str(debian(tmp_path)), "--controller", "hpc"])
    assert exit_code(result) == 2
    assert "names no scanner" in str(result.exception)
