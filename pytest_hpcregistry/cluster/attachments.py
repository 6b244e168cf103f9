"""What a deploy keeps beside an image in the registry, and getting it back: the SBOM, and the scanner's report."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path

from ..core.attachments import MOST_BYTES, NOUNS, PLACES, SBOM, SCAN, Unfit, check, pack
from ..core.catalog import Version, plain
from ..core.errors import RUN_SETUP, HpcRegistryError, Undetermined, UsageError
from ..core.events import Listener, Looked, Noticed
from ..core.layout import attachment_path, object_path
from ..core.names import excerpt
from ..images.inventory.sbom import MALFORMED, Sbom, check_evidence, make_sbom, require_packages
from ..images.scanning.scan import Scanned
from .client import QUICK, ControllerClient


def collect(
    path: Path, name: str, digest: str, found: Looked, scanned: Scanned | None, listener: Listener
) -> dict[str, str]:
    """What the publish of the SIF at *path* as *name* has to take along, for `ControllerClient.publish`: not what the
    controller has already, as *found* says. An SBOM that cannot be made is reported, and keeps nothing from being
    deployed.
    """
    if found.attachments is None:
        why = "the controller's program is of a version that keeps none"
        listener(Noticed(f"{name}: no SBOM is kept in the registry: {why}: {RUN_SETUP}"))
        return {}
    texts: dict[str, bytes] = {}
    try:
        made = scanned.sbom if scanned else make_sbom(path)
        if made.digest != digest:
            raise Undetermined("the file has changed meanwhile")
        check_evidence(made, path)
        texts[SBOM] = made.text.encode()
    except (HpcRegistryError, OSError) as error:
        listener(Noticed(f"{name}: no SBOM is kept in the registry: {excerpt(in_words(error))}"))
    if scanned:
        texts[SCAN] = scanned.output
    return dict(packed(texts, name, found.attachments, listener))


def in_words(error: HpcRegistryError | OSError) -> str:
    """What has happened; of this machine also what to do."""
    if isinstance(error, OSError):
        return error.strerror or str(error)
    return f"{error.what}: {error.hint}" if isinstance(error, UsageError) and error.hint else error.what


def packed(
    texts: Mapping[str, bytes], name: str, there: Mapping[str, str], listener: Listener
) -> Sequence[tuple[str, str]]:
    """Those *texts* that are not *there* yet, ready to be sent."""
    ready = []
    for kind, text in texts.items():
        try:
            if hashlib.sha256(text).hexdigest() != there.get(kind):
                ready.append((kind, pack(text)))
        except Unfit as error:
            listener(Noticed(f"{name}: its {NOUNS[kind]} is not kept in the registry: {error}"))
    return ready


def fetch_sboms(client: ControllerClient, name: str, *versions: str | None) -> list[Sbom]:
    """The SBOMs of *versions* of the image *name*, from the controller. A version is the beginning of a digest, or None
    for the current one.

    Raises UsageError when there is no such image or version, Undetermined when a version has no SBOM there, or one that
    cannot be used.
    """
    full, entry = client.find_image(name)
    try:
        chosen = [plain(entry) if one is None else entry.find(one) for one in versions]
    except UsageError as error:
        raise UsageError(error, where=full, hint=error.hint) from None
    return [fetch_sbom(client, full, one) for one in chosen]


def fetch_sbom(client: ControllerClient, name: str, version: Version) -> Sbom:
    where = f"{name}, version {version.digest[:12]}"
    data = read(client, SBOM, version.digest)
    controller, lies_at = client.cluster.controller.host, object_path(client.cluster.registry.path, version.digest)
    hint = (
        f"deploy it again, which makes one; or get the image, and use the file: "
        f"scp {controller}:{lies_at} {version.digest[:12]}.sif"
    )
    if data is None:
        raise Undetermined("the registry has no SBOM of it", where=where, hint=hint)
    try:
        check(SBOM, data, version.digest)
        text = data.decode()
        inventory = require_packages(text, where)
    except MALFORMED as error:
        why = error if isinstance(error, Unfit) else "it is not what a CycloneDX SBOM may be"
        raise Undetermined(f"the SBOM in the registry cannot be used: {why}", where=where, hint=hint) from None
    return Sbom(version.digest, text, len(inventory.packages), tuple(inventory.warnings))


def read(client: ControllerClient, kind: str, digest: str) -> bytes | None:
    """What the controller keeps beside the object *digest*; None where there is nothing, and no bytes where it is no
    regular file, or too large.

    Raises CommandFailed when it cannot be read.
    """
    path = attachment_path(client.cluster.registry.path, PLACES[kind], digest)
    regular = ["-maxdepth", "0", "-type", "f", "-size", f"-{MOST_BYTES + 1}c"]
    argv = client.program.as_root(["find", path, *regular, "-exec", "cat", "{}", ";"])
    result = client.transport.run(argv, timeout=QUICK)
    if result.exit_code == 0:
        return result.stdout.encode()
    if "No such file" in result.stderr:
        return None
    raise client.program.no_answer(result)
