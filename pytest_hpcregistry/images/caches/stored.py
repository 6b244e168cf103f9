"""The images of Podman and Docker that were made here, and can be made again. No other is touched.

Whoever builds on one of our images inherits its labels, so a label alone makes no image ours: its only name must be the
one that we gave it, or, when it has none any more, its last step must be ours.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import datetime
from functools import partial
from typing import Any

from ...core.cache import OWN_IMAGES
from ...core.errors import CommandFailed
from ...core.names import excerpt
from ...transports import Transport
from ..definitions.definition import OURS
from ..making.build import IMAGE
from .entry import LONG, Cache, Entry, measure

ROOTS = {"podman": "{{.Store.GraphRoot}}", "docker": "{{.DockerRootDir}}"}
"""How each tool is asked where its images lie."""
PREFIXES = ("localhost/", "docker.io/library/")
"""What Podman writes before a name that was given without a registry."""


def find_images(tool: str, here: Transport) -> Cache:
    """Our images that *tool* holds."""
    try:
        root = ask(here, tool, "info", "--format", ROOTS[tool]).strip()
        listed = [
            ask(here, tool, "image", "ls", "--quiet", "--no-trunc", "--filter", wanted)
            for wanted in (f"label={IMAGE}", f"reference={OWN_IMAGES}*")
        ]
        identities = sorted({word for text in listed for word in text.split()})
        known = json.loads(ask(here, tool, "image", "inspect", *identities)) if identities else []
        used = find_used(tool, here)
        entries = [entry_of(image, tool, here, used) for image in known if is_ours(image, tool, here)]
    except CommandFailed as error:
        return Cache(tool, missing=error.what)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise CommandFailed(f"{tool} describes an image in a form that is not known: {excerpt(repr(error))}") from error
    return Cache(tool, root, entries)


def ask(here: Transport, *argv: str) -> str:
    """What the tool answers. Raises CommandFailed with its last words."""
    answer = here.run(argv, timeout=LONG)
    if answer.exit_code != 0:
        raise CommandFailed(answer.last_words(f"exit code {answer.exit_code}"))
    return answer.stdout


def is_ours(image: Mapping[str, Any], tool: str, here: Transport) -> bool:
    """Whether it was made here, and nobody has given it another name."""
    names = image["RepoTags"] or []
    if names and all(name.startswith(OWN_IMAGES) for name in names):
        return True
    wanted = (image["Config"]["Labels"] or {}).get(IMAGE)
    if names:
        return wanted is not None and names in ([wanted], *([f"{prefix}{wanted}"] for prefix in PREFIXES))
    steps = ask(here, tool, "history", "--no-trunc", "--format", "{{.CreatedBy}}", image["Id"]).splitlines()
    return wanted is not None and bool(steps) and OURS in steps[0]


def find_used(tool: str, here: Transport) -> set[str]:
    """The images of all containers, also of those that do not run: they cannot be removed."""
    containers = ask(here, tool, "container", "ls", "--all", "--quiet", "--no-trunc").split()
    if not containers:
        return set()
    return set(ask(here, tool, "container", "inspect", "--format", "{{.Image}}", *containers).split())


def remove_image(identity: str, tool: str, here: Transport, days: int | None) -> None:
    """Without --force: one that a container uses stays, and so does one that has got more names meanwhile."""
    ask(here, tool, "image", "rm", identity)


def entry_of(image: Mapping[str, Any], tool: str, here: Transport, used: set[str]) -> Entry:
    """Its layers, each of which is a directory; what the tool says where these cannot be read."""
    data = image.get("GraphDriver", {}).get("Data") or {}
    layers = [path for key in ("UpperDir", "LowerDir") for path in (data.get(key) or "").split(":") if path]
    sizes = measure(layers, here)
    identity = str(image["Id"])
    name = f"{(image['RepoTags'] or ['no name'])[0]} ({identity.removeprefix('sha256:')[:12]})"
    made = datetime.fromisoformat(image["Created"]).timestamp()
    parts = sizes if layers and len(sizes) == len(layers) else {identity: int(image["Size"])}
    return Entry(name, made, parts, partial(remove_image, identity, tool, here), identity in used)
