"""The user's own ssh: its configuration, agent, Kerberos and jump hosts, one connection shared by all commands."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from functools import partial

from ..core.errors import CommandTimeout
from ..core.model import Cluster
from . import Command, CommandResult, Transport
from .frame import framed, new_mark, printed
from .process import run_command, run_process
from .ssh import destination, ssh_options, typed_by_hand, unreachable


class OpensshTransport(Transport):
    """The controller, through ssh(1)."""

    def __init__(self, cluster: Cluster) -> None:
        self.name = cluster.controller.name
        # A socket's path may have some 100 characters, unix(7): a short directory of our own, private by mkdtemp.
        self.directory = tempfile.mkdtemp(prefix="hpcreg-")
        self.alone = ssh_options(cluster)
        self.shared = find_open_connection(cluster, partial(run_process, self.name, timeout=10))
        share = ["-o", "ControlMaster=auto", "-o", f"ControlPath={self.directory}/%C", "-o", "ControlPersist=60"]
        if self.shared:
            share = ["-o", "ControlMaster=no", "-o", f"ControlPath={self.shared}"]
        self.ssh = [*self.alone, *share]
        self.jumps = cluster.controller.jump is not None
        self.patience = 2 * cluster.ssh.connect_timeout + 5  # seconds, for two hops
        self.target, self.by_hand = destination(cluster), typed_by_hand(cluster)

    def execute(self, command: Command) -> CommandResult:
        """See Transport."""
        mark = new_mark()
        argv = [*self.ssh, self.target, "--", framed(command.argv, mark)]
        result = run_command(self.name, replace(command, argv=argv, mark=printed(mark)), shown=command.argv)
        # ssh(1) exits with 255 when it fails itself, and Apptainer does too: the connection tells which it was.
        if result.exit_code == 255 and not self.is_connected():
            raise unreachable(self.name, self.say_why() or result.stderr, self.by_hand)
        return result

    def say_why(self) -> str:
        """What the ssh to the jump host says; ssh(1) throws that away when a connection is to be kept."""
        if not self.jumps:
            return ""
        try:
            return run_process(self.name, [*self.alone, self.target, "true"], timeout=self.patience).stderr
        except CommandTimeout:
            return ""

    def is_connected(self) -> bool:
        """Whether the shared connection lives."""
        return run_process(self.name, [*self.ssh, "-O", "check", self.target], timeout=10).exit_code == 0

    def close(self) -> None:
        """End the shared connection, unless it is the user's own."""
        if not self.shared:
            with suppress(CommandTimeout):  # which would hide why the connection is closed
                run_process(self.name, [*self.ssh, "-O", "exit", self.target], timeout=10)
        shutil.rmtree(self.directory, ignore_errors=True)


def find_open_connection(cluster: Cluster, run: Callable[[list[str]], CommandResult]) -> str | None:
    """The ControlPath of a connection to the controller that the user has opened for others to share: by hand, where a
    login needs a second factor, which nobody is asked for here. None where there is none."""
    ssh, target = ssh_options(cluster), destination(cluster)
    words = (line.partition(" ") for line in run([*ssh, "-G", target]).stdout.splitlines())
    path = next((value for key, _, value in words if key == "controlpath"), "none")
    if path == "none" or run([*ssh, "-o", f"ControlPath={path}", "-O", "check", target]).exit_code != 0:
        return None
    return path
