"""Every database of packages, as its own program writes it; what is no package, or cannot be read, is a warning."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path

import pytest

from pytest_hpcregistry.core import sif
from pytest_hpcregistry.images.inventory.contents import list_contents
from pytest_hpcregistry.images.inventory.packages import MOST_WARNINGS, Inventory, Package, take_inventory, text_of
from tests.fakes.image import DEBIAN, lay, pack


def inventory(directory: Path, files: Mapping[str, str | bytes], links: Mapping[str, str] | None = None) -> Inventory:
    root = lay(directory / "root", files)
    for name, target in (links or {}).items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).symlink_to(target)
    return take_inventory(list_contents(sif.check(pack(root, directory / "x.sif"))), directory / "files")


def deb(name: str, version: str, place: str = "var/lib/dpkg/status", **more: str) -> Package:
    return Package("deb", name, version, tuple(sorted({"arch": "amd64", **more}.items())), place)


def test_dpkg(tmp_path: Path) -> None:
    found = inventory(tmp_path, DEBIAN)
    assert found.packages == [deb("libc6", "2.36-9", upstream="glibc"), deb("tar", "1.34+dfsg-1.2")]
    assert (found.system, found.release, found.warnings) == ("debian", "12", [])


def test_dpkg_of_this_machine(tmp_path: Path) -> None:
    """A real one, against what dpkg itself says."""
    asked = subprocess.run(
        ["dpkg-query", "-W", "-f=${Package} ${Version}\n"], capture_output=True, text=True, check=True
    )
    found = inventory(tmp_path, {"var/lib/dpkg/status": Path("/var/lib/dpkg/status").read_bytes()})
    assert len(found.packages) > 80
    installed = sorted(line for line in asked.stdout.splitlines() if line.split(" ")[1])
    assert sorted(f"{one.name} {one.version}" for one in found.packages) == installed
    assert found.warnings == []


def test_dpkg_in_parts(tmp_path: Path) -> None:
    place = "var/lib/dpkg/status.d/base"
    text = "Package: base-files\nArchitecture: amd64\nVersion: 12.4\nSource: base (12.3)\n"
    found = inventory(tmp_path, {place: text, f"{place}.md5sums": "0 etc/issue\n"})
    assert found.packages == [deb("base-files", "12.4", place, upstream="base@12.3")]
    assert found.warnings == []


def test_apk(tmp_path: Path) -> None:
    text = (
        "C:Q1x=\nP:libcrypto3\nV:3.1.4-r1\nA:x86_64\no:openssl\n"
        "F:lib\nR:a\nP:no\n\nP:musl\nV:1.2.4-r2\nA:x86_64\no:musl\n"
    )
    found = inventory(tmp_path, {"usr/lib/apk/db/installed": text, "etc/os-release": "ID=alpine\n"}, {"lib": "usr/lib"})
    place = "usr/lib/apk/db/installed"
    assert found.packages == [
        Package("apk", "libcrypto3", "3.1.4-r1", (("arch", "x86_64"), ("upstream", "openssl")), place),
        Package("apk", "musl", "1.2.4-r2", (("arch", "x86_64"),), place),
    ]
    assert (found.system, found.release, found.warnings) == ("alpine", "", [])


def test_pip(tmp_path: Path) -> None:
    packages = "usr/lib/python3/dist-packages"
    files = {
        f"{packages}/numpy-2.1.0.dist-info/METADATA": "Metadata-Version: 1\nName: numpy\nVersion: 2.1.0\n\nName: x\n",
        f"{packages}/old.egg-info/PKG-INFO": "Name: Old.Name\nVersion: 1\n",
        f"{packages}/older-2.egg-info": "Name: older\nVersion: 2\n",
        f"{packages}/numpy-2.1.0.dist-info/RECORD": "Name: no\nVersion: 1\n",
    }
    found = inventory(tmp_path, files)
    assert [(one.kind, one.name, one.version) for one in found.packages] == [
        ("pypi", "Old.Name", "1"), ("pypi", "numpy", "2.1.0"), ("pypi", "older", "2"),
    ]  # fmt: skip
    assert found.warnings == []


def test_conda(tmp_path: Path) -> None:
    record = {
        "name": "numpy", "version": "1.26.0", "build": "py311_0", "subdir": "linux-64",
        "channel": "https://conda.example.org/t/SECRET/conda-forge/linux-64",
    }  # fmt: skip
    place = "opt/conda/conda-meta/numpy-1.26.0-py311_0.json"
    files = {place: json.dumps(record), "opt/conda/conda-meta/history": "", "opt/conda/conda-meta/x.json": "[1]"}
    found = inventory(tmp_path, files)
    qualifiers = (("build", "py311_0"), ("channel", "conda-forge"), ("subdir", "linux-64"))
    assert found.packages == [Package("conda", "numpy", "1.26.0", qualifiers, place)]
    assert found.warnings == ["/opt/conda/conda-meta/x.json: is no record of conda"]


@pytest.fixture(scope="module")
def rpm_database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A database of rpm's own making, with one package in it."""
    home = tmp_path_factory.mktemp("rpm")
    spec = home / "hello.spec"
    spec.write_text(
        "Name: hello\nEpoch: 3\nVersion: 1.2\nRelease: 4.el9\nSummary: s\nLicense: l\nBuildArch: noarch\n"
        "%description\nd\n%files\n"
    )
    build = ["rpmbuild", "-bb", "--define", f"_topdir {home}", str(spec)]
    subprocess.run(build, check=True, capture_output=True)
    (made,) = home.glob("RPMS/noarch/*.rpm")
    install = ["rpm", "--dbpath", str(home / "db"), "--install", "--justdb", "--nodeps", str(made)]
    subprocess.run(install, check=True, capture_output=True)
    return home / "db" / "rpmdb.sqlite"


def test_rpm(tmp_path: Path, rpm_database: Path) -> None:
    place = "usr/lib/sysimage/rpm/rpmdb.sqlite"
    files = {place: rpm_database.read_bytes(), "etc/os-release": b"ID='rocky'\nVERSION_ID=9.4\n"}
    found = inventory(tmp_path, files, {"var/lib/rpm": "../../usr/lib/sysimage/rpm"})
    qualifiers = (("arch", "noarch"), ("epoch", "3"), ("upstream", "hello-1.2-4.el9.src.rpm"))
    assert found.packages == [Package("rpm", "hello", "1.2-4.el9", qualifiers, place)]
    assert (found.system, found.release, found.warnings) == ("rocky", "9.4", [])


def test_a_database_of_rpm_is_never_passed_over(
    tmp_path: Path, rpm_database: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = "var/lib/rpm/rpmdb.sqlite"
    for name, content in {"damaged": b"no database", "empty": b""}.items():
        found = inventory(tmp_path / name, {place: content})
        (warning,) = found.warnings
        assert warning.startswith(f"/{place}: a database of rpm, which rpm did not read to its end: "), name
        assert found.packages == []
    there = tmp_path / "bin"
    there.mkdir()
    (there / "unsquashfs").symlink_to(shutil.which("unsquashfs") or "")
    (there / "mksquashfs").symlink_to(shutil.which("mksquashfs") or "")
    monkeypatch.setenv("PATH", str(there))
    found = inventory(tmp_path / "no rpm", {place: rpm_database.read_bytes()})
    assert found.packages == []
    assert found.warnings == [
        f"/{place}: a database of rpm, which was not read: rpm cannot be run: there is no such program"
    ]


def test_links_lead_nowhere_but_into_the_image(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("Package: secret\nVersion: 1\n")
    links = {
        "var/lib/dpkg/status": str(tmp_path / "secret"),
        "etc/os-release": "../../../../../../etc/os-release",
        "x.dist-info/METADATA": "/etc/passwd",
    }
    found = inventory(tmp_path, {}, links)
    assert (found.packages, found.system) == ([], "")


def test_only_a_regular_file_is_read(tmp_path: Path) -> None:
    """unsquashfs was told to unpack such files only; this does not rely on it."""
    (tmp_path / "secret").write_text("x")
    (tmp_path / "link").symlink_to("secret")
    os.mkfifo(tmp_path / "pipe")
    found = Inventory()
    assert [text_of(tmp_path, name, found) for name in ("secret", "link", "pipe", "no")] == ["x", "", "", ""]
    assert [warning.partition(":")[0] for warning in found.warnings] == ["/link", "/pipe", "/no"]


@pytest.mark.parametrize(
    ("text", "packages", "warnings"),
    [
        ("", 0, 0),
        ("\n\n\n", 0, 0),
        ("no colon", 0, 2),
        ("Package: a\n", 0, 1),
        ("Package: a b\nVersion: 1\n", 0, 1),
        ("Package: ../../etc\nVersion: 1\n", 0, 1),
        ("Package: a\nVersion: \x1b[31m\n", 0, 1),
        ("Package: a\nVersion: 1\nArchitecture: a\x1b\n", 1, 0),
        ("Package: a\nVersion: 1\nPackage: b\n", 1, 0),
        (b"Package: a\nVersion: \xff\xfe\n", 1, 0),
        (f"Package: {'a' * 300}\nVersion: 1\n", 0, 1),
        ("x: y\n\n" * 1000, 0, MOST_WARNINGS + 1),
    ],
)
def test_hostile_text(tmp_path: Path, text: str | bytes, packages: int, warnings: int) -> None:
    found = inventory(tmp_path, {"var/lib/dpkg/status": text})
    assert (len(found.packages), len(found.warnings)) == (packages, warnings)
    assert all(one.isprintable() and len(one) < 300 for one in found.warnings)


def test_names_that_unsquashfs_cannot_be_told(tmp_path: Path) -> None:
    root = lay(tmp_path / "root", {"a\nb/x-1.dist-info/METADATA": "Name: x\nVersion: 1\n"})
    lay(root, {"b\x1b.dist-info/METADATA": "Name: y\nVersion: 1\n"})
    found = take_inventory(list_contents(sif.check(pack(root, tmp_path / "x.sif"))), tmp_path / "files")
    assert found.packages == []
    assert len(found.warnings) == 2
    assert any("names with line breaks" in one for one in found.warnings)
    assert "/b\\x1b.dist-info/METADATA: not read, for its name" in found.warnings


PIP = "lib/x-1.dist-info/METADATA"
CONDA = "opt/conda-meta/x.json"


@pytest.mark.parametrize(
    ("path", "text"),
    [
        (PIP, ""),
        (PIP, "\n\nName: x\n"),
        (PIP, "Name: x\n"),
        (PIP, "Version: 1\n"),
        (CONDA, ""),
        (CONDA, "[" * 100_000),
        (CONDA, '{"name": "x"}'),
        (CONDA, '{"name": ["x"], "version": "1"}'),
        (CONDA, '{"name": "x", "version": 1}'),
        ("lib/apk/db/installed", "P:x\nA:y\n\n"),
        ("lib/apk/db/installed", "V:1\n\n"),
    ],
)
def test_what_is_no_package_is_a_warning(tmp_path: Path, path: str, text: str) -> None:
    found = inventory(tmp_path, {path: text})
    assert found.packages == []
    assert [warning.partition(":")[0] for warning in found.warnings] == [f"/{path}"]


@pytest.mark.parametrize(
    ("channel", "kept"),
    [("", ""), ("/", ""), ("defaults", "defaults"), ("https://x/t/SECRET/main/noarch/", "main"), ("noarch", "")],
)
def test_of_a_channel_only_its_name_is_kept(tmp_path: Path, channel: str, kept: str) -> None:
    record = {"name": "x", "version": "1", "channel": channel, "subdir": "noarch", "build": 3}
    (found,) = inventory(tmp_path, {CONDA: json.dumps(record)}).packages
    assert dict(found.qualifiers) == {"subdir": "noarch", **({"channel": kept} if kept else {})}


def test_what_rpm_says_is_checked_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A database is anybody's: rpm prints whatever names are in it."""
    lines = [
        r"gpg-pubkey\t0\t1\t2\t(none)\t(none)",
        r"broken\t1",
        r"a b\t0\t1\t2\tx\t(none)",
        r"ok\t0\t1\t2\tnoarch\t(none)",
    ]
    program = tmp_path / "bin" / "rpm"
    program.parent.mkdir()
    program.write_text(
        "#!/bin/sh\n" + "".join(f"printf '{line}\\n'\n" for line in lines) + "echo damaged >&2; exit 1\n"
    )
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}:{os.environ['PATH']}")
    found = inventory(tmp_path, {"var/lib/rpm/Packages": "x"})
    assert [(one.name, one.version, one.qualifiers) for one in found.packages] == [("ok", "1-2", (("arch", "noarch"),))]
    assert [one.removeprefix("/var/lib/rpm/Packages: ") for one in found.warnings] == [
        "a database of rpm, which rpm did not read to its end: damaged",
        "lists something that is no package: broken\\t1",
        "lists something that is no package: a b 1-2",
    ]


def test_the_first_os_release_counts(tmp_path: Path) -> None:
    first = inventory(
        tmp_path / "a", {"etc/os-release": "# x=y\nID=a\nX=b=c\n", "usr/lib/os-release": "ID=b\nVERSION_ID=1\n"}
    )
    assert (first.system, first.release) == ("a", "")
    odd = inventory(tmp_path / "b", {"etc/os-release": 'ID="a b"\n', "usr/lib/os-release": "ID=c\nVERSION_ID='1 2'\n"})
    assert (odd.system, odd.release) == ("c", "")
    assert inventory(tmp_path / "c", {"etc/os-release": "VERSION_ID=1\n"}).system == ""


def test_a_name_that_is_not_utf_8(tmp_path: Path) -> None:
    root = lay(tmp_path / "root", {"a": ""})
    lay(root / os.fsdecode(b"\xff.dist-info"), {"METADATA": "Name: x\nVersion: 1\n"})
    found = take_inventory(list_contents(sif.check(pack(root, tmp_path / "x.sif"))), tmp_path / "files")
    assert (found.packages, found.warnings) == ([], ["/\ufffd.dist-info/METADATA: not read, for its name"])
