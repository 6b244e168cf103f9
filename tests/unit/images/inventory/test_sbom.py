"""The SBOM: valid CycloneDX 1.6, the same bytes for the same file, never silently empty."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path
from typing import Any

import pytest
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator

from pytest_hpcregistry.core.digest import hash_file
from pytest_hpcregistry.core.errors import Undetermined, UsageError
from pytest_hpcregistry.images.inventory import sbom
from pytest_hpcregistry.images.inventory.packages import Inventory
from pytest_hpcregistry.images.inventory.sbom import WARNING, check_evidence, make_sbom, read_packages, write
from pytest_hpcregistry.testing.sif import Sif
from tests.fakes.image import DEBIAN, debian, lay, pack

NUMPY = {"usr/lib/python3/dist-packages/numpy-2.1.0.dist-info/METADATA": "Name: NumPy\nVersion: 2.1.0\n"}
AGAIN = {"opt/venv/lib/numpy-2.1.0.dist-info/METADATA": "Name: numpy\nVersion: 2.1.0\n"}


def check_valid(text: str) -> dict[str, Any]:
    problem = JsonStrictValidator(SchemaVersion.V1_6).validate_str(text)
    assert problem is None, problem
    data: dict[str, Any] = json.loads(text)
    return data


def test_the_bill_of_an_image(tmp_path: Path) -> None:
    path = debian(tmp_path, **NUMPY, **AGAIN)
    made = make_sbom(path)
    data = check_valid(made.text)
    image = data["metadata"]["component"]
    assert (data["specVersion"], image["type"], image["name"]) == ("1.6", "container", "debian.sif")
    assert image["hashes"] == [{"alg": "SHA-256", "content": hash_file(path)}]
    assert made.digest == hash_file(path)
    purls = {one.get("purl", one["type"]): one for one in data["components"]}
    assert set(purls) == {
        "operating-system",
        "pkg:deb/debian/libc6@2.36-9?arch=amd64&distro=debian-12&upstream=glibc",
        "pkg:deb/debian/tar@1.34%2Bdfsg-1.2?arch=amd64&distro=debian-12",
        "pkg:pypi/numpy@2.1.0",
    }
    assert (purls["operating-system"]["name"], purls["operating-system"]["version"]) == ("debian", "12")
    places = [one["location"] for one in purls["pkg:pypi/numpy@2.1.0"]["evidence"]["occurrences"]]
    assert sorted(places) == sorted(f"/{name}" for name in [*NUMPY, *AGAIN])
    assert (made.packages, made.warnings) == (4, ())


def test_the_same_file_gives_the_same_bytes(tmp_path: Path) -> None:
    path = debian(tmp_path, **NUMPY)
    first = make_sbom(path)
    os.utime(path, (0, 0))
    assert make_sbom(path) == first
    assert "timestamp" not in json.loads(first.text)["metadata"]
    other = make_sbom(debian(tmp_path / "other", **NUMPY, **AGAIN))
    assert json.loads(other.text)["serialNumber"] != json.loads(first.text)["serialNumber"]


def test_a_package_that_is_listed_in_many_places_has_them_in_order() -> None:
    inventory = Inventory()
    for number in (3, 1, 4, 0, 2):
        inventory.add("pypi", "numpy", "2.1.0", f"opt/venv{number}/METADATA")
    (numpy,) = json.loads(write("x.sif", "0" * 64, inventory))["components"]
    places = [f"/opt/venv{number}/METADATA" for number in range(5)]
    assert [one["location"] for one in numpy["evidence"]["occurrences"]] == places


def test_trivy_is_told_what_a_package_was_built_from() -> None:
    inventory = Inventory(system="debian", release="12")
    for number, upstream in enumerate(("glibc", "glibc@2.36-8", "")):
        inventory.add("deb", f"libc{number}", "2.36-9", "var/lib/dpkg/status", upstream=upstream)
    inventory.add("rpm", "bash", "5.1-1", "var/lib/rpm", upstream="bash-5.1-1.src.rpm")
    data = check_valid(write("x.sif", "0" * 64, inventory))
    told = {one["name"]: {two["name"]: two["value"] for two in one.get("properties", [])} for one in data["components"]}
    source = "aquasecurity:trivy:Src"
    assert told == {
        "debian": {},
        "libc0": {f"{source}Name": "glibc", f"{source}Version": "2.36-9"},
        "libc1": {f"{source}Name": "glibc", f"{source}Version": "2.36-8"},
        "libc2": {},
        "bash": {},
    }


def test_an_image_depends_on_all_that_is_in_it(tmp_path: Path) -> None:
    data = check_valid(make_sbom(debian(tmp_path, **NUMPY)).text)
    references = sorted(one["bom-ref"] for one in data["components"])
    of_image = {"ref": data["metadata"]["component"]["bom-ref"], "dependsOn": references}
    assert sorted(data["dependencies"], key=len) == [*({"ref": one} for one in references), of_image]


def test_what_was_not_read_is_in_the_bill(tmp_path: Path) -> None:
    made = make_sbom(debian(tmp_path, **{"var/lib/rpm/rpmdb.sqlite": b"damaged"}))
    properties = check_valid(made.text)["metadata"]["properties"]
    assert [(one["name"], one["value"]) for one in properties] == [(WARNING, made.warnings[0])]
    assert "a database of rpm" in made.warnings[0]


def test_any_name_of_a_package_can_be_written() -> None:
    inventory = Inventory(system="odd/../@?name", release="1#2")
    names = ["a", "a+b", ".build-deps", "a:b", "perl(A::B)", "@x-y", "_libgcc_mutex", "a..b", "~a", "%2e"]
    for kind in ("deb", "rpm", "apk", "pypi", "conda"):
        for name in names:
            inventory.add(kind, name, "1:2.0~rc1+b/2@#?&=%", "x", arch="a&b=c", channel="?#/@")
    assert len(inventory.packages) == 5 * (len(names) - 1)
    assert len(check_valid(write("x.sif", "0" * 64, inventory))["components"]) == len(inventory.packages) + 1


def test_an_image_without_packages_is_no_evidence(tmp_path: Path) -> None:
    path = pack(lay(tmp_path / "root", {"bin/app": "x"}), tmp_path / "x.sif")
    made = make_sbom(path)
    check_valid(made.text)
    with pytest.raises(Undetermined, match="no package was found in it, by dpkg, rpm, apk, pip or conda"):
        check_evidence(made, path)


@pytest.mark.parametrize("content", [b"", b"no SIF", Sif().to_bytes()[:-1]])
def test_a_file_that_is_no_sif_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "x.sif"
    path.write_bytes(content)
    with pytest.raises(UsageError):
        make_sbom(path)


def test_the_packages_of_an_image_are_those_of_its_bill(tmp_path: Path) -> None:
    path = debian(tmp_path, **NUMPY, **AGAIN)
    bill = tmp_path / "x.json"
    bill.write_text(make_sbom(path).text)
    found = [(one.kind, one.name, one.version) for one in read_packages(path).packages]
    assert found == [("deb", "libc6", "2.36-9"), ("deb", "tar", "1.34+dfsg-1.2"), ("pypi", "numpy", "2.1.0")]
    assert read_packages(bill).packages == read_packages(path).packages


@pytest.mark.parametrize(
    "text",
    [
        "{",
        "{}",
        '{"bomFormat": "SPDX"}',
        '{"bomFormat": "CycloneDX", "components": 3}',
        '{"bomFormat": "CycloneDX", "components": [3]}',
        '{"bomFormat": "CycloneDX", "components": [{"purl": "x"}]}',
        '{"bomFormat": "CycloneDX", "components": [{"purl": 3}]}',
        '{"a":' * 100_000,
        "no SIF",
    ],
)
def test_what_is_neither_an_image_nor_a_bill(tmp_path: Path, text: str) -> None:
    path = tmp_path / "x"
    path.write_text(text)
    with pytest.raises(UsageError, match=re.escape(f"{path}: ")):
        read_packages(path)


def test_a_bill_of_nothing(tmp_path: Path) -> None:
    path = tmp_path / "x.json"
    path.write_text('{"bomFormat": "CycloneDX", "components": [{"name": "a", "version": "1"}]}')
    with pytest.raises(Undetermined, match="no package is in it"):
        read_packages(path)


def test_a_bill_that_is_too_large(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "x.json"
    path.write_text('{"bomFormat": "CycloneDX", "components": [{"purl": "pkg:deb/debian/a@1"}]}')
    assert len(read_packages(path).packages) == 1
    monkeypatch.setattr(sbom, "MOST_BYTES", 10)
    with pytest.raises(UsageError, match="larger than 0 MiB"):
        read_packages(path)


@pytest.mark.parametrize("target", ["/etc/passwd", "/gone"])
def test_a_database_that_is_something_else_is_not_passed_over(tmp_path: Path, target: str) -> None:
    root = lay(tmp_path / "root", {**DEBIAN, "etc/passwd": "root:x:0\n", **NUMPY})
    status = root / "var/lib/dpkg/status"
    status.unlink()
    status.symlink_to(target)
    made = make_sbom(pack(root, tmp_path / "x.sif"))
    assert any("dpkg/status" in one or "etc/passwd" in one for one in made.warnings)


def test_an_image_that_does_not_say_what_it_is(tmp_path: Path) -> None:
    root = lay(tmp_path / "root", {"var/lib/dpkg/status": DEBIAN["var/lib/dpkg/status"]})
    made = make_sbom(pack(root, tmp_path / "x.sif"))
    assert made.warnings == (
        "/etc/os-release: does not say which system this is: scanners may know none of its packages",
    )
