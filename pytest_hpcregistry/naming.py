"""The allow-list for names: the same on the workstation and the controller; agent/facts.py has a copy for the nodes."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import PurePosixPath

from .errors import UsageError

FILE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]{0,127}\.sif\Z")
DIRECTORY_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}\Z")
DIGEST = re.compile(r"[0-9a-f]{64}\Z")


def check_file_name(name: str) -> str:
    """Return *name* if it may name an image file; raise UsageError if not."""
    if not FILE_NAME.match(name):
        raise UsageError(
            f"{name!r} is not a name for an image",
            hint="letters, digits and . _ + - only, the first a letter or digit, at most 128 characters before .sif",
        )
    return name


def image_name(target: str, registry: str, directories: Sequence[str]) -> str:
    """Turn *target* (`ml-frameworks/x.sif`, or its path under *registry*) into the catalog's `DIRECTORY/FILE`.

    Raises UsageError for anything outside the registry's known directories.
    """
    root = registry.rstrip("/") + "/"
    relative = target[len(root) :] if target.startswith(root) else target
    directory, slash, file_name = relative.partition("/")
    if not slash or directory not in directories:
        raise UsageError(
            f"{target!r} does not lie in a directory of the registry {registry}",
            hint="use one of " + ", ".join(f"{root}{name}/NAME.sif" for name in directories),
        )
    return f"{directory}/{check_file_name(file_name)}"


def check_directory(name: str, directories: Sequence[str]) -> str:
    """Return *name* if it is one of the registry's *directories*; raise UsageError if not."""
    if name not in directories:
        raise UsageError(f"{name!r} is not a directory of the registry", hint="use one of " + ", ".join(directories))
    return name


def object_path(registry: str, digest: str) -> str:
    """Where the bytes with this SHA-256 *digest* (64 hex digits) lie below *registry*."""
    if not DIGEST.match(digest):
        raise UsageError(f"{digest!r} is not a SHA-256 digest")
    return str(PurePosixPath(registry, ".registry", "objects", "sha256", digest))


def visible(text: str) -> str:
    """*text* with control characters and undecodable bytes spelled out: names on the machines come from anywhere."""
    return "".join(char if char.isprintable() else repr(char)[1:-1] for char in text)
