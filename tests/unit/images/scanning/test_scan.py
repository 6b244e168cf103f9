"""Scanners, real ones and ones that fail in every way: what is kept, what is said, and that nothing else is left."""

from __future__ import annotations

import json
import os
import sys
import time
from datetime import date
from pathlib import Path

import pytest

from pytest_hpcregistry.core.errors import CheckFailed, CommandFailed, HpcRegistryError, Undetermined, UsageError
from pytest_hpcregistry.core.scan import Scan, Waiver
from pytest_hpcregistry.images.inventory.sbom import make_sbom
from pytest_hpcregistry.images.scanning import scan as scanning
from pytest_hpcregistry.images.scanning.scan import scan
from tests.fakes.image import debian, lay, pack
from tests.fakes.osv import osv_server

PACKAGES = "usr/lib/python3/dist-packages"
OLD = {f"{PACKAGES}/{name}-{version}.dist-info/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n"
       for name, version in {"jinja2": "2.4.1", "numpy": "2.1.0"}.items()}  # fmt: skip
GOOD = '{"bomFormat": "CycloneDX", "components": [{"name": "tar"}]}'


pytestmark = pytest.mark.usefixtures("temporary")


def beside(path: Path) -> set[str]:
    """What lies beside the image."""
    return {one.name for one in path.parent.iterdir() if one.is_file()} - {path.name}


def python(code: str, *words: str, **more: object) -> Scan:
    """A scanner in one line of Python."""
    return Scan(command=(sys.executable, "-c", code, *words), **more)  # type: ignore[arg-type]


def pip_audit(url: str, cache: Path, **more: object) -> Scan:
    words = [
        "-m",
        "pip_audit",
        "--path",
        f"{{root}}/{PACKAGES}",
        "--format",
        "cyclonedx-json",
        "--cache-dir",
        str(cache),
    ]
    words += ["--vulnerability-service", "osv", "--osv-url", url, "--progress-spinner", "off"]
    return Scan(command=(sys.executable, *words), exit_codes=(0, 1), **more)  # type: ignore[arg-type]


def test_a_real_scanner_finds_an_old_package(tmp_path: Path) -> None:
    path = debian(tmp_path, **OLD)
    with osv_server({("jinja2", "2.4.1"): "GHSA-462w-v97r-4m45"}) as (url, asked):
        scanned = scan(path, pip_audit(url, tmp_path / "cache"))
        assert sorted(asked) == [("jinja2", "2.4.1"), ("numpy", "2.1.0")]
        (finding,) = scanned.verdict.blocking
        assert (finding.id, finding.severity) == ("GHSA-462w-v97r-4m45", "unknown")
        assert finding.packages == ("jinja2 2.4.1",)
        with pytest.raises(CheckFailed) as caught:
            scanned.check()
        assert "debian.sif: the scanner found 1 vulnerability that blocks it: GHSA-462w-v97r-4m45 (unknown)" in str(
            caught.value
        )
        assert json.loads((tmp_path / "debian.sif.scan.json").read_text())["vulnerabilities"]
        assert (tmp_path / "debian.sif.sbom.json").read_text() == make_sbom(path).text

        waiver = Waiver("GHSA-462w-v97r-4m45", date(2026, 12, 31), "templates are ours")
        waived = scan(path, pip_audit(url, tmp_path / "cache", waivers=(waiver,)), today=date(2026, 12, 31))
        waived.check()
        assert waived.verdict.waived == ((finding, waiver),)
        late = scan(path, pip_audit(url, tmp_path / "cache", waivers=(waiver,)), today=date(2027, 1, 1))
        assert late.warnings == (
            "the scanner's report names 2 of 4 packages",
            "the waiver of GHSA-462w-v97r-4m45 ended on 2026-12-31",
        )
        with pytest.raises(CheckFailed):
            late.check()
    assert beside(path) == {"debian.sif.scan.json", "debian.sif.sbom.json"}


def test_a_real_scanner_finds_nothing(tmp_path: Path) -> None:
    with osv_server({}) as (url, asked):
        scanned = scan(debian(tmp_path, **OLD), pip_audit(url, tmp_path / "cache"))
    assert len(asked) == 2
    scanned.check()
    assert (scanned.report.components, scanned.report.findings) == (2, ())


def test_a_real_scanner_without_its_database_fails(tmp_path: Path) -> None:
    with osv_server({}) as (url, _):
        pass
    path = debian(tmp_path, **OLD)
    (tmp_path / "debian.sif.scan.json").write_text("of yesterday")
    with pytest.raises((CommandFailed, Undetermined), match="scanner"):
        scan(path, pip_audit(url, tmp_path / "cache"))
    assert beside(path) == {"debian.sif.sbom.json"}


def test_what_the_command_is_given(tmp_path: Path) -> None:
    path = debian(tmp_path)
    code = (
        "import json, os, sys; sbom, sif, root, plain, twice = sys.argv[1:];"
        "assert json.load(open(sbom))['specVersion'] == '1.6';"
        "assert open(sif, 'rb').read(4) == b'#!/u';"
        "assert os.stat(os.path.dirname(root)).st_mode & 0o777 == 0o700;"
        "assert 'Package: tar' in open(root + '/var/lib/dpkg/status').read();"
        "assert plain == '{{.x}}' and twice == sif + ':' + sif, (plain, twice);"
        f"print('''{GOOD}''')"
    )
    scanned = scan(path, python(code, "{sbom}", "{sif}", "{root}", "{{.x}}", "{sif}:{sif}"))
    assert scanned.report.components == 1
    assert (tmp_path / "debian.sif.scan.json").read_text() == GOOD + "\n"


def test_all_is_unpacked_only_where_it_is_asked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scanning, "unpack", lambda *_: pytest.fail("unpacked"))
    scan(debian(tmp_path), python(f"print('''{GOOD}''')", "{sif}"))


@pytest.mark.parametrize(
    ("code", "kind", "why"),
    [
        ("import sys; print('x'); sys.exit('no database')", CommandFailed, "failed with exit code 1: no database"),
        (f"print('''{GOOD}'''); raise SystemExit(2)", CommandFailed, "failed with exit code 2: it gave no reason"),
        ("import os; os.kill(os.getpid(), 11)", CommandFailed, "failed with exit code 139"),
        ("", Undetermined, "no CycloneDX report in JSON: it is empty"),
        ("print('<bom/>')", Undetermined, "no CycloneDX report in JSON: it is not JSON, but begins with '<bom/>'"),
        ("print('{}')", Undetermined, "JSON of another kind"),
        ("import os\nwhile True: os.write(1, b'x' * 65536)", Undetermined, "more than 1 MiB"),
        ("import os\nwhile True: os.write(2, b'x' * 65536)", CommandFailed, "more than 16 MiB on standard error"),
        ("import time; time.sleep(60)", Undetermined, "was still running after 1 s and was stopped"),
        (
            "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); time.sleep(60)",
            Undetermined,
            "was still running after 1 s and was stopped",
        ),
    ],
)
def test_a_scanner_that_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: str, kind: type[HpcRegistryError], why: str
) -> None:
    monkeypatch.setattr(scanning, "MOST_OUTPUT", 1 << 20)
    path = debian(tmp_path)
    (tmp_path / "debian.sif.scan.json").write_text("of yesterday")
    began = time.monotonic()
    with pytest.raises(HpcRegistryError) as caught:
        scan(path, python(code, "{sbom}", timeout=1 if "sleep" in code else 60))
    assert (type(caught.value), why in str(caught.value)) == (kind, True), caught.value
    assert str(caught.value).startswith(f"{path}: ")
    assert time.monotonic() - began < 15
    assert beside(path) == {"debian.sif.sbom.json"}


def test_a_scanner_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"debian.sif: there is no scanner no-such-scanner on this machine"):
        scan(debian(tmp_path), Scan(command=("no-such-scanner", "{sbom}")))


def test_other_exit_codes_may_be_good(tmp_path: Path) -> None:
    scan(debian(tmp_path), python(f"print('''{GOOD}'''); raise SystemExit(3)", "{sbom}", exit_codes=(0, 3)))


@pytest.mark.parametrize(
    ("command", "why"), [((), "names no scanner"), (("true",), "would look at nothing of the image")]
)
def test_a_command_that_looks_at_nothing(tmp_path: Path, command: tuple[str, ...], why: str) -> None:
    path = debian(tmp_path)
    with pytest.raises(UsageError, match=why):
        scan(path, Scan(command=command))
    assert beside(path) == set()


def test_an_image_without_packages(tmp_path: Path) -> None:
    """Its SBOM is no evidence; a scanner that looks at the files themselves may find some."""
    path = pack(lay(tmp_path / "root", {"bin/app": "x"}), tmp_path / "x.sif")
    with pytest.raises(Undetermined, match="no package was found"):
        scan(path, python(f"print('''{GOOD}''')", "{sbom}"))
    scan(path, python(f"print('''{GOOD}''')", "{root}"))


def test_the_directory_of_the_image_cannot_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = debian(tmp_path)

    def refuse(*_: object, **__: object) -> None:
        raise OSError(30, "Read-only file system")

    monkeypatch.setattr(os, "fsync", refuse)
    with pytest.raises(CommandFailed, match="cannot be written: Read-only file system"):
        scan(path, python(f"print('''{GOOD}''')", "{sbom}"))
    assert beside(path) == set()


def test_many_faults_are_named_in_part(tmp_path: Path) -> None:
    vulnerabilities = [{"id": f"CVE-{number}"} for number in range(12)]
    text = json.dumps({**json.loads(GOOD), "vulnerabilities": vulnerabilities})
    with pytest.raises(CheckFailed) as caught:
        scan(debian(tmp_path), python(f"print('''{text}''')", "{sbom}")).check()
    assert "the scanner found 12 vulnerabilities that block it: CVE-0 (unknown), CVE-1 (unknown), " in str(caught.value)
    assert str(caught.value).endswith(" and 2 more")


def test_an_old_report_that_cannot_be_removed(tmp_path: Path) -> None:
    path = debian(tmp_path)
    (tmp_path / "debian.sif.scan.json").mkdir()
    with pytest.raises(UsageError, match=r"debian\.sif\.scan\.json: cannot be removed: Is a directory"):
        scan(path, python(f"print('''{GOOD}''')", "{sbom}"))


def test_a_report_of_another_image_is_none(tmp_path: Path) -> None:
    report = GOOD.replace("tar", "nothing")
    with pytest.raises(Undetermined, match="names none of the 2 packages in the image"):
        scan(debian(tmp_path), python(f"print('''{report}''')", "{sif}"))
    assert beside(tmp_path / "debian.sif") == {"debian.sif.sbom.json"}


def test_a_report_that_lacks_packages_says_so(tmp_path: Path) -> None:
    found = scan(debian(tmp_path), python(f"print('''{GOOD}''')", "{sif}"))
    assert found.warnings == ("the scanner's report names 1 of 2 packages",)


def test_a_file_that_changes_under_the_scanner_has_no_report(tmp_path: Path) -> None:
    path = debian(tmp_path)
    with pytest.raises(CommandFailed, match="changed while it was scanned"):
        scan(path, python(f"import sys; open(sys.argv[1], 'ab').write(b'x'); print('''{GOOD}''')", "{sif}"))
    assert beside(path) == {"debian.sif.sbom.json"}
