"""docker: what the bash framework called `image`."""

from __future__ import annotations

import click

from . import image

command = click.Group("docker", image.command.commands, help="Another name for image, which the bash framework had.")
