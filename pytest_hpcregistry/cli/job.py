"""job: scripts for Slurm that run an image."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from ..cluster.client import open_client
from ..core.names import visible
from ..images import job_script
from ..images.output import check_output, write_file
from .groups import Group
from .known_names import complete_images
from .options import SIF, load, which_cluster
from .output import answers
from .show import say, show_document


@click.group("job", cls=Group)
def command() -> None:
    """Make job scripts that run an image.

    \b
    Example:
      hpc-container-manager job render examples/training/distributed_training.sh.j2 --image pytorch-cpu.sif
    """


def read_settings(context: click.Context, parameter: click.Parameter, words: tuple[str, ...]) -> dict[str, str]:
    """`KEY=VALUE` …, no KEY twice."""
    values: dict[str, str] = {}
    for word in words:
        key, equals, value = word.partition("=")
        if not equals:
            raise click.BadParameter(f"{word!r} is not KEY=VALUE")
        if key in values:
            raise click.BadParameter(f"{key} is given twice")
        values[key] = value
    return values


@command.command("render")
@answers(None)
@click.argument("template", type=SIF)
@click.option(
    "--set", "values", multiple=True, metavar="KEY=VALUE", callback=read_settings, help="A value of the template."
)
@click.option(
    "--image",
    metavar="NAME",
    shell_complete=complete_images,
    help="A deployed image: sets container, its path, and digest, its SHA-256 in the catalog.",
)
@click.option("-o", "--output", type=SIF, metavar="FILE", help="Write the script there, not to standard output.")
@click.option("--force", "-f", is_flag=True, help="Overwrite FILE.")
@which_cluster
def job_render(
    template: Path, values: dict[str, str], image: str | None, output: Path | None, force: bool, **where: Any
) -> None:
    """Make a job script of a jinja2 TEMPLATE.

    Every variable of the template needs a value, unless the template has a default, and every value a variable. The
    filter quote makes one word of the shell of a value: {{ script | quote }}. Only --image asks the cluster.

    \b
    Example:
      hpc-container-manager job render examples/training/distributed_training.sh.j2 --image pytorch-cpu.sif \\
        --set nodes=2 --set ntasks_per_node=4 --set gres=gpu:4 --set script=train.py -o distributed_training.sh
    """
    if image is not None:
        with open_client(load(where.pop("cluster"), **where)) as client:
            name, entry = client.find_image(image)
            found = {"container": client.path(name), "digest": entry.digest}
        twice = sorted(found.keys() & values.keys())
        if twice:
            raise click.UsageError(f"--image sets {twice[0]}: do not --set it as well")
        values = values | found
    if output is not None:
        check_output(output, force, template)
    script = job_script.render(template, values)
    if output is None:
        show_document(script)
    else:
        write_file(output, script.encode())
        say(f"✓ {visible(output)}")
