"""What is kept beside an object in the controller's registry: taken in with a publish, and told of before the next."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .. import agent
from ..core.attachments import NOUNS, PLACES, Unfit, check, unpack
from ..core.errors import CheckFailed
from ..core.layout import attachment_path
from ..core.names import excerpt
from .publish import refusals


def digests(registry: str, digest: str) -> dict[str, str]:
    """The SHA-256 of what is kept beside the object *digest*, by its kind."""
    found = {kind: agent.hash_file(attachment_path(registry, place, digest)) for kind, place in PLACES.items()}
    return {kind: one for kind, one in found.items() if one}


def attach(registry: str, request: Mapping[str, Any]) -> tuple[list[str], list[str]]:
    """Keep what has come with the publish of *request*, which is done and stays done.

    Returns the kinds that are kept now, and a sentence for each that could not be.
    """
    given = request.get("attachments") or {}
    kept, lost = [], []
    for kind in given if isinstance(given, dict) else ():
        if kind not in PLACES:
            continue  # what a workstation of a later version sends
        try:
            attach_one(registry, kind, request, unpack(given[kind]))
            kept.append(kind)
        except (Unfit, CheckFailed, OSError) as error:
            why = error.strerror if isinstance(error, OSError) else error
            lost.append(f"{request['name']}: its {NOUNS[kind]} is not kept in the registry: {excerpt(str(why))}")
    return kept, lost


def attach_one(registry: str, kind: str, request: Mapping[str, Any], data: bytes) -> None:
    check(kind, data, request["digest"])
    image = {"digest": request["digest"], "size": int(request["size"])}
    with refusals(), agent.locked(registry) as root:
        if not agent.attach(root, PLACES[kind], image, data):
            raise Unfit("the image was removed meanwhile")
