"""The options that say which cluster, and as whom: the same for the command line and the pytest plugin."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Option:
    """`--name METAVAR` of the command line, `--hpc-name` of pytest; also taken from the environment's `variable`."""

    name: str
    metavar: str
    text: str
    variable: str = ""

    @property
    def help(self) -> str:
        return f"{self.text[:-1]} [default: ${self.variable}]." if self.variable else self.text


CLUSTER_OPTIONS = (
    Option("cluster", "FILE", "The cluster file, or an Ansible inventory.", "HPC_CLUSTER"),
    Option("controller", "HOST", "The controller, when not the cluster file's.", "TEST_CONTROLLER"),
    Option("user", "USER", "Log in as this user; other than root it needs `sudo -n`."),
    Option("key", "FILE", "Log in with this private key."),
)
