"""The variables of an inventory's hosts, as `ansible-inventory --list` gives them: not yet filled in by a playbook."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any

from ..core import nodeset
from ..core.names import NODE_NAME, excerpt, visible

HostVars = Mapping[str, Mapping[str, Any]]
"""Each host's variables, those of its groups among them."""


def plain(value: Any) -> Any:
    """What a variable is to a playbook. Raises ValueError where only a playbook, or the vault's password, can tell."""
    if isinstance(value, dict):
        if value.keys() == {"__ansible_unsafe"}:
            return value["__ansible_unsafe"]
        if value.keys() == {"__ansible_vault"}:
            raise ValueError(
                "is encrypted (!vault), and ansible-inventory does not open that: write it out, or encrypt its whole"
                " file with ansible-vault and set ANSIBLE_VAULT_PASSWORD_FILE"
            )
        return {key: plain(item) for key, item in value.items()}
    if isinstance(value, list):
        return [plain(item) for item in value]
    if isinstance(value, str) and any(sign in value for sign in ("{{", "{%", "{#")):
        raise ValueError(
            f"is a template, which only a playbook fills in: write the value out, not {excerpt(value, 80)}"
        )
    return value


def as_text(value: Any) -> Any:
    """A plain value in the form of the cluster file's, where every scalar is text."""
    if isinstance(value, list):
        return [as_text(item) for item in value]
    if isinstance(value, dict):
        return {str(key): as_text(item) for key, item in value.items()}
    if value is None or isinstance(value, bool):
        return json.dumps(value)
    return str(value)


def fold_hosts(names: Iterable[str]) -> str:
    """Hosts as a node set; what is no name of a machine stands as it is."""
    names = list(names)
    return nodeset.fold(names) if all(map(NODE_NAME.match, names)) else ",".join(map(visible, names))
