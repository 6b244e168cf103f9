"""Names of images and nodes for a shell's completion, as the last command that saw them left them.

Reading asks no machine, and believes the file nothing: names of another form, and files of another, are as none.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

from ..core.cache import cache_directory
from ..core.model import Registry
from ..core.names import DIRECTORY_NAME, FILE_NAME, NODE_NAME

LARGEST = 4 << 20
"""Bytes of a file: 10,000 nodes and as many images fit in."""
MOST = 10_000


@dataclass(frozen=True)
class Names:
    """`short` is the directory of the registry that need not be named."""

    nodes: tuple[str, ...] = ()
    images: tuple[str, ...] = ()
    short: str = ""


def place(cluster: Path | str | None, controller: str | None, environ: Mapping[str, str] = os.environ) -> Path:
    """The file for the cluster that these options mean, or the environment."""
    file = cluster or environ.get("HPC_CLUSTER") or ""
    host = controller or environ.get("TEST_CONTROLLER") or ""
    which = f"{Path(file).expanduser().absolute() if file else ''}\n{host}"
    return cache_directory() / "names" / f"{hashlib.sha256(os.fsencode(which)).hexdigest()[:24]}.json"


def place_of(context: click.Context) -> Path:
    """The file for the cluster that a command is about."""
    return place(context.params.get("cluster"), context.params.get("controller"))


def remember(registry: Registry, images: Iterable[str], nodes: Iterable[str] | None = None) -> None:
    """Keep the names of this command's cluster; without *nodes*, those that are kept."""
    path = place_of(click.get_current_context())
    write(path, read(path).nodes if nodes is None else nodes, images, registry.directories[0])


def complete_images(context: click.Context, option: click.Parameter, begun: str) -> list[str]:
    """Images as they may be typed: without their directory where that is short for them."""
    names = read(place_of(context))
    short = [name.partition("/")[2] for name in names.images if name.startswith(f"{names.short}/")]
    full = names.images if "/" in begun else [one for one in names.images if not one.startswith(f"{names.short}/")]
    matching = [name for name in [*short, *full] if name.startswith(begun)]
    return matching or [name for name in names.images if name.startswith(begun)]


def complete_nodes(context: click.Context, option: click.Parameter, begun: str) -> list[str]:
    """The last node of a list."""
    before, comma, last = begun.rpartition(",")
    return [before + comma + node for node in read(place_of(context)).nodes if node.startswith(last)]


def write(path: Path, nodes: Iterable[str], images: Iterable[str], short: str) -> None:
    """Keep these names. Where that is not possible, nothing is completed, and nobody minds."""
    data = {"nodes": sorted(nodes)[:MOST], "images": sorted(images)[:MOST], "short": short}
    part = path.with_name(f"{path.name}.{os.getpid()}")
    with suppress(OSError):
        path.parent.mkdir(parents=True, exist_ok=True)
        part.write_text(json.dumps(data), encoding="utf-8")
        part.replace(path)


def read(path: Path) -> Names:
    """What is kept there; nothing where that is nothing, or not ours."""
    try:
        with path.open("rb") as stream:
            data = json.loads(stream.read(LARGEST))
    except (OSError, ValueError, RecursionError):
        return Names()
    if not isinstance(data, dict):
        return Names()
    nodes = tuple(name for name in texts(data.get("nodes")) if NODE_NAME.match(name))
    short = next((name for name in texts([data.get("short")]) if DIRECTORY_NAME.match(name)), "")
    return Names(nodes, tuple(filter(is_image, texts(data.get("images")))), short)


def texts(found: Any) -> list[str]:
    return [one for one in found[:MOST] if isinstance(one, str)] if isinstance(found, list) else []


def is_image(name: str) -> bool:
    directory, _, file = name.partition("/")
    return bool(DIRECTORY_NAME.match(directory) and FILE_NAME.match(file))
