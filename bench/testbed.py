"""The lab as the benchmark sees it: machines whose files, counters and processes are read through this machine's /proc.

Nothing is asked of a node while something is measured: a login would cost CPU that the nodes share.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from pytest_hpcregistry import lab
from pytest_hpcregistry.core import documents
from pytest_hpcregistry.lab import links
from pytest_hpcregistry.lab.site import CONTROLLER
from pytest_hpcregistry.transports import CommandResult
from pytest_hpcregistry.transports.process import run_process

ROOT = Path(__file__).resolve().parent.parent
BUILD = ROOT / "build" / "bench"
REGISTRY = "/opt/containers"
CONFIG = f"{REGISTRY}/.registry/config.yaml"
PROGRAM = b"hpcregistry/controller"


def say(text: str) -> None:
    """One line for the person who waits."""
    print(text, flush=True)  # noqa: T201 - a script for people


class Testbed:
    """A running lab after phase 1. `nodes` are those that take part; the lab may have more."""

    __test__ = False  # pytest: this is no test

    def __init__(self, state: lab.LabState) -> None:
        self.state = state
        self.nodes = state.nodes
        self.links = links.find(state)
        self.cluster_file = BUILD / f"{state.name}.yaml"

    @classmethod
    def start(cls, name: str, nodes: int) -> Testbed:
        """Start a lab without any limit and set the registry up on it."""
        state = lab.up(name, nodes, on_step=lambda text, seconds: say(f"  {text} ({seconds:.0f} s)"), link_mbit=0)
        BUILD.mkdir(parents=True, exist_ok=True)
        bed = cls(state)
        bed.cluster_file.write_text(state.cluster_file.read_text())
        done = bed.tool("registry", "setup", timeout=1200).check()
        say(f"  set up the registry on every machine ({done.seconds:.0f} s)")
        return bed

    def use(self, nodes: Sequence[str], link_mbit: int) -> None:
        """From now on these *nodes* are the cluster, and every link is limited to *link_mbit* Mbit/s; 0 is none."""
        self.nodes = tuple(nodes)
        cluster = documents.load(self.state.cluster_file.read_text(), "cluster.yaml")
        self.cluster_file.write_text(documents.dump({**cluster, "nodes": list(nodes)}))
        config = self.path(CONTROLLER, CONFIG)
        config.write_text(re.sub(r"(?m)^nodes: .*$", f"nodes: {json.dumps(list(nodes))}", config.read_text()))
        links.limit([*self.links.values()], link_mbit)

    def path(self, machine: str, path: str) -> Path:
        """A file of a machine, as this machine sees it."""
        return Path(f"/proc/{self.links[machine].process}/root{path}")

    def tool_argv(self, *words: str | Path) -> list[str]:
        """`hpc-container-manager WORDS` for the nodes in use, as a user runs it."""
        program = Path(sys.executable).parent / "hpc-container-manager"
        return ["env", f"HPC_CLUSTER={self.cluster_file}", str(program), *map(str, words)]

    def tool(self, *words: str | Path, timeout: float = 900) -> CommandResult:
        """Run `hpc-container-manager WORDS`, whatever its exit code."""
        return run_process("workstation", self.tool_argv(*words), timeout=timeout)

    def controller_argv(self, argv: Sequence[str], timeout: float) -> list[str]:
        """*argv* as a command of this machine that runs it on the controller; it is ended there after *timeout*."""
        container = self.state.container(CONTROLLER)
        return ["podman", "exec", container, "timeout", "--kill-after=5", f"{timeout:.0f}", *argv]

    def on_controller(self, argv: Sequence[str], timeout: float = 300) -> CommandResult:
        """Run a command on the controller, whatever its exit code."""
        return run_process("controller", self.controller_argv(argv, timeout), timeout=timeout + 10)

    def wire_bytes(self, machine: str) -> tuple[int, int]:
        """Bytes that a machine has received and sent over its link since it started."""
        return counters(Path(f"/proc/{self.links[machine].process}/net/dev").read_text())

    def logins(self) -> dict[str, int]:
        """How many logins each node in use has had."""
        return {node: self.path(node, "/var/log/sshd.log").read_text().count("\nAccepted ") for node in self.nodes}

    def programs(self) -> list[int]:
        """The processes of the controller program that run now."""
        home = namespace(self.links[CONTROLLER].process)
        numbers = [int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit()]
        return [number for number in numbers if namespace(number) == home and is_program(number)]

    def set_link(self, node: str, state: str) -> None:
        """Plug a node's cable in ("up") or out ("down"): nobody is told, as when its power fails."""
        subprocess.run(["ip", "link", "set", self.links[node].interface, state], check=True, timeout=30)


def namespace(process: int) -> str:
    """Which machine of the lab, or none, a process belongs to; empty when it has ended."""
    try:
        return str(Path(f"/proc/{process}/ns/pid").readlink())
    except OSError:
        return ""


def is_program(process: int) -> bool:
    try:
        return PROGRAM in Path(f"/proc/{process}/cmdline").read_bytes()
    except OSError:
        return False  # it has ended meanwhile


def counters(net_dev: str) -> tuple[int, int]:
    """Received and sent bytes of eth0 in the text of /proc/PID/net/dev."""
    line = next(line for line in net_dev.splitlines() if line.strip().startswith(f"{links.INTERFACE}:"))
    fields = line.partition(":")[2].split()
    return int(fields[0]), int(fields[8])
