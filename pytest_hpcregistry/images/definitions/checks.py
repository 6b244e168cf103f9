"""The checks of an image: what `checks:` of image.yaml may say, and the label by which they travel with the image.

A label may come from a stranger: it has the same form as the file, and passes the same readers.
"""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from ...core import documents
from ...core.catalog import Version
from ...core.errors import ConfigError
from ...core.fields import find_repeated, read_number, read_switch, suggest
from ...core.labels import MOST_LABELS
from ...core.names import excerpt
from ...core.reader import NOTHING
from .fields import converted, excerpt_of, one_text, several

LABEL = "io.hpcregistry.checks"
LONGEST_LABEL = 65536
"""Characters. A hundred checks fit in."""
TIMEOUT = 120
LONGEST_TIMEOUT = 86400
"""Seconds for one check: by default, and at most."""
KINDS = ("run", "imports", "file")
# Without the directory that it runs in and the user's own modules, which on a node may have what the image lacks.
IMPORT = (
    "import importlib, sys; sys.path = [one for one in sys.path if one]; "
    "[importlib.import_module(one) for one in sys.argv[1:]]; print('imported', *sys.argv[1:])"
)


@dataclass(frozen=True)
class Check:
    """One check: a command to `run`, which ends with `exit` and prints a text that holds `output`; modules that
    `python3` of the image `imports`; or a `file` that is there.

    With `gpu` it is done only where there is a GPU. With `mpi` it is two tasks of one step, started by `srun --mpi`
    with that word, and is done only by Slurm. `timeout` in seconds.
    """

    run: tuple[str, ...] = ()
    output: str = ""
    exit: int = 0
    imports: tuple[str, ...] = ()
    file: str = ""
    name: str = ""
    gpu: bool = False
    mpi: str = ""
    timeout: int = TIMEOUT

    @property
    def argv(self) -> tuple[str, ...]:
        """The command that is run in the image."""
        if self.imports:
            return ("python3", "-s", "-c", IMPORT, *self.imports)
        return ("test", "-e", self.file) if self.file else self.run

    @property
    def expected(self) -> str:
        """What its standard output holds."""
        return " ".join(["imported", *self.imports]) if self.imports else self.output

    @property
    def title(self) -> str:
        """Its name, or else what it does."""
        if self.imports:
            what = f"import {', '.join(self.imports)}"
        else:
            what = f"file {self.file}" if self.file else shlex.join(self.run)
        return self.name or excerpt(what, 100)


class WrongChecks(ValueError):
    """`checks` has mistakes: for each the path of keys to it, and what is wrong."""

    def __init__(self, mistakes: Sequence[tuple[documents.KeyPath, str]]) -> None:
        super().__init__("; ".join(what for _, what in mistakes))
        self.mistakes = mistakes


def read_checks(raw: Any) -> tuple[Check, ...]:
    """The checks of a list as it stands in a file or a label. Raises WrongChecks with every mistake."""
    if not isinstance(raw, list) or not raw:
        raise WrongChecks([((), "checks: must be a list, of one at least")])
    mistakes: list[tuple[documents.KeyPath, str]] = []
    checks = [read_check(number, one, mistakes) for number, one in enumerate(raw)]
    if not mistakes:
        for title in find_repeated([one.title for one in checks]):
            number = max(number for number, one in enumerate(checks) if one.title == title)
            mistakes.append(((number,), f"checks: two are called {title!r}: give one another name"))
    if not mistakes and len(to_label(checks)) > LONGEST_LABEL:
        mistakes.append(((), f"checks: more than {LONGEST_LABEL} characters as a label: put long ones into a script"))
    if mistakes:
        raise WrongChecks(mistakes)
    return tuple(checks)


def read_check(number: int, raw: Any, mistakes: list[tuple[documents.KeyPath, str]]) -> Check:
    """The check that is the list's *number*; what is wrong with it is added to *mistakes*."""

    def wrong(what: str, *path: str) -> None:
        mistakes.append(((number, *path), f"checks: check {number + 1}: {what}"))

    values: dict[str, Any] = {}
    if not isinstance(raw, dict):
        wrong("must be a mapping")
        return Check()
    for key, value in raw.items():
        if key not in READERS:
            wrong(f"{excerpt(key)}: unknown key.{suggest(key, READERS)}", key)
            continue
        try:
            values[key] = READERS[key](value)
        except ValueError as error:
            wrong(f"{key}: {error}", key)
    if len([key for key in KINDS if key in raw]) != 1:
        wrong(f"must have one of {', '.join(KINDS)}, and only one")
    for key in ("output", "exit", "mpi"):
        if key in raw and "run" not in raw:
            wrong(f"{key}: is for run", key)
    return Check(**values)


def read_words(raw: Any) -> tuple[str, ...]:
    words = several(re.compile(r"[^\0]{0,10000}\Z"), "a word of a command")(raw)
    if words[0] in NOTHING or words[0].startswith("-"):
        raise ValueError(f"{excerpt_of(words[0])} is not a program")
    return words


def read_exit(text: str) -> int:
    if not re.fullmatch(r"[0-9]{1,3}", text) or int(text) > 255:
        raise ValueError(f"{text!r} is not an exit code, 0 to 255")
    return int(text)


def read_timeout(text: str) -> int:
    seconds = read_number(text)
    if seconds > LONGEST_TIMEOUT:
        raise ValueError(f"{text!r} is more than {LONGEST_TIMEOUT} seconds")
    return seconds


def read_line(text: str) -> str:
    if not re.fullmatch(r".{1,100}", text) or not text.isprintable():
        raise ValueError(f"{excerpt_of(text)} is not a text of one line and at most 100 characters")
    return text


READERS: Mapping[str, Callable[[Any], Any]] = {
    "run": read_words,
    "output": one_text(re.compile(r"[^\0]{1,10000}\Z"), "a text"),
    "exit": converted(read_exit),
    "imports": several(re.compile(r"[^\W\d]\w*(\.[^\W\d]\w*)*\Z", re.ASCII), "the name of a module of Python"),
    "file": one_text(re.compile(r"/[^\0\n]{0,1000}\Z"), "the absolute path of a file"),
    "name": converted(read_line),
    "gpu": converted(read_switch),
    "mpi": one_text(re.compile(r"[a-z][a-z0-9_]{0,31}\Z"), "a word of srun --mpi, such as pmix or pmi2"),
    "timeout": converted(read_timeout),
}


def to_label(checks: Sequence[Check]) -> str:
    """The text of the label: what differs from the defaults, every value as text, as in the file."""
    data = [{key: as_text(value) for key, value in asdict(one).items() if value != DEFAULTS[key]} for one in checks]
    # Newer versions of Podman put the label into the Dockerfile, where $ would begin a variable.
    return json.dumps(data).replace("$", "\\u0024")


def as_text(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else str(value).lower() if isinstance(value, bool) else str(value)


DEFAULTS = {one.name: one.default for one in fields(Check)}


def from_version(version: Version, image: str) -> tuple[Check, ...]:
    """The checks of an *image* of the catalog. Raises ConfigError as `from_labels`, and where the catalog took none."""
    if LABEL in version.left_out:
        mistake = f"too long for the catalog, which takes {MOST_LABELS} bytes of labels of an image"
        hint = "give --checks FILE, or test the SIF file; or build the image again, with long checks in a script"
        raise ConfigError(f"{image}: label {LABEL}", [mistake], hint=hint)
    return from_labels(version.labels, image)


def from_labels(labels: Mapping[str, str], image: str) -> tuple[Check, ...]:
    """The checks that the labels of *image* hold; none where there is no such label.

    Raises ConfigError with every mistake.
    """
    text = labels.get(LABEL)
    if text is None:
        return ()
    source = f"{image}: label {LABEL}"
    hint = "build the image again, or give --checks FILE"
    if len(text) > LONGEST_LABEL:
        raise ConfigError(source, [f"{len(text)} characters, more than {LONGEST_LABEL}"], hint=hint)
    try:
        data = json.loads(text)
        json.dumps(data, ensure_ascii=False).encode()  # JSON may hold half of a surrogate pair, which no command can
    except (ValueError, TypeError, RecursionError):  # a catalog may have anything in the label's place
        raise ConfigError(source, ["is not JSON"], hint=hint) from None
    try:
        return read_checks(data)
    except WrongChecks as wrong:
        raise ConfigError(source, [excerpt(what) for _, what in wrong.mistakes], hint=hint) from None


def from_file(path: Path) -> tuple[Check, ...]:
    """The `checks` of a YAML file, such as an image.yaml. Raises ConfigError with every mistake, UsageError."""
    document = documents.read(path)
    raw = document.data.get("checks") if isinstance(document.data, dict) else None
    try:
        return read_checks(raw)
    except WrongChecks as wrong:
        mistakes = [f"{document.place(('checks', *keys))}: {what}" for keys, what in wrong.mistakes]
        raise ConfigError(document.source, mistakes, hint="nothing was tested; correct this and try again") from None
