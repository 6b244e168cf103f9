"""A real Slurm and Apptainer cluster in containers on this machine.

It writes an ordinary cluster file, key and known_hosts; nothing outside this package knows that the lab exists.
Runs on the workstation; Python 3.11.
"""

from __future__ import annotations

from .cluster import down, status, up
from .look import MachineStatus, look
from .state import LabState, ssh_argv, state_directory

__all__ = ["LabState", "MachineStatus", "down", "look", "ssh_argv", "state_directory", "status", "up"]
