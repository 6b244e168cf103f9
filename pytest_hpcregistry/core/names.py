"""The allow-list for names: the same on the workstation and the controller; agent/facts.py has a copy for the nodes.

And how names and texts from elsewhere are shown, which may be anything: `excerpt` where a message takes one in,
`printable` where a message leaves for a terminal, a log or a report.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from .errors import UsageError

FILE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]{0,127}\.sif\Z")
NODE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,252}\Z")
DIRECTORY_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}\Z")
DIGEST = re.compile(r"[0-9a-f]{64}\Z")
CONTROLLER = "controller"
"""What facts, reports and messages call the controller, so no node may be called that."""
NO_NODE = f"{CONTROLLER} is what reports call the controller: a node needs another name that ssh knows it by"
LONGEST_EXCERPT = 300
LONGEST_REASON = 1000
"""Why a machine failed: rsync's words, an agent's, or a list of mistakes of the role are in it."""
LONGEST_MESSAGE = 200_000
"""Characters. A node set of 10,000 names and a line for each of 1,000 images fit in."""


def check_file_name(name: str) -> str:
    """Return *name* if it may name an image file; raise UsageError if not."""
    if not FILE_NAME.match(name):
        raise UsageError(
            f"{name!r} is not a name for an image",
            hint="it ends in .sif; before that at most 128 letters, digits and . _ + -, the first a letter or digit",
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


def full_name(name: str, registry: str, directories: Sequence[str]) -> str:
    """`x.sif` is short for the first directory's."""
    return image_name(name if "/" in name else f"{directories[0]}/{name}", registry, directories)


def check_directory(name: str, directories: Sequence[str]) -> str:
    """Return *name* if it is one of the registry's *directories*; raise UsageError if not."""
    if name not in directories:
        raise UsageError(f"{name!r} is not a directory of the registry", hint="use one of " + ", ".join(directories))
    return name


def visible(name: object) -> str:
    """A name or another text with control characters, line breaks, marks that turn the direction of writing, and
    undecodable bytes spelled out.
    """
    text = str(name)
    if text.isprintable():
        return text
    return "".join(char if char.isprintable() else repr(char)[1:-1] for char in text)


def excerpt(text: str, longest: int = LONGEST_EXCERPT) -> str:
    """What a machine, a file or a label says, for a place in a message: on one line, visible, and of bounded length."""
    shown = visible(text.strip()[: longest + 1])
    return shown if len(shown) <= longest else shown[: longest - 1] + "…"


def printable(message: str) -> str:
    """A message, of one line or of several lines of our own, for a terminal, a log or a report: bounded and visible."""
    if len(message) > LONGEST_MESSAGE:
        message = f"{message[:LONGEST_MESSAGE]}… ({len(message)} characters)"
    return "\n".join(visible(line.expandtabs(4)) for line in message.split("\n"))


def last_line(text: str, otherwise: str) -> str:
    """The last line of what a program said, as an excerpt; *otherwise* when it said nothing."""
    return excerpt((text.strip().splitlines() or [otherwise])[-1])
