"""schema: the JSON Schemas of the files that people write, and of what commands print with --json."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import click

from ..config.schema import cluster_schema
from ..config.waivers import waivers_schema
from ..core.fields import nearest, perhaps
from ..report.schema import document_schema
from .output import answers
from .show import show_document

SCHEMAS = {"cluster": cluster_schema, "waivers": waivers_schema}


@click.command("schema")
@answers(None)
@click.argument("words", metavar="[COMMAND]", nargs=-1)
@click.pass_context
def command(context: click.Context, words: Sequence[str]) -> None:
    """Print the JSON Schema of an input or output.

    Of the cluster file; of `waivers`, the file of waivers that it names; or of what COMMAND prints with --json. The
    dialect is draft-07, which editors' YAML plugins read.

    The cluster file's has every key with its meaning, its default and what may stand there.

    \b
    Examples:
      hpc-container-manager schema > cluster.schema.json
      hpc-container-manager schema waivers > waivers.schema.json
      hpc-container-manager schema status
      hpc-container-manager schema catalog list
    """
    show_document(json.dumps(schema_of(context, words), indent=2) + "\n")


def schema_of(context: click.Context, words: Sequence[str]) -> dict[str, Any]:
    """Raises UsageError where there is none."""
    if not words or words[0] in SCHEMAS:
        return SCHEMAS[words[0] if words else "cluster"]()
    return document_schema(" ".join(words), find_shape(context, words))


def find_shape(context: click.Context, words: Sequence[str]) -> Any:
    """The shape of the command that is called so. Raises UsageError where it prints no JSON."""
    found: click.Command | None = context.find_root().command
    near = ""
    for word in words:
        if isinstance(found, click.Group):
            near = nearest(word, found.list_commands(context))
        found = found.get_command(context, word) if isinstance(found, click.Group) else None
    if isinstance(found, click.Group):
        names = ", ".join(found.list_commands(context))
        raise click.UsageError(f"{' '.join(words)} is several commands: {names}")
    if found is None:
        raise click.UsageError(f"there is no command {' '.join(words)!r}.{perhaps(near)}")
    shape = getattr(found.callback, "shape", None)
    if shape is None:
        raise click.UsageError(f"{' '.join(words)} has no --json")
    return shape
