"""What is kept of a lab between two commands: one directory for each."""

from __future__ import annotations

import json
import os
import re
from dataclasses import dataclass
from pathlib import Path

from ..core.errors import UsageError

CONTROLLER = "hpc-controller"
LAB_NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,30}\Z")


@dataclass(frozen=True)
class LabState:
    """A lab: its directory with cluster.yaml, id_ed25519, known_hosts and ssh_config, and its nodes.

    `link_mbit` is what every machine's link is limited to, in Mbit/s and in each direction; 0 is no limit.
    """

    name: str
    directory: Path
    nodes: tuple[str, ...]
    link_mbit: int = 0

    @property
    def cluster_file(self) -> Path:
        return self.directory / "cluster.yaml"

    @property
    def machines(self) -> tuple[str, ...]:
        return (CONTROLLER, *self.nodes)

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


def new(name: str, nodes: int) -> LabState:
    """The state of a lab with so many nodes, c001 …; nothing is written yet."""
    return LabState(name, state_directory(name), tuple(f"c{number:03d}" for number in range(1, nodes + 1)))


def load(name: str) -> LabState | None:
    """The lab that was started under this name, whether it still runs or not."""
    try:
        record = json.loads((state_directory(name) / "lab.json").read_text())
        return LabState(name, state_directory(name), tuple(record["nodes"]), int(record.get("link_mbit", 0)))
    except (OSError, ValueError, KeyError, TypeError):
        return None


def save(state: LabState) -> None:
    """Record the lab, once everything else is written."""
    record = {"nodes": state.nodes, "link_mbit": state.link_mbit}
    (state.directory / "lab.json").write_text(json.dumps(record) + "\n")


def ssh_argv(name: str, host: str = CONTROLLER) -> list[str]:
    """`ssh` to a machine of the lab. Raises UsageError when there is no such lab or machine."""
    state = load(name)
    if state is None:
        raise UsageError(f"there is no lab {name!r}", hint="hpc-container-manager lab up")
    if host.rpartition("@")[2] not in state.machines:
        raise UsageError(f"lab {name!r} has no {host!r}", hint=f"it has {', '.join(state.machines)}")
    return ["ssh", "-F", str(state.directory / "ssh_config"), host]
