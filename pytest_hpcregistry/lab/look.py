"""What a lab's machines are doing, for `lab status`."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from ..core.errors import UsageError
from .podman import execute, podman
from .state import load

ANSWERS = ""
"""No node's name."""


@dataclass(frozen=True)
class MachineStatus:
    """One machine: its container's state, its address, and Slurm's state of it (of the controller: slurmctld's; - of
    one that Slurm does not know)."""

    name: str
    container: str
    address: str
    slurm: str


def look(name: str) -> list[MachineStatus]:
    """All machines of the lab, whatever their state. Raises UsageError when there is no lab of that name."""
    state = load(name)
    if state is None:
        raise UsageError(f"there is no lab {name!r}", hint=f"hpc-container-manager lab up --name {name}")
    # One without a container is left out of the answer, which then ends with an error: that is no failure here.
    shown = podman("inspect", "--type=container", *map(state.container, state.machines)).stdout
    containers = {found["Name"]: found for found in json.loads(shown)}
    slurm = ask_slurm(state.container(state.controller))
    known_as = {state.controller: ANSWERS, **state.slurm_names}

    def state_of(machine: str) -> str:
        return slurm.get(known_as[machine], "no answer") if machine in known_as else "-"

    return [
        MachineStatus(machine, *describe(containers.get(state.container(machine))), state_of(machine))
        for machine in state.machines
    ]


def describe(container: Any) -> tuple[str, str]:
    """State and address of a container, as `podman inspect` tells them."""
    if container is None:
        return "gone", "-"
    networks = container["NetworkSettings"]["Networks"].values()
    return container["State"]["Status"], next((network["IPAddress"] for network in networks), "") or "-"


def ask_slurm(controller: str) -> dict[str, str]:
    """Each node's state, and under ANSWERS that slurmctld answers; empty when it does not."""
    told = execute(controller, ["sinfo", "-h", "-N", "-o", "%N %T"])
    if told.exit_code != 0:
        return {}
    return {ANSWERS: "up", **dict(line.split() for line in told.stdout.splitlines())}
