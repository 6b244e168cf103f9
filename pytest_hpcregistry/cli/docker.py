"""docker: what the bash framework called `image`."""

from __future__ import annotations

import click

from . import image

command = click.Group("docker", image.command.commands, help="As image, by the bash framework's name.")
