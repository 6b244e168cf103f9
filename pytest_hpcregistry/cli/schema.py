"""schema: the JSON Schema of the cluster file."""

from __future__ import annotations

import click

from ..config.schema import cluster_schema
from .show import show_json


@click.command("schema")
def command() -> None:
    """Print the JSON Schema of the cluster file, for editors.

    The dialect is draft-07, which editors' YAML plugins read.

    It has every key with its meaning, its default and what may stand there.

    \b
    Example:
      hpc-container-manager schema > cluster.schema.json
    """
    show_json(cluster_schema())
