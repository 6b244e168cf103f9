"""An image's definition: a directory with a Dockerfile, and image.yaml, which says how the image is called and made."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ...core import documents
from ...core.errors import ConfigError, UsageError
from ...core.fields import find_repeated, suggest
from ...core.names import visible
from .checks import Check, WrongChecks, read_checks
from .fields import excerpt_of, one_text, several

FILE = "image.yaml"
DOCKERFILE = "Dockerfile"
REFERENCE = re.compile(r"[a-z0-9][A-Za-z0-9._/:@-]{0,254}\Z")
NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,122}\Z")
"""What makes a file's name and an image's: Docker takes small letters only."""
TAG = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,127}\Z")
REQUIREMENT = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*(\[[A-Za-z0-9,._-]+\])?([=<>!~]=?[A-Za-z0-9.*+!]+)?\Z")
LABEL = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,254}\Z")
OURS = "io.hpcregistry."
REVISION = f"{OURS}definition"
"""The label with the revision of the definition that an image was built of; its SIF has it too."""
SOURCE = f"{OURS}source"
"""The label of a SIF with the digest of the image that it was converted from, `sha256:…`."""
HINT = "nothing was built; correct this and try again"


@dataclass(frozen=True)
class Definition:
    """One image.yaml, and where it lies.

    `base` is what `ARG BASE` of the Dockerfile stands for. `root` is a command that writes a root directory as a tar
    file, whose name it gets as its last word: the base where there is no other, or no registry can be reached. `wheels`
    are what pip downloads into `wheels/` beside the Dockerfile, for `python`. `checks` are what the image is tested by.
    """

    directory: Path
    name: str
    tag: str = "latest"
    base: str = ""
    root: tuple[str, ...] = ()
    python: str = ""
    wheels: tuple[str, ...] = ()
    labels: Mapping[str, str] = field(default_factory=dict)
    checks: tuple[Check, ...] = ()

    @property
    def image(self) -> str:
        """`NAME:TAG`, as Podman and Docker call it."""
        return f"{self.name}:{self.tag}"

    def root_command(self) -> list[str]:
        """`root`, its program found from the definition's directory."""
        program, *words = self.root
        return [str((self.directory / program).resolve()) if "/" in program else program, *words]

    def root_revision(self) -> str:
        """SHA-256 in hex over that command and, where it is a script, over its text; without a `root` of nothing."""
        if not self.root:
            return ""
        program = Path(self.root_command()[0])
        script = program.read_bytes() if program.is_file() else b""
        return hashlib.sha256("\0".join(self.root).encode() + b"\0" + script).hexdigest()

    def revision(self) -> str:
        """SHA-256 in hex over all that lies here, with its name and whether it can be executed, and over `root`."""
        total = hashlib.sha256(self.root_revision().encode())
        for path in sorted(self.directory.rglob("*")):
            if path.is_symlink() and not path.resolve().is_relative_to(self.directory.resolve()):
                raise UsageError(f"{visible(path)} leads out of the definition's directory, where no build sees it")
            kind, data = describe(path)
            total.update(f"{path.relative_to(self.directory)}\0{kind}\0{len(data)}\0".encode(errors="surrogateescape"))
            total.update(data)
        return total.hexdigest()


def describe(path: Path) -> tuple[str, bytes]:
    """What a build sees of a file: its kind, and its bytes or where it leads. Raises UsageError for a pipe."""
    if path.is_symlink():
        return "link", os.fsencode(path.readlink())
    if path.is_dir():
        return "directory", b""
    if not path.is_file():
        raise UsageError(f"{visible(path)}: neither a file nor a directory, so it cannot be built into an image")
    return ("program" if os.access(path, os.X_OK) else "file"), path.read_bytes()


def find_definitions(directory: Path, name: str) -> list[Definition]:
    """The definition *name* in *directory*, or each for `all`, in the order of their names.

    Raises UsageError when there is none, ConfigError with every mistake of one.
    """
    known = {path.parent.name: path.parent for path in sorted(directory.glob(f"*/{FILE}"))}
    if not known:
        hint = f"each image has a directory there with {DOCKERFILE} and {FILE}; or give --definitions DIR"
        raise UsageError(f"{visible(directory)}: no definition of an image", hint=hint)
    if name != "all" and name not in known:
        raise UsageError(f"{visible(directory)}: no image {visible(name)}.{suggest(name, known)}")
    found = [read(known[one]) for one in known if name in ("all", one)]
    for image in find_repeated([one.image for one in found]):
        places = ", ".join(visible(one.directory) for one in found if one.image == image)
        raise UsageError(f"{places}: all are called {image}", hint="give each a name, or a tag, of its own")
    return found


def read(directory: Path) -> Definition:
    """The definition in *directory*. Raises ConfigError with every mistake, UsageError for a file that is not there."""
    if not (directory / DOCKERFILE).is_file():
        raise UsageError(f"{visible(directory)}: no {DOCKERFILE} beside its {FILE}")
    document = documents.read(directory / FILE)
    data = document.data if isinstance(document.data, dict) else {}
    mistakes = [] if isinstance(document.data, dict) else [f"{document.place(())}: must be a mapping"]
    values: dict[str, Any] = {}
    for key, raw in data.items():
        if key not in READERS:
            mistakes.append(f"{document.place((key,))}: {key}: unknown key.{suggest(key, READERS)}")
            continue
        try:
            values[key] = READERS[key](raw)
        except WrongChecks as wrong:
            mistakes += [f"{document.place((key, *path))}: {what}" for path, what in wrong.mistakes]
        except ValueError as error:
            mistakes.append(f"{document.place((key,))}: {key}: {error}")
    if "name" not in data:
        mistakes.append(f"{document.place(())}: name is missing: what the image, and its SIF, is called")
    if values.get("wheels") and not values.get("python"):
        mistakes.append(f'{document.place(("wheels",))}: wheels: for which python? Such as python: "3.11"')
    if mistakes:
        raise ConfigError(document.source, mistakes, hint=HINT)
    return Definition(directory, **values)


def read_labels(raw: Any) -> dict[str, str]:
    if not isinstance(raw, dict) or not all(isinstance(value, str) for value in raw.values()):
        raise ValueError("must be a mapping from names to texts")
    wrong = [name for name, value in raw.items() if not LABEL.match(name) or not value.isprintable()]
    if wrong:
        raise ValueError(f"{excerpt_of(wrong[0])}: a name of letters, digits and . _ -, and text of one line")
    if taken := [name for name in raw if name.startswith(OURS)]:
        raise ValueError(f"{excerpt_of(taken[0])}: labels that begin with {OURS} are this program's own")
    return raw


READERS: Mapping[str, Callable[[Any], Any]] = {
    "name": one_text(NAME, "a name of small letters, digits and . _ -"),
    "tag": one_text(TAG, "a tag"),
    "base": one_text(REFERENCE, "the name of an image, such as docker.io/library/debian:trixie"),
    "root": several(re.compile(r"[^\0\n]{1,1000}\Z"), "a word of a command"),
    "python": one_text(re.compile(r"3\.[0-9]{1,2}\Z"), 'a version of Python, such as "3.11"'),
    "wheels": several(REQUIREMENT, "a requirement, such as numpy==2.1.0"),
    "labels": read_labels,
    "checks": read_checks,
}
