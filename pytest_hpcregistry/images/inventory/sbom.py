"""The SBOM of an image: CycloneDX 1.6 in JSON, written and read again.

The same file gives the same bytes: the serial number is made of its digest, and no time is in it. Beside the packages
it names the operating system and what packages were built from, for Trivy, which looks for Debian's and Alpine's
vulnerabilities by that; their package URLs have `distro` and `upstream`, for Grype.
"""

from __future__ import annotations

import json
import uuid
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from cyclonedx.model import HashAlgorithm, HashType, Property
from cyclonedx.model.bom import Bom
from cyclonedx.model.bom_ref import BomRef
from cyclonedx.model.component import Component, ComponentType
from cyclonedx.model.component_evidence import ComponentEvidence, Occurrence
from cyclonedx.model.dependency import Dependency
from cyclonedx.output import make_outputter
from cyclonedx.schema import OutputFormat, SchemaVersion
from packageurl import PackageURL

from ... import __version__
from ...core import sif
from ...core.digest import hash_file
from ...core.errors import Undetermined, UsageError
from ...core.names import visible
from .contents import list_contents, unpacking_directory
from .packages import Inventory, Package, take_inventory

WARNING = "hpcregistry:warning"
"""The name of the properties that say what could not be read."""
MOST_BYTES = 64 << 20
"""Of an SBOM that is read."""
MALFORMED = (ValueError, TypeError, KeyError, AttributeError, RecursionError)
"""What `parse` raises for JSON that is no SBOM."""
NO_NAME = BomRef()
"""Of the places where a package is listed: with one each, which have no order, they would come in another each time."""
OF_SYSTEM = ("deb", "apk", "rpm")
"""Kinds of packages that belong to an operating system, and have its name in their package URL."""


@dataclass(frozen=True)
class Sbom:
    """The SBOM of the image with this SHA-256 `digest`: its `text`, the number of `packages` in it, and `warnings`."""

    digest: str
    text: str
    packages: int
    warnings: tuple[str, ...]


def make_sbom(path: Path) -> Sbom:
    """The SBOM of the SIF at *path*. Raises UsageError for a file that is no sound SIF, and as `take_inventory`."""
    found = sif.check(path)
    digest = hash_file(path)
    with unpacking_directory() as directory:
        inventory = take_inventory(list_contents(found), directory / "files")
    if not inventory.system and any(one.kind in ("deb", "rpm", "apk") for one in inventory.packages):
        inventory.warn("etc/os-release", "does not say which system this is: scanners may know none of its packages")
    return Sbom(digest, write(path.name, digest, inventory), len(inventory.packages), tuple(inventory.warnings))


def check_evidence(sbom: Sbom, path: Path) -> None:
    """Raise Undetermined when no package was found: of such an image nothing is known by its SBOM."""
    if not sbom.packages:
        known = "no package was found in it, by dpkg, rpm, apk, pip or conda"
        raise Undetermined("; ".join([known, *sbom.warnings]), where=visible(path))


def write(name: str, digest: str, inventory: Inventory) -> str:
    """The text of the SBOM of an image that is called *name*."""
    bom = Bom(serial_number=uuid.uuid5(uuid.NAMESPACE_OID, digest))
    bom.metadata.timestamp = None  # type: ignore[assignment]  # it may be left out, and would be another each time
    bom.metadata.tools.components.add(
        Component(type=ComponentType.APPLICATION, name="hpc-container-manager", version=__version__)
    )
    image = Component(
        type=ComponentType.CONTAINER,
        name=name,
        version=f"sha256:{digest}",
        bom_ref=f"sha256:{digest}",
        hashes=[HashType(alg=HashAlgorithm.SHA_256, content=digest)],
    )
    bom.metadata.component = image
    bom.metadata.properties = [Property(name=WARNING, value=warning) for warning in inventory.warnings]
    components = list(components_of(inventory))
    bom.components = components
    # As Bom.register_dependency does, which takes the square of their number.
    each = [Dependency(one.bom_ref) for one in components]
    bom.dependencies = [Dependency(image.bom_ref, each), *each]
    text: str = make_outputter(bom, OutputFormat.JSON, SchemaVersion.V1_6).output_as_string(indent=1)
    return text + "\n"


def components_of(inventory: Inventory) -> Iterable[Component]:
    if inventory.system:
        yield Component(
            type=ComponentType.OPERATING_SYSTEM,
            name=inventory.system,
            version=inventory.release or None,
            bom_ref="operating-system",
        )
    by_url: defaultdict[PackageURL, list[Package]] = defaultdict(list)
    for package in inventory.packages:
        by_url[package_url(package, inventory)].append(package)
    for url, same in by_url.items():
        yield Component(
            type=ComponentType.LIBRARY,
            name=same[0].name,
            version=same[0].version,
            purl=url,
            bom_ref=url.to_string(),
            properties=trivy_source(same[0]),
            evidence=ComponentEvidence(
                occurrences=[Occurrence(bom_ref=NO_NAME, location=f"/{one.place}") for one in same]
            ),
        )


def trivy_source(package: Package) -> list[Property]:
    """Source package and its version, where they are not the package's own. Trivy reads no `upstream`."""
    source, _, version = dict(package.qualifiers).get("upstream", "").partition("@")
    if package.kind not in ("deb", "apk") or not source:
        return []
    named = {"SrcName": source, "SrcVersion": version or package.version}
    return [Property(name=f"aquasecurity:trivy:{key}", value=value) for key, value in named.items()]


def package_url(package: Package, inventory: Inventory) -> PackageURL:
    """See https://github.com/package-url/purl-spec; `upstream` is what Grype reads beside it."""
    qualifiers = dict(package.qualifiers)
    namespace = None
    if package.kind in OF_SYSTEM and inventory.system:
        namespace = inventory.system
        qualifiers["distro"] = "-".join(filter(None, (inventory.system, inventory.release)))
    return PackageURL(package.kind, namespace, package.name, package.version, qualifiers)


def read_packages(path: Path) -> Inventory:
    """The packages of an SBOM in JSON, or those of the SIF at *path*, and its warnings.

    Raises UsageError for a file that is neither, Undetermined when no package is in it, and as `make_sbom`.
    """
    with sif.open_sif(path) as stream:
        start = stream.read(1)
        text = start + stream.read(MOST_BYTES) if start == b"{" else b""
    if start != b"{":
        made = make_sbom(path)
        check_evidence(made, path)
        return parse(made.text)
    if len(text) > MOST_BYTES:
        raise UsageError(f"{visible(path)}: larger than {MOST_BYTES >> 20} MiB, so it is not read")
    try:
        return require_packages(text.decode(), visible(path))
    except MALFORMED:
        raise UsageError(f"{visible(path)}: neither a SIF nor a CycloneDX SBOM in JSON") from None


def require_packages(text: str, where: str) -> Inventory:
    """As `parse`, but raises Undetermined when no package is in it."""
    found = parse(text)
    if not found.packages:
        raise Undetermined("no package is in it", where=where)
    return found


def parse(text: str) -> Inventory:
    """The packages of an SBOM: its components with a package URL. Raises as JSON and its data do when it is none."""
    data = json.loads(text)
    if data["bomFormat"] != "CycloneDX":
        raise ValueError("another kind of JSON")
    urls = [PackageURL.from_string(one["purl"]) for one in data.get("components", []) if "purl" in one]
    properties = data.get("metadata", {}).get("properties", [])
    warnings = [str(one.get("value", "")) for one in properties if one["name"] == WARNING]
    return Inventory(sorted(Package(url.type, url.name, url.version or "") for url in urls), warnings)
