"""A file, the environment and the command line -> a checked Cluster, with every mistake reported at once.

The keys of the cluster file, their types and their defaults are the fields of core/model.py; there is no second list.
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Mapping
from pathlib import Path

from ..core.errors import UsageError
from ..core.fields import find_repeated, nearest
from ..core.model import SECTIONS, Cluster
from ..core.names import visible
from ..core.reader import Reader
from ..core.role import settings_in_role
from ..core.waivers import today
from .ansible import Draft, read
from .waivers import read_waivers

NAME_A_CLUSTER = "give --cluster FILE (pytest: --hpc-cluster), or set HPC_CLUSTER=FILE, or give --controller HOST"
# The environment variables of the bash framework that this replaces. TEST_CONTROLLER is one more: see point_at.
ENVIRONMENT = {
    "SSH_USER": ("controller", "user"),
    "SSH_KEY_PATH": ("controller", "key"),
    "REGISTRY_BASE_PATH": ("registry", "path"),
    "EXPECTED_MODE": ("registry", "directory_mode"),
    "EXPECTED_OWNER": ("registry", "owner"),
    "EXPECTED_GROUP": ("registry", "group"),
}


def load_cluster(
    path: Path | None,
    *,
    controller: str | None = None,
    user: str | None = None,
    key: str | Path | None = None,
    environ: Mapping[str, str] = os.environ,
) -> Cluster:
    """The cluster that *path* describes: a cluster file, the bash framework's `clusters:` file or an Ansible inventory.

    Without *path* the file is HPC_CLUSTER's, and without that there is only a controller, which asks Slurm for the
    nodes. An argument wins over the environment, the environment over the file. Raises UsageError when nothing names
    a cluster or the file is not there, ConfigError with every mistake.
    """
    if path is None and environ.get("HPC_CLUSTER"):
        path = Path(environ["HPC_CLUSTER"])
    target, place = (controller, "--controller") if controller else (environ.get("TEST_CONTROLLER"), "TEST_CONTROLLER")
    if path is not None:
        refuse_missing(path)
        draft = read(path)
    elif target:
        draft = Draft("command line", Path.cwd(), {}, lambda _: "command line")
    else:
        raise UsageError("no cluster is named", hint=NAME_A_CLUSTER)
    if target:
        point_at(draft, target, place)
    for variable, (section, field) in ENVIRONMENT.items():
        override(draft, section, field, environ.get(variable), variable)
    override(draft, "controller", "user", user, "--user")
    override(draft, "controller", "key", key, "--key")
    return check(draft)


def refuse_missing(path: Path) -> None:
    """Raise UsageError where there is no such file, with what was meant, perhaps."""
    if not os.path.lexists(path):
        near = nearest(path.name, (each.name for each in path.parent.glob("*.y*ml")))
        hint = f'perhaps you meant "{visible(path.with_name(near))}"?' if near else NAME_A_CLUSTER
        raise UsageError(f"{visible(path)}: there is no such file", hint=hint)


def point_at(draft: Draft, target: str, place: str) -> None:
    """Talk to *target* in place of the file's controller, unless it is another word for the same."""
    known = draft.data.get("controller") if isinstance(draft.data, dict) else None
    if isinstance(known, dict) and target in (known.get("name"), known.get("host")):
        return
    draft.override("controller", "name", target, place)
    draft.override("controller", "host", target, place)


def override(draft: Draft, section: str, field: str, value: str | Path | None, place: str) -> None:
    if value is None or str(value) == "":
        return
    # A path typed at a prompt is relative to where it was typed, not to the file.
    text = str(value) if field != "key" or str(value).startswith("~") else str(Path(value).absolute())
    draft.override(section, field, text, place)


def check(draft: Draft) -> Cluster:
    """The cluster that a draft describes. Raises ConfigError with every mistake."""
    reader = Reader(draft.place, draft.folder)
    data = reader.mapping(draft.data, (), {one.name: one for one in dataclasses.fields(Cluster) if one.metadata})
    nodes, routes = reader.nodes(data.get("nodes", "slurm")), reader.routes(data.get("nodes"))
    sections = {name: reader.section(name, data[name]) for name in SECTIONS if name in data}
    controller = sections.setdefault("controller", {})
    given = data.get("controller")
    if not isinstance(given, dict) or not {"name", "host"} & given.keys():
        reader.add(("controller",), "host is missing: the controller's address, or its name for ssh")
    # People write one of the two when both are the same.
    same = controller.get("host") or controller.get("name")
    controller |= {"name": same, "host": same, **controller}
    registry = sections.get("registry", {})
    if registry.get("signatures", "off") != "off" and not registry.get("signers"):
        reader.add(("registry", "signatures"), "whose signatures? Name them in registry.signers")
    if registry.get("signatures", "off") == "off" and registry.get("image_keys"):
        reader.add(
            ("registry", "image_keys"), "of no effect while registry.signatures is off: make that warn or require"
        )
    ids = [one.id for one in sections.get("scan", {}).get("waivers", ())]
    for repeated in find_repeated(ids):
        second = ids.index(repeated, ids.index(repeated) + 1)
        reader.add(("scan", "waivers", second), f"there is a waiver of {repeated} above: keep one of them")
    waivers = read_waivers(reader, data.get("waivers", ""), today())
    reader.finish(draft.source, "nothing was changed; correct this and try again")
    parts = {name: SECTIONS[name].kind(**values) for name, values in sections.items()}
    # What was said elsewhere than in the inventory wins there as well.
    paths = settings_in_role()
    role = tuple((name, value) for name, value in draft.role.items() if paths.get(name) not in draft.overridden)
    by_slurm = draft.nodes_by_slurm
    return Cluster(nodes=nodes, waivers=waivers, routes=routes, nodes_by_slurm=by_slurm, role=role, **parts)
