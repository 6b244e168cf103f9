"""What is wrong with the role's settings, by the reader that the controller reads its config.yaml with.

Ansible loads this file by itself, on the workstation.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable
from typing import Any

WRONG_ENVIRONMENT = (
    f"{sys.executable} has no pytest-hpcregistry: the ansible-playbook to run is that of the environment where it is"
    " installed"
)


def mistakes(config: str) -> list[str]:
    """The mistakes in the text of a config.yaml, each with the role's name of the setting."""
    try:
        from pytest_hpcregistry.core import documents, settings
        from pytest_hpcregistry.core.errors import ConfigError
    except ImportError:
        return [WRONG_ENVIRONMENT]
    try:
        settings.read(documents.parse(config, "config.yaml"))
    except ConfigError as error:
        return [role_name(mistake) for mistake in error.mistakes]
    return []


def role_name(mistake: str) -> str:
    """`config.yaml:9: sync.window: …` -> `container_registry_sync_window: …`."""
    told = re.sub(r"\Aconfig\.yaml:[0-9]+: ", "", mistake)
    return re.sub(
        r"\A(?:registry\.)?([a-z_]+)(?:\.([a-z_]+))?:",
        lambda name: "_".join(filter(None, ("container_registry", name[1], name[2]))) + ":",
        told,
    )


def login_of(nodes: Any, node: str) -> str:
    """Who logs in to a node, by `nodes` of the cluster file. Its mistakes are reported by hpcregistry_mistakes."""
    try:
        from pytest_hpcregistry.core.errors import ConfigError
        from pytest_hpcregistry.core.reader import read_routes
        from pytest_hpcregistry.core.routes import ROOT, configured_route
    except ImportError:
        return "root"
    try:
        data = {key: {name: str(value) for name, value in (one or {}).items()} for key, one in nodes.items()}
        return configured_route(node, read_routes(data, "nodes")).user
    except (AttributeError, ConfigError):  # a list, or a word
        return ROOT


class FilterModule:
    """What Ansible asks for."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        return {"hpcregistry_mistakes": mistakes, "hpcregistry_login": login_of}
