"""What is kept of a lab between two commands: one directory for each."""

from __future__ import annotations

import json
import os
import re
from dataclasses import dataclass, field
from pathlib import Path

from ..core.errors import HpcRegistryError, UsageError
from . import site as sites
from .site import Site

LAB_NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,30}\Z")


@dataclass(frozen=True)
class LabState:
    """A lab: its directory with cluster.yaml, its key, known_hosts and ssh_config, its nodes, and its site.

    `link_mbit` is what every machine's link is limited to, in Mbit/s and in each direction; 0 is no limit.
    """

    name: str
    directory: Path
    nodes: tuple[str, ...]
    link_mbit: int = 0
    site: Site = field(default_factory=Site)

    @property
    def cluster_file(self) -> Path:
        return self.directory / "cluster.yaml"

    @property
    def controller(self) -> str:
        return self.site.controller

    @property
    def key(self) -> Path:
        """The private key that opens the lab's machines."""
        return self.directory / f"id_{self.site.key}"

    @property
    def machines(self) -> tuple[str, ...]:
        return (self.controller, *self.nodes, *filter(None, [self.site.gate]))

    @property
    def slurm_names(self) -> dict[str, str]:
        """What Slurm calls each node."""
        return dict(zip(self.nodes, self.site.node_names or self.nodes, strict=False))

    @property
    def network(self) -> str:
        return f"hpcregistry-{self.name}"

    def container(self, machine: str) -> str:
        """The name of a machine's container."""
        return f"hpcregistry-{self.name}-{machine}"


def state_directory(name: str) -> Path:
    """`$XDG_STATE_HOME/hpcregistry/labs/NAME`. Raises UsageError for a name that can't name containers."""
    if not LAB_NAME.match(name):
        raise UsageError(f"{name!r} can't name a lab", hint="small letters, digits and - only, at most 31")
    home = os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state"
    return Path(home, "hpcregistry", "labs", name)


def new(name: str, nodes: int | None, site: Site) -> LabState:
    """The state of a lab of that *site*, with so many of its nodes; None: as many as it has by default.

    Nothing is written yet. Raises UsageError when the site has fewer.
    """
    if nodes is not None and nodes > len(site.nodes):
        raise UsageError(f"the site {site.name} has at most {len(site.nodes)} nodes, not {nodes}")
    return LabState(name, state_directory(name), site.nodes[: site.count if nodes is None else nodes], site=site)


def load(name: str) -> LabState | None:
    """The lab that was started under this name, whether it still runs or not."""
    try:
        record = json.loads((state_directory(name) / "lab.json").read_text())
        site = sites.load(record.get("site", sites.DEMO))
        return LabState(name, state_directory(name), tuple(record["nodes"]), int(record.get("link_mbit", 0)), site)
    except (OSError, ValueError, KeyError, TypeError, AttributeError, HpcRegistryError):
        return None


def save(state: LabState) -> None:
    """Record the lab, once everything else is written."""
    record = {"nodes": state.nodes, "link_mbit": state.link_mbit, "site": state.site.name}
    (state.directory / "lab.json").write_text(json.dumps(record) + "\n")


def ssh_argv(name: str, host: str | None = None) -> list[str]:
    """`ssh` to a machine of the lab; None: its controller. Raises UsageError when there is no such lab or machine."""
    state = load(name)
    if state is None:
        raise UsageError(f"there is no lab {name!r}", hint=f"hpc-container-manager lab up --name {name}")
    host = host or state.controller
    if host.rpartition("@")[2] not in state.machines:
        raise UsageError(f"lab {name!r} has no machine {host!r}", hint=f"it has {', '.join(state.machines)}")
    return ["ssh", "-F", str(state.directory / "ssh_config"), host]
