"""schema: the JSON Schemas of the cluster file, and of what commands print with --json."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import click

from ..config.schema import cluster_schema
from ..report.schema import document_schema
from .output import answers
from .show import show_document


@click.command("schema")
@answers(None)
@click.argument("words", metavar="[COMMAND]", nargs=-1)
@click.pass_context
def command(context: click.Context, words: Sequence[str]) -> None:
    """Print the JSON Schema of an input or output.

    Of the cluster file, or of what COMMAND prints with --json.
    The dialect is draft-07, which editors' YAML plugins read.

    The cluster file's has every key with its meaning, its default and what may stand there.

    \b
    Examples:
      hpc-container-manager schema > cluster.schema.json
      hpc-container-manager schema status
      hpc-container-manager schema catalog list
    """
    schema = document_schema(" ".join(words), find_shape(context, words)) if words else cluster_schema()
    show_document(json.dumps(schema, indent=2) + "\n")


def find_shape(context: click.Context, words: Sequence[str]) -> Any:
    """The shape of the command that is called so. Raises UsageError where it prints no JSON."""
    found: click.Command | None = context.find_root().command
    for word in words:
        found = found.get_command(context, word) if isinstance(found, click.Group) else None
    if found is None or isinstance(found, click.Group):
        raise click.UsageError(f"there is no command {' '.join(words)!r}")
    shape = getattr(found.callback, "shape", None)
    if shape is None:
        raise click.UsageError(f"{' '.join(words)} has no --json")
    return shape
