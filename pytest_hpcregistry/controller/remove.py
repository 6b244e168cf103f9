"""Remove images and restore them: the catalog first, then the name on the controller; a sync brings it to the nodes.

Who is killed in between leaves a name that the catalog does not mean any more, or one that it means and that is not
there: `follow_catalog` mends both when the next sync begins. Bytes stay until gc frees them.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from .. import agent
from ..core.catalog import SEE_CATALOG, Catalog, Removed, Version, unknown_image
from ..core.errors import CommandFailed, HpcRegistryError, UsageError
from ..core.events import ImagesRemoved, Listener, Noticed
from ..core.history import now
from ..core.layout import object_path
from ..core.names import CONTROLLER
from ..core.settings import Settings
from . import image_signatures
from .catalog import read_catalog, text_of
from .publish import change, has_object, image_of, refusals, signature_of
from .removed import LEFT, remove_here, report_users, users_here


def remove(settings: Settings, names: Sequence[str], *, after: int, by: str, listener: Listener) -> None:
    """Take *names* out of the catalog, and away from the controller; their bytes are kept for *after* seconds or more.

    Raises UsageError when the catalog has no such image: then nothing has been done.
    """
    registry = settings.registry.path
    with refusals(), agent.locked(registry) as root:
        catalog = without(read_catalog(registry), names, after=after, by=by)
        agent.publish_catalog(root, text_of(catalog, registry), [])
        try:
            remove_here(root, registry, catalog)
        except (OSError, agent.Refused) as error:
            raise HpcRegistryError(
                f"{', '.join(names)}: out of the catalog, but a name could not be removed: {error}",
                where=CONTROLLER,
                hint="repair that, then: hpc-container-manager sync",
            ) from None
    gone = {name: catalog.removed[name] for name in names}
    report_users({CONTROLLER: users_here(registry, gone)}, listener)
    for name in names:
        if os.path.lexists(Path(registry, name)):
            listener(Noticed(f"{name} on {CONTROLLER} {LEFT}"))
    listener(report(gone))


def report(gone: dict[str, Removed]) -> ImagesRemoved:
    first = next(iter(gone.values()))
    return ImagesRemoved({name: one.entry.digest for name, one in gone.items()}, first.until, first.by)


def without(catalog: Catalog, names: Sequence[str], *, after: int, by: str) -> Catalog:
    """The *catalog* after *names* are removed. Raises UsageError when one is not in it."""
    for name in names:
        gone = catalog.removed.get(name)
        if gone:
            raise UsageError(f"{name} was removed already, at {gone.removed} by {gone.by}", hint=SEE_CATALOG)
        if name not in catalog.images:
            raise unknown_image(name, catalog.images)
    return catalog.with_removed(names, now=now(), by=by, until=now(after))


def restore(settings: Settings, name: str, wanted: str | None, signature: dict[str, str] | None = None) -> Version:
    """Bring a removed image back, as it was or as its version *wanted*, under one lock; *signature* is one for that.

    Raises UsageError when there is none to restore, CommandFailed when its bytes are gone or damaged, CheckFailed when
    it is not signed as it must be.
    """
    registry = settings.registry.path
    with refusals(), agent.locked(registry) as root:
        catalog = read_catalog(registry)
        chosen = replace(choose(catalog, name, wanted), **signature_of(signature or {}))
        if not has_object(registry, chosen.digest, chosen.size):
            raise CommandFailed(
                f"the bytes of {name}, version {chosen.digest[:12]}, are gone or damaged here",
                where=CONTROLLER,
                hint="deploy the image again",
            )
        if image_signatures.are_required(settings):
            image_signatures.refuse(settings, Path(object_path(registry, chosen.digest)))
        change(root, settings, image_of(name, chosen), restored(catalog, name, chosen))
    return chosen


def choose(catalog: Catalog, name: str, wanted: str | None) -> Version:
    """The version of a removed image to restore. Raises UsageError when there is none."""
    gone = catalog.removed.get(name)
    if gone is None:
        what = "is in the catalog: it was not removed" if name in catalog.images else "is not in the catalog"
        raise UsageError(what, where=name, hint=SEE_CATALOG)
    if gone.freed:
        raise UsageError(
            f"its bytes are gone: removed at {gone.removed} by {gone.by}, freed by the gc of {gone.freed}",
            where=name,
            hint="deploy the image again",
        )
    try:
        return gone.entry.find(wanted) if wanted else gone.entry
    except UsageError as error:
        raise UsageError(error, where=name, hint=error.hint) from None


def restored(catalog: Catalog, name: str, chosen: Version) -> Catalog:
    """None of its versions is dropped, whatever `keep` is, as in a rollback."""
    return catalog.with_version(name, chosen, len(catalog.removed[name].entry.versions))
