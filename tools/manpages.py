"""A man page of each command, made of its help: `python -m tools.manpages DIRECTORY`, and whenever a wheel is built."""

from __future__ import annotations

import inspect
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
from hatchling.builders.hooks.plugin.interface import BuildHookInterface

PROGRAM = "hpc-container-manager"
TARGET = "share/man/man1"
EXIT_STATUS = {
    "0": "done and proven",
    "1": "a check failed or drift was found",
    "2": "wrong use or configuration; nothing was changed",
    "3": "could not be determined: machines that could not be asked, syncs that went on all the while, "
    "a scanner without a report",
    "4": "the work itself failed, or was ended by `cancel`",
    "130": "interrupted; 143 and 129: ended by SIGTERM and SIGHUP",
}
"""As README has it."""
ENVIRONMENT = {
    "HPC_CLUSTER": "The cluster file, where --cluster does not name one.",
    "TEST_CONTROLLER": "The controller, where --controller does not name one; it wins over the cluster file's.",
    "SSH_USER, SSH_KEY_PATH": "In place of controller.user and controller.key of the cluster file.",
    "REGISTRY_BASE_PATH, EXPECTED_OWNER, EXPECTED_GROUP, EXPECTED_MODE": "In place of registry.path, owner, group and "
    "directory_mode.",
    "TEST_IMAGE": "The image that the suites look at.",
    "SOURCE_DATE_EPOCH": "The time stamp in a SIF file that is converted, in seconds since 1970.",
    "NO_COLOR": "Not empty: no colours. TERM=dumb: no bars either.",
    "XDG_CACHE_HOME": "Where caches are, in place of ~/.cache.",
}
"""Variables that this program reads, for people."""


class ManPages(BuildHookInterface[Any]):
    """Puts the pages into a wheel, under share/man/man1; an editable installation has none."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """See BuildHookInterface."""
        if version != "standard":
            return
        sys.path.insert(0, self.root)
        self.pages = tempfile.TemporaryDirectory(prefix="hpcreg-")
        for path in write(Path(self.pages.name)):
            build_data["shared_data"][str(path)] = f"{TARGET}/{path.name}"


def write(directory: Path) -> Iterator[Path]:
    """Write all pages."""
    for name, text in pages().items():
        path = directory / f"{name}.1"
        path.write_text(text, encoding="utf-8")
        yield path


def pages() -> dict[str, str]:
    """The name of each page -> its text in man(7)'s language."""
    from pytest_hpcregistry import __version__
    from pytest_hpcregistry.cli import commands

    found = walk(click.Context(commands, info_name=PROGRAM, **commands.context_settings))
    return {name_of(context): page(context, __version__) for context in found}


def walk(context: click.Context) -> Iterator[click.Context]:
    yield context
    if isinstance(context.command, click.Group):
        for name in context.command.list_commands(context):
            command = context.command.get_command(context, name)
            assert command is not None
            yield from walk(click.Context(command, context, info_name=name))


def name_of(context: click.Context) -> str:
    return context.command_path.replace(" ", "-")


def page(context: click.Context, version: str) -> str:
    command, name = context.command, name_of(context)
    short, *paragraphs = inspect.cleandoc(command.help or "").split("\n\n")
    usage = " ".join(command.collect_usage_pieces(context))
    lines = [
        f'.TH "{escape(name.upper())}" "1" "" "{PROGRAM} {version}" ""',
        ".nh",  # names of pages and commands are whole, for whoever searches or copies them
        ".ad l",
        *(".SH NAME", f"{escape(name)} \\- {escape(' '.join(short.split()).rstrip('.'))}"),
        *(".SH SYNOPSIS", f"\\fB{escape(context.command_path)}\\fR {escape(usage)}"),
        ".SH DESCRIPTION",
        *(line for paragraph in paragraphs or [short] for line in describe(paragraph)),
    ]
    options = [record for one in command.get_params(context) if (record := one.get_help_record(context)) and record[1]]
    lines += [".SH OPTIONS", *(line for record in options for line in item(*record))]
    lines += [".SH EXIT STATUS", *(line for record in EXIT_STATUS.items() for line in item(*record))]
    lines += [".SH ENVIRONMENT", *(line for record in ENVIRONMENT.items() for line in item(*record))]
    related = [PROGRAM] if context.parent else []
    if isinstance(command, click.Group):
        related += [f"{name}-{one}" for one in command.list_commands(context)]
    lines += [".SH SEE ALSO", ", ".join(f"\\fB{escape(one)}\\fR(1)" for one in related)] if related else []
    return "\n".join(lines) + "\n"


def describe(paragraph: str) -> Iterator[str]:
    """A paragraph of a help; behind \\b its lines are as they are."""
    lines = paragraph.split("\n")
    if lines[0].strip() == "\b":
        yield from (".PP", ".nf", *(escape(line) for line in lines[1:]), ".fi")
    else:
        yield from (".PP", escape(" ".join(paragraph.split())))


def item(names: str, text: str) -> Iterator[str]:
    yield from (".TP", f"\\fB{escape(names)}\\fR", escape(" ".join(text.split())))


def escape(text: str) -> str:
    """Text that is nothing but text for roff; its hyphens can be copied to a command line."""
    text = text.replace("\\", "\\e").replace("-", "\\-")
    return f"\\&{text}" if text.startswith((".", "'")) else text


if __name__ == "__main__":
    print(*write(Path(sys.argv[1])), sep="\n")  # noqa: T201
