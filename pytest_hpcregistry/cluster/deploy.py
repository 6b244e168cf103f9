"""Deploy: check a SIF, bring it to the controller, publish it there and on the nodes, and prove it."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from ..core import sif
from ..core.coverage import Required
from ..core.digest import hash_file
from ..core.errors import RUN_SETUP, CheckFailed, CommandFailed, HpcRegistryError, Unreachable, UsageError
from ..core.events import (
    NOT_COUNTED,
    BytesMissing,
    Event,
    Failed,
    ImageChecked,
    ImageProgress,
    ImageScanned,
    ImageSent,
    Listener,
    Looked,
    Noticed,
    Published,
    UnderWay,
)
from ..core.fields import find_repeated, nearest
from ..core.labels import MOST_LABELS, fit_labels
from ..core.messages import behind, not_counted
from ..core.names import excerpt, image_name, visible
from ..core.running import WORKING
from ..images.running.container import check_file
from ..images.scanning.scan import Scanned, scan
from . import image_signatures, signing
from . import verify as verifying
from .arguments import AS_CONFIGURED, SyncOptions, operator
from .client import ControllerClient
from .history import note_test
from .outcomes import raise_worst, sync_failures, sync_shortfall

FROM_LABEL = "org.label-schema.usage.singularity.deffile.from"  # what Apptainer itself notes of the source


@dataclass(frozen=True)
class Image:
    """A checked local SIF and the name that it shall have. `size` in bytes, `digest` SHA-256 in hex."""

    path: Path
    name: str
    digest: str
    size: int
    architecture: str
    labels: Mapping[str, str]
    warnings: tuple[str, ...] = ()


def check(path: Path, target: str, client: ControllerClient) -> Image:
    """Look at everything that can be wrong before a byte moves. Raises UsageError with what is wrong."""
    registry = client.cluster.registry
    refuse_what_is_no_file(path)
    name = image_name(target, registry.path, registry.directories)
    found = sif.check(path)
    digest = hash_file(path)
    return Image(path, name, digest, found.size, found.architecture, found.labels, found.warnings)


def refuse_what_is_no_file(path: Path) -> None:
    """Raises UsageError, with what was meant, perhaps."""
    if path.is_dir():
        raise UsageError(f"{visible(path)}: is a directory", hint=f"hpc-container-manager deploy all {visible(path)}")
    if not os.path.lexists(path):
        near = nearest(path.name, (each.name for each in path.parent.glob("*.sif")))
        hint = (
            f'perhaps you meant "{visible(path.with_name(near))}"?' if near else "hpc-container-manager deploy --help"
        )
        raise UsageError(f"{visible(path)}: there is no such file", hint=hint)


def check_all(wanted: Sequence[tuple[Path, str]], client: ControllerClient) -> list[Image]:
    """As `check`, for each file and its target. Raises UsageError with all that is wrong with any of them."""
    images: list[Image] = []
    failures: list[HpcRegistryError] = []
    for path, target in wanted:
        try:
            images.append(check(path, target, client))
        except HpcRegistryError as error:
            failures.append(error)
    raise_worst(failures)
    twice = find_repeated([image.name for image in images])
    if twice:
        raise UsageError(f"two files would be {', '.join(twice)}", hint="deploy one of them by another name")
    return images


def run_checks(images: Sequence[Image], listener: Listener, client: ControllerClient | None = None) -> None:
    """Run the checks of all *images* on this machine; the controller of *client* notes what becomes of them.

    Raises what the worst of it was, in the end.
    """
    failures: list[HpcRegistryError] = []
    for image in images:
        try:
            outcome = check_file(image.path, listener)
            if client:
                note_test(client, listener, image.name, outcome, where=[], detail="on the workstation, to deploy it")
            outcome.check()
            if outcome.digest != image.digest:
                raise UsageError(f"{visible(image.path)}: has changed since it was looked at", hint="deploy it again")
        except HpcRegistryError as error:
            failures.append(error)
    raise_worst(failures)


def look(image: Image, client: ControllerClient, *, any_architecture: bool = False) -> Looked:
    """What the controller has of *image*.

    Raises CheckFailed when no node's machine runs it, but for *any_architecture*; UsageError when signatures are
    required, and the controller does not know that yet.
    """
    found = client.look(image.digest, image.size)
    signatures = client.cluster.registry.signatures
    if signatures == "require" and found.signatures not in (None, signatures):
        what = f"registry.signatures is {signatures} in the cluster file, and {found.signatures} on the controller"
        raise UsageError(f"{what}, which would take {image.name} unsigned", hint=RUN_SETUP)
    if not any_architecture and not any(sif.runs_on(image.architecture, machine) for machine in found.machines):
        raise CheckFailed(
            f"is made for {image.architecture}, and the nodes are {', '.join(map(excerpt, found.machines))}",
            where=image.name,
            hint="build it for their architecture; --any-architecture deploys it all the same",
        )
    return found


def pass_scan(image: Image, client: ControllerClient, listener: Listener) -> Scanned:
    """Scan *image* by the cluster file's scanner. Raises CheckFailed when a finding blocks it, and as `scan`."""
    settings = client.cluster.scan
    listener(UnderWay(image.name, f"is scanned by {excerpt(settings.command[0])}"))
    scanned = scan(image.path, settings)
    if scanned.digest != image.digest:
        raise CommandFailed("the file changed while it was looked at", where=image.name, hint="deploy it again")
    for warning in scanned.warnings:
        listener(Noticed(f"{image.name}: {warning}"))
    scanned.check()
    found = len(scanned.report.findings)
    listener(ImageScanned(image.name, scanned.report.components, found, len(scanned.verdict.waived)))
    return scanned


def publish(
    image: Image,
    client: ControllerClient,
    listener: Listener,
    found: Looked,
    scanned: Scanned | None = None,
) -> bool:
    """Bring *image* to the controller if its bytes were not *found* there, and give it its name; its SBOM and what was
    *scanned* go along, as the cluster file says. True if what the name means has changed.
    """
    began = time.monotonic()
    for warning in image.warnings:
        listener(Noticed(f"{image.name}: {warning}"))
    if left_out := fit_labels(image.labels)[1]:
        why = f"the catalog takes {MOST_LABELS} bytes of labels of an image, and so not {', '.join(left_out)}"
        listener(Noticed(f"{image.name}: {why}"))
    listener(ImageChecked(name=image.name, digest=image.digest, size=image.size))

    def tell(sent: int) -> None:
        listener(ImageProgress(image.name, image.size, sent))

    registry = client.cluster.registry
    signature = signing.sign(registry, image.name, image.digest, image.size)
    if registry.signatures != "off" and not signature:
        listener(Noticed(f"{image.name} is not signed: registry.signing_key is not set"))

    def send() -> None:
        client.send(image.path, image.digest, image.size, tell)

    attached = attach(image, found, scanned, listener) if registry.sbom else {}
    if not found.present:
        send()
    listener(ImageSent(name=image.name, bytes=0 if found.present else image.size))
    request = {
        "name": image.name,
        "digest": image.digest,
        "size": image.size,
        "architecture": image.architecture,
        "by": operator(),
        "source": image.labels.get(FROM_LABEL, ""),
        "labels": dict(image.labels),
        **signature,
        "attachments": attached,
    }

    def give_name() -> Event:
        return client.publish({**request, "seconds": round(time.monotonic() - began, 1)}, listener)

    event = give_name()
    if isinstance(event, BytesMissing):
        # They had no name, and a garbage collection took them after they were looked for.
        send()
        event = give_name()
    if not isinstance(event, Published):
        raise CommandFailed(
            f"{image.name} was removed twice while it was being published",
            where="controller",
            hint="a garbage collection with --grace 0 is running there: deploy again when it has ended",
        )
    listener(event)
    return event.changed


def refuse_to_wait(client: ControllerClient, no_wait: bool) -> None:
    """With *no_wait* raise CommandFailed when the sync would have to wait, before anything is sent."""
    if no_wait and (found := client.running()).locked:
        at_work = next((one for one in found.commands if one.state == WORKING), None)
        what = f"nothing was deployed, by --no-wait: {behind(at_work)}"
        raise CommandFailed(what, where=client.cluster.controller.name, hint="see: hpc-container-manager running")


def attach(image: Image, found: Looked, scanned: Scanned | None, listener: Listener) -> dict[str, str]:
    """What shall be kept beside *image* on the controller; see `attachments.collect`."""
    from . import attachments  # with the library that writes an SBOM

    return attachments.collect(image.path, image.name, image.digest, found, scanned, listener)


def deploy(
    images: Sequence[Image],
    client: ControllerClient,
    listener: Listener,
    *,
    sync_nodes: bool = False,
    verify: bool = False,
    parallel: int = 1,
    any_architecture: bool = False,
    test: bool = False,
    no_scan: bool = False,
    options: SyncOptions = AS_CONFIGURED,
    required: Required | None = None,
) -> None:
    """Publish *images* on the controller, bring them to all nodes, read them back there: as far as asked for.

    Where the cluster file names a scanner, each image is scanned before a byte of it moves, but for *no_scan*.

    Raises what the worst of it was; an image or a node that fails does not stop the others, but with *test* a check of
    an image that fails does: nothing is sent then. Fewer nodes that are well than *required* are a failure, too.
    """
    if not images:
        raise UsageError("there is no image to deploy")
    refuse_to_wait(client, sync_nodes and options.no_wait)
    if test:
        run_checks(images, listener, client)
    failures: list[HpcRegistryError] = []

    def publish_one(image: Image) -> str | None:
        try:
            scanned = None
            found = look(image, client, any_architecture=any_architecture)
            image_signatures.look(image.path, image.name, client.cluster.registry, listener)
            if no_scan:
                listener(Noticed(f"{image.name}: not scanned, by --no-scan"))
            elif client.cluster.scan.command:
                scanned = pass_scan(image, client, listener)
            publish(image, client, listener, found, scanned)
        except Unreachable:
            raise  # the controller: there is nobody to go on with
        except HpcRegistryError as error:
            failures.append(error)
            listener(Failed(error.reason(image.name), name=image.name, where=image.name))
            return None
        return image.name

    with ThreadPoolExecutor(max_workers=parallel) as pool:
        published = [name for name in pool.map(publish_one, images) if name]
    said: list[str] = []
    if sync_nodes and published:
        finished = client.sync(listener, options, names=published)
        failures += [*sync_failures(finished), *sync_shortfall(finished, required)]
        said = not_counted({node: end.message for node, end in finished.items() if end.state == NOT_COUNTED})
    if verify and published:
        reading = verifying.read_back(client, listener, published, with_nodes=sync_nodes)
        failures += verifying.failures(reading, published, client, listener, sync_nodes, required=required, said=said)
    raise_worst(failures)
