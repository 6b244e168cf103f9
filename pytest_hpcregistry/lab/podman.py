"""The only place that runs Podman."""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from pathlib import Path

from ..core.cache import cache_directory
from ..core.errors import UsageError
from ..transports import CommandResult
from ..transports.process import run_process

CAP_SYS_RESOURCE = 24  # its bit in CapEff, capabilities(7)
# Podman of Debian 12 runs on an ordinary machine as it is. These are for machines that withhold something.
HYBRID_CGROUPS = '[engine]\nruntime = "runc"\ncgroup_manager = "cgroupfs"\n'  # crun refuses the hybrid hierarchy
NO_RAISED_LIMITS = '[containers]\ndefault_ulimits = ["nofile=1024:20000", "nproc=1024:1024"]\n'


def require() -> None:
    """Raise UsageError unless containers can be started here: root, and the programs that this needs."""
    if os.geteuid() != 0:
        raise UsageError("the lab needs root: it makes root directories and networks", hint="start it with sudo")
    programs = {"podman": "podman", "mmdebstrap": "mmdebstrap", "ssh-keygen": "openssh-client"}
    if has_hybrid_cgroups():
        programs["runc"] = "runc"
    missing = [program for program in programs if not shutil.which(program)]
    if missing:
        packages = " ".join(programs[program] for program in missing)
        raise UsageError(f"not installed: {', '.join(missing)}", hint=f"apt-get install {packages}")


def containers_conf(hybrid_cgroups: bool, may_raise_limits: bool) -> str:
    """Options that Podman needs on this machine; none on an ordinary one."""
    return HYBRID_CGROUPS * hybrid_cgroups + NO_RAISED_LIMITS * (not may_raise_limits)


def has_hybrid_cgroups() -> bool:
    """Version 1 controllers with a version 2 tree beside them, as systemd's hybrid mode has it."""
    return not Path("/sys/fs/cgroup/cgroup.controllers").exists()


def may_raise_limits() -> bool:
    """Whether this process has CAP_SYS_RESOURCE."""
    status = Path("/proc/self/status").read_text()
    effective = next(line.split()[1] for line in status.splitlines() if line.startswith("CapEff:"))
    return bool(int(effective, 16) >> CAP_SYS_RESOURCE & 1)


def podman(*words: str, timeout: float = 300, stdin: bytes | None = None) -> CommandResult:
    """Run `podman WORDS`, with the settings that this machine needs, in a file that only this call reads."""
    text = containers_conf(has_hybrid_cgroups(), may_raise_limits())
    if not text:
        return run_process("podman", ["podman", *words], timeout=timeout, stdin=stdin)
    path = cache_directory() / "containers.conf"
    path.parent.mkdir(parents=True, exist_ok=True)
    if not path.exists() or path.read_text() != text:
        path.write_text(text)
    return run_process("podman", ["env", f"CONTAINERS_CONF={path}", "podman", *words], timeout=timeout, stdin=stdin)


def execute(container: str, argv: Sequence[str], *, timeout: float = 60) -> CommandResult:
    """Run a command in a container."""
    return podman("exec", container, *argv, timeout=timeout)
