"""A job script out of a template, whose values become shell text and so are checked. The one home of jinja2."""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping
from pathlib import Path

from jinja2 import StrictUndefined, TemplateSyntaxError, UndefinedError, meta
from jinja2.sandbox import ImmutableSandboxedEnvironment

from ..core.errors import UsageError
from ..core.names import excerpt, visible

NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,63}\Z")
LONGEST = 1 << 20
"""Bytes of a template."""
DELIMITERS = "jinja2 reads {{ }}, {% %} and {# #}: a shell's own, as ${#name}, go between {% raw %} and {% endraw %}"


def render(template: Path, values: Mapping[str, str]) -> str:
    """The script that *template* gives with these *values*; its filter `quote` makes one word of the shell of a value.

    Raises UsageError for a template that cannot be read or filled in, for a variable without a value or a value without
    a variable, for control characters and line breaks in a value, and for a result that sbatch would not take.
    """
    where = visible(template)
    check_values(values)
    text = read(template)
    # A template may come from anybody: in the sandbox it can compute, and reach nothing of this program.
    environment = ImmutableSandboxedEnvironment(
        undefined=StrictUndefined, keep_trailing_newline=True, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters["quote"] = lambda value: shlex.quote(str(value))
    try:
        known = meta.find_undeclared_variables(environment.parse(text)) - set(environment.globals)
        unknown = sorted(set(values) - known)
        if unknown:
            hint = f"it has {', '.join(sorted(known)) or 'none'}"
            raise UsageError(f"has no variable {', '.join(unknown)}", where=where, hint=hint)
        script = environment.from_string(text).render(values)
    except TemplateSyntaxError as error:
        raise UsageError(excerpt(str(error.message)), where=f"{where}, line {error.lineno}", hint=DELIMITERS) from error
    except UndefinedError as error:
        hint = f"--set NAME=VALUE; without a value: {', '.join(sorted(known - set(values)))}"
        raise UsageError(excerpt(str(error.message)), where=where, hint=hint) from error
    except UsageError:
        raise
    except Exception as error:  # a template is a program: what goes wrong in it may be anything
        raise UsageError(f"cannot be filled in: {type(error).__name__}: {excerpt(str(error))}", where=where) from error
    check_script(script, where)
    return script


def check_values(values: Mapping[str, str]) -> None:
    for name, value in values.items():
        if not NAME.match(name):
            hint = "letters, digits and _ only, the first no digit, at most 64"
            raise UsageError(f"{excerpt(name)!r} can't name a variable", hint=hint)
        if not value:
            raise UsageError(f"{name} has an empty value", hint="leave it out where the template has a default")
        if not value.isprintable():
            raise UsageError(f"{name} has a control character or a line break in its value: {excerpt(value)}")


def read(template: Path) -> str:
    try:
        if template.exists() and not template.is_file():
            raise UsageError("is no regular file", where=visible(template))
        with template.open("rb") as file:
            data = file.read(LONGEST + 1)
        if len(data) <= LONGEST:
            return data.decode()
        problem = f"is larger than {LONGEST >> 20} MiB"
    except OSError as error:
        problem = f"cannot be read: {error.strerror}"
    except UnicodeDecodeError:
        problem = "is no text in UTF-8"
    raise UsageError(problem, where=visible(template))


def check_script(script: str, where: str) -> None:
    """Raise UsageError unless sbatch takes *script*, and people see all that is in it."""
    if not script.startswith("#!"):
        raise UsageError("the script does not begin with #!, and sbatch takes no other", where=where)
    for number, line in enumerate(script.split("\n"), start=1):
        if not line.replace("\t", "").isprintable():
            raise UsageError(f"a control character: {excerpt(line)}", where=f"{where}, line {number} of the script")
