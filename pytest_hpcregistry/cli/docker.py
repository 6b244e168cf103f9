"""docker: what the bash framework called `image`."""

from __future__ import annotations

from . import image
from .groups import Group

HELP = """As image, by the bash framework's name.

\b
Example:
  hpc-container-manager docker build all --definitions fixtures/images
"""
command = Group("docker", image.command.commands, help=HELP)
