"""docker: what the bash framework called `image`."""

from __future__ import annotations

from . import image
from .groups import Group

command = Group("docker", image.command.commands, help="As image, by the bash framework's name.")
