"""The controller's own registry: bytes received, images published, the catalog written. All by the agent's code."""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any, BinaryIO

from .. import agent
from ..agent.facts import RESERVE
from ..agent.signatures import is_named
from ..core import sif
from ..core.catalog import Catalog, Version, plain, unknown_image
from ..core.errors import CheckFailed, CommandFailed, HpcRegistryError, UsageError
from ..core.kinds import write_mode
from ..core.labels import fit_labels
from ..core.layout import object_path
from ..core.names import CONTROLLER, DIGEST, image_name
from ..core.pace import amount
from ..core.settings import Settings
from . import image_signatures
from .catalog import catalog_of, read_catalog, read_catalog_text, replaced, text_of

CLOCKS_MAY_DIFFER = 300  # seconds


class BytesMissing(CheckFailed):
    """What shall be published is not here: it was freed after somebody had looked for it."""


def has_object(registry: str, digest: str, size: int) -> bool:
    """Whether the bytes with this digest (and size in bytes) are already here, and still the same: they are read."""
    path = Path(object_path(registry, digest))
    try:
        return path.lstat().st_size == size and agent.hash_file(str(path)) == digest
    except FileNotFoundError:
        return False


def receive(registry: str, digest: str, size: int, stream: BinaryIO) -> None:
    """Read *size* bytes into staging/ under *digest*. Raises when there is no room or when they are other bytes."""
    if not DIGEST.match(digest):
        raise UsageError(f"{digest!r} is not a SHA-256 digest")
    free = agent.filesystem(registry)["free"]
    if size + RESERVE > free:
        raise HpcRegistryError(
            f"{amount(size)} and a reserve of {amount(RESERVE)} needed, {amount(free)} free", where="controller"
        )
    beside = f".{digest}.{os.getpid()}"
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL  # which follows no link either, open(2)
    with refusals(), agent.opened_private(str(Path(registry, agent.STAGING))) as staging:
        agent.unlink_if_there(beside, staging)  # of a process that had the same number and was killed
        try:
            # Open to the end: what is in use no garbage collection takes.
            with os.fdopen(os.open(beside, flags, 0o600, dir_fd=staging), "wb") as copy:
                actual = copy_and_hash(stream, copy, size)
                if actual != digest:
                    raise CommandFailed(
                        f"{size} bytes with digest {digest[:12]} were sent, {actual} arrived", where="controller"
                    )
                copy.flush()
                if not has_object(registry, digest, size):
                    # A damaged object would be taken for the right one by name and size. Jobs keep what they opened.
                    agent.put_away_damaged(registry, {"objects": [digest]})
                os.rename(beside, digest, src_dir_fd=staging, dst_dir_fd=staging)
        finally:
            agent.unlink_if_there(beside, staging)


def copy_and_hash(source: BinaryIO, target: BinaryIO, size: int) -> str:
    total, left = hashlib.sha256(), size
    while left:
        block = source.read(min(left, 1 << 20))
        if not block:
            return f"only {size - left} bytes"
        target.write(block)
        total.update(block)
        left -= len(block)
    return total.hexdigest()


def publish(settings: Settings, request: Mapping[str, Any]) -> tuple[Version, bool, str | None]:
    """Give the bytes a name on the controller and write it into the catalog, under one lock.

    Returns the version, whether anything changed, and the digest that the name meant before. Raises CheckFailed when
    the file is no sound SIF, BytesMissing when there is none.
    """
    name = image_name(request["name"], settings.registry.path, settings.registry.directories)
    digest, size = request["digest"], int(request["size"])
    signature = signature_of(request)
    images: list[dict[str, Any]] = [{"name": name, "digest": digest, "size": size, **signature}]
    with refusals(), no_debris(settings.registry.path, digest):
        refuse_unsigned(settings, images)
        text = read_catalog_text(settings.registry.path)
        catalog = catalog_of(text, settings.registry.path)  # where that cannot be, no object is made for nothing
        found = check_structure(settings.registry.path, digest)
        looked_at = None
        if image_signatures.are_required(settings) and not image_signatures.is_named(settings, name, digest):
            looked_at = image_signatures.refuse(settings, found)
        agent.prove(settings.registry.path, {"images": images, "mode": mode_of(settings)})
        if looked_at:
            image_signatures.refuse_other(settings, digest, looked_at)
    with refusals(), agent.locked(settings.registry.path) as root:
        now = read_catalog_text(settings.registry.path)
        catalog = catalog if now == text else catalog_of(now, settings.registry.path)
        labels, left_out = fit_labels(request["labels"])
        version = Version(
            digest=digest,
            size=size,
            published=time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
            by=request["by"],
            architecture=request["architecture"],
            source=request["source"],
            labels=labels,
            left_out=left_out or tuple(request.get("left_out", ())),
            **signature,
        )
        before = catalog.images.get(name)
        known = before if before and before.digest == digest else None
        if known and signature:  # the same bytes, signed again
            version, known = replace(plain(known), **signature), None
        after = None if known else catalog.with_version(name, version, settings.registry.keep)
        changed = change(root, settings, images[0], after)
    return known or version, changed or not known, before.digest if before else None


def change(root: int, settings: Settings, image: Mapping[str, Any], after: Catalog | None) -> bool:
    """Let the catalog be *after*, if it is to change, and then *image*'s name mean its digest: both, or none of them.
    For a caller who holds the lock. Returns whether the name meant another file.

    Who is killed in between leaves a catalog that the name does not follow, which `follow_catalog` mends.
    """

    def is_done() -> bool:
        return is_named(root, dict(image))

    text = None if after is None else text_of(after, settings.registry.path)
    try:
        with nullcontext() if text is None else replaced(root, text, is_done):
            return bool(agent.apply(root, {"images": [image], "mode": mode_of(settings)})["changed"])
    except OSError as error:
        if is_done():
            raise
        why = f"{error.strerror or error}: {image['name']} means what it meant before, there and in the catalog"
        raise HpcRegistryError(why, where=CONTROLLER) from error


def image_of(name: str, version: Version) -> dict[str, Any]:
    """What a publish asks for."""
    image = {"name": name, "digest": version.digest, "size": version.size}
    return {**image, "signed": version.signed, "signature": version.signature}


def mode_of(settings: Settings) -> str:
    return write_mode(settings.registry.file_mode)


def refuse_unsigned(settings: Settings, images: list[dict[str, Any]]) -> None:
    """Look at signatures before anything is kept; what counts is the second look, under the lock."""
    with agent.opened_registry(settings.registry.path) as root:
        agent.accept(root, images)


def signature_of(request: Mapping[str, Any]) -> dict[str, Any]:
    """`signed` and `signature`, where the workstation has signed. Raises UsageError for a time that is to come."""
    if not request.get("signature"):
        return {}
    if request["signed"] > time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(time.time() + CLOCKS_MAY_DIFFER)):
        # Whatever is signed later would be older than that, and be refused.
        raise UsageError(
            f"signed at {request['signed']}, which is to come", hint="is the clock of the workstation right?"
        )
    return {"signed": request["signed"], "signature": request["signature"]}


def rollback(
    settings: Settings, name: str, wanted: str | None, signature: Mapping[str, Any] | None = None
) -> tuple[Version, Version]:
    """Let *name* mean an older version again, under one lock: *wanted* is the beginning of its digest, None the one
    before. *signature* is one for that. Returns what it meant until now and what it means now.

    Raises UsageError when there is no such version, CheckFailed when its bytes are gone or damaged.
    """
    with refusals(), agent.locked(settings.registry.path) as root:
        before, chosen, after = plan_rollback(settings, name, wanted, signature)
        other = chosen.digest != before.digest
        if image_signatures.are_required(settings) and other:
            image_signatures.refuse(settings, Path(object_path(settings.registry.path, chosen.digest)))
        change(root, settings, image_of(name, chosen), after if other else None)
    return before, chosen


def plan_rollback(
    settings: Settings, name: str, wanted: str | None, signature: Mapping[str, Any] | None = None
) -> tuple[Version, Version, Catalog]:
    """What *name* means, what it would mean, and the catalog after that. Raises as rollback."""
    catalog = read_catalog(settings.registry.path)
    if name not in catalog.images:
        raise unknown_image(name, catalog.images)
    before = catalog.images[name]
    try:
        chosen = replace(before.find(wanted), **signature_of(signature or {}))
    except UsageError as error:
        raise UsageError(error, where=name, hint=error.hint) from None
    if not has_object(settings.registry.path, chosen.digest, chosen.size):
        raise CheckFailed(
            f"the bytes of {name}, version {chosen.digest[:12]}, are gone or damaged",
            where="controller",
            hint="deploy that image again",
        )
    # None is dropped, whatever `keep` is: the way back must stay open.
    return before, chosen, catalog.with_version(name, chosen, len(before.versions))


@contextmanager
def refusals() -> Iterator[None]:
    """What the agent's code refuses here is a failed check of the controller."""
    try:
        yield
    except agent.NotThere:  # a garbage collection has taken them since they arrived
        raise bytes_missing() from None
    except agent.Refused as refusal:
        raise CheckFailed(refusal, where="controller") from None


@contextmanager
def no_debris(registry: str, digest: str) -> Iterator[None]:
    """Bytes that were not published (refused, or sent twice at the same time) are not kept in staging/."""
    try:
        yield
    finally:
        Path(registry, agent.STAGING, digest).unlink(missing_ok=True)


def check_structure(registry: str, digest: str) -> Path:
    """The SIF check again on this machine, on the bytes that are about to get a name; returns where they are."""
    places = (Path(registry, agent.STAGING, digest), Path(object_path(registry, digest)))
    found = [path for path in places if path.exists()]
    if not found:
        raise bytes_missing()
    try:
        sif.check(found[0])
    except UsageError as error:
        if not found[0].exists():
            raise bytes_missing() from None
        raise CheckFailed(error, where="controller") from None
    return found[0]


def bytes_missing() -> BytesMissing:
    return BytesMissing("the bytes that shall be published are not here any more", where="controller")
