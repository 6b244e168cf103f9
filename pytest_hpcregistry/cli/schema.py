"""schema: the JSON Schemas of the files that people write."""

from __future__ import annotations

import click

from ..config.schema import cluster_schema
from ..config.waivers import waivers_schema
from .show import show_json

SCHEMAS = {"cluster": cluster_schema, "waivers": waivers_schema}


@click.command("schema")
@click.argument("of", type=click.Choice(tuple(SCHEMAS)), default="cluster")
def command(of: str) -> None:
    """Print the JSON Schema of the cluster file, for editors.

    Or that of the file of waivers, which the cluster file names. The dialect is draft-07, which editors' YAML plugins
    read.

    It has every key with its meaning, its default and what may stand there.

    \b
    Examples:
      hpc-container-manager schema > cluster.schema.json
      hpc-container-manager schema waivers > waivers.schema.json
    """
    show_json(SCHEMAS[of]())
