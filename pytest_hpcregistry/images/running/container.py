"""A container of a SIF by Apptainer, closed off from its machine, with limits of time and memory."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from ...core import sif
from ...core.digest import hash_file
from ...core.errors import CommandFailed, UsageError
from ...core.events import Listener
from ...core.names import visible
from ...transports import CommandResult, Transport
from ...transports.local import LocalTransport
from ..definitions.checks import Check, from_labels
from .outcomes import Outcome, Place, run_checks

PROGRAMS = ("apptainer", "singularity")
MEMORY = 8 << 30
"""Bytes that the checks of an image may take."""
PROCESSES = 1024
"""At once, where cgroups count them."""
SHORT = 60.0
CLOSED_OFF = ("--containall", "--no-home", "--cleanenv", "--pwd=/")
GPUS = {"--nv": "/dev/nvidiactl", "--rocm": "/dev/kfd"}
"""Apptainer's options, and the device that the driver of each maker has."""
FORBIDDING = {
    "/proc/sys/user/max_user_namespaces": "0",
    "/proc/sys/kernel/unprivileged_userns_clone": "0",
    "/proc/sys/kernel/apparmor_restrict_unprivileged_userns": "1",
}
"""Where it says so, a machine forbids user namespaces to ordinary users."""
# Run "$@" in a session of its own, and end that after $0 seconds or at a signal, with all that is in it: of a container
# that is killed, Apptainer leaves the process that serves the image.
LIMITED = """
trap : TERM INT HUP
setsid timeout --signal=KILL "$0" "$@" & session=$!
wait "$session"; code=$?
pkill -KILL --session "$session"
exit "$code"
"""


class Run(Protocol):
    """Run a command on the machine, as Transport.run."""

    def __call__(self, argv: Sequence[str], *, timeout: float) -> CommandResult: ...


class Container(Place):
    """One image on one machine; each command gets a container of its own, which ends with it.

    Raises UsageError where there is no Apptainer.
    """

    def __init__(self, run: Run, image: str, memory: int, where: str) -> None:
        self.machine, self.image, self.memory, self.where = run, image, memory, where
        self.limit = ""
        self.program = find_program(run)
        if self.program is None:
            hint = "install the package apptainer; or test it where it lies: hpc-container-manager test NAME --on NODE"
            raise UsageError(f"there is no Apptainer on {where}", hint=hint)
        # Root of a user namespace is nobody outside. Where the machine forbids these, Apptainer is a setuid program.
        told = self.machine(["grep", "", *FORBIDDING], timeout=SHORT).stdout.split()
        forbidden = any(f"{path}:{value}" in told for path, value in FORBIDDING.items())
        self.options = [*CLOSED_OFF, *([] if forbidden else ["--userns"])]
        self.cgroup = True

    def start(self, argv: Sequence[str], timeout: float) -> CommandResult:
        """Run it in a cgroup, or else, as not every machine gives one to every user, with a limit of its own."""
        result = self.run(argv, timeout=timeout, gpu=False)
        if result.exit_code != 0:
            self.cgroup = False
            result = self.run(argv, timeout=timeout, gpu=False)
        whose = "all processes (cgroup)" if self.cgroup else "each process (RLIMIT_AS)"
        self.limit = f"memory: {self.memory / (1 << 30):.1f} GiB for {whose}"
        return result

    def run(self, argv: Sequence[str], *, timeout: float, gpu: bool, mpi: str = "") -> CommandResult:
        """See Place. All processes end with the first one, whose PID namespace they are in."""
        words = ["sh", "-c", LIMITED, f"{timeout:g}"]
        limits: list[str] = []
        if self.cgroup:
            limits = [f"--memory={self.memory}", f"--pids-limit={PROCESSES}"]
        elif not gpu:  # CUDA reserves more addresses than any machine has memory
            words += ["prlimit", f"--as={self.memory}"]
        options = [*self.options, *limits, *(self.gpu_options() if gpu else [])]
        words += [str(self.program), "--quiet", "exec", *options, self.image, *argv]
        return self.machine(words, timeout=timeout + SHORT)

    def has_gpu(self) -> bool:
        """See Place."""
        return bool(self.gpu_options())

    def gpu_options(self) -> list[str]:
        return [
            option
            for option, device in GPUS.items()
            if self.machine(["test", "-e", device], timeout=SHORT).exit_code == 0
        ]


def find_program(run: Run) -> str | None:
    """Apptainer, else SingularityCE, by the name that it is started by."""
    for program in PROGRAMS:
        # A program that is missing is an error from this machine's transport, and exit code 127 from another's.
        with contextlib.suppress(CommandFailed):
            if run([program, "--version"], timeout=SHORT).exit_code == 0:
                return program
    return None


def check_file(
    path: Path,
    listener: Listener,
    *,
    checks: Sequence[Check] | None = None,
    memory: int = MEMORY,
    here: Transport | None = None,
) -> Outcome:
    """Run the checks of the SIF *path*, or others, on this machine. *memory* in bytes.

    Raises UsageError for a file that is no sound SIF or has changed meanwhile and where there is no Apptainer,
    ConfigError for checks that are not as they should be.
    """
    if not path.exists():
        hint = "an image of the registry is tested where it lies: --on NODE"
        raise UsageError(f"{visible(path)}: there is no such file", hint=hint)
    before = path.stat()
    found = sif.check(path)
    if checks is None:
        checks = from_labels(found.labels, visible(path))
    digest = hash_file(path)
    place = Container((here or LocalTransport()).run, str(path.absolute()), memory, "this machine")
    outcome = run_checks(path.name, digest, checks, place, listener)
    after = path.stat()
    if (before.st_ino, before.st_size, before.st_mtime_ns) != (after.st_ino, after.st_size, after.st_mtime_ns):
        raise UsageError(f"{visible(path)}: has changed while it was tested", hint="test it again")
    return outcome
