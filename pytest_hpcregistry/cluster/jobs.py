"""Jobs on the cluster, started from the controller as an ordinary user would."""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from ..core.errors import CommandTimeout
from ..transports import CommandResult
from .client import ControllerClient

JOB_TIMEOUT = 180  # seconds for a short job, the wait in the queue included
POLL = 1.0  # seconds between two questions to slurmctld


ENDED = ("COMPLETED", "FAILED", "CANCELLED", "TIMEOUT", "NODE_FAIL", "OUT_OF_MEMORY", "BOOT_FAIL", "DEADLINE")


@dataclass(frozen=True)
class BatchJob:
    """A submitted batch job: its number, and the file on the node where its output goes."""

    number: str
    output: str


@dataclass(frozen=True)
class FinishedJob:
    """How a batch job ended: Slurm's state, `code:signal` of its script, and everything that it printed."""

    state: str
    exit_code: str
    output: str


class Slurm:
    """srun and sbatch, as `slurm.run_as` of the cluster file (or as the login user when there is none)."""

    def __init__(self, client: ControllerClient) -> None:
        self.client = client
        self.user = client.cluster.slurm.run_as

    def run(self, argv: Sequence[str], *, stdin: bytes | None = None, timeout: float = JOB_TIMEOUT) -> CommandResult:
        """Run a command on the controller as the job user, in that user's home directory."""
        # runuser keeps the environment's HOME and directory; a login shell of its own starts where the user's does.
        become = ["runuser", "-u", self.user, "--", "env", "-C", f"/home/{self.user}"] if self.user else []
        return self.client.transport.run(
            self.client.program.as_root([*become, *argv]) if become else argv, stdin=stdin, timeout=timeout
        )

    def srun(self, *words: str, timeout: float = JOB_TIMEOUT) -> CommandResult:
        """`srun WORDS`; a job that waits for resources longer than *timeout* seconds is given up."""
        partition = self.client.cluster.slurm.partition
        chosen = ["--partition", partition] if partition else []
        return self.run(["srun", "--quiet", *chosen, *words], timeout=timeout)

    def submit(self, script: str) -> BatchJob:
        """Submit *script* and return at once."""
        output = f"/tmp/hpcregistry-{secrets.token_hex(8)}.out"  # noqa: S108 - unguessable, and removed by wait()
        done = self.run(["sbatch", "--parsable", f"--output={output}"], stdin=script.encode()).check()
        return BatchJob(done.stdout.split(";")[0].strip(), output)

    def sbatch(self, script: str, timeout: float = JOB_TIMEOUT) -> FinishedJob:
        """Submit *script* and wait for its end."""
        return self.wait(self.submit(script), timeout)

    def state(self, job: BatchJob) -> dict[str, str]:
        """`scontrol show job`, as a mapping: JobState, BatchHost, ExitCode …"""
        shown = self.run(["scontrol", "--oneliner", "show", "job", job.number]).check()
        return dict(pair.split("=", 1) for pair in shown.stdout.split() if "=" in pair)

    def read_output(self, job: BatchJob, *, remove: bool = False) -> str:
        """What the job has printed so far, read on the node that its script runs on."""
        host = self.state(job).get("BatchHost")
        if not host:
            return ""
        script = 'cat "$0"; [ -z "$1" ] || rm -f "$0"'
        return self.srun("--overcommit", f"--nodelist={host}", "sh", "-c", script, job.output, "x" * remove).stdout

    def wait_for_output(self, job: BatchJob, text: str, timeout: float = JOB_TIMEOUT) -> None:
        """Return once the job has printed *text*. Raises CommandTimeout after *timeout* seconds."""
        self.poll(lambda: text in self.read_output(job), f"job {job.number} did not print {text!r}", timeout)

    def wait(self, job: BatchJob, timeout: float = JOB_TIMEOUT) -> FinishedJob:
        """Wait for the job's end. Raises CommandTimeout after *timeout* seconds, and cancels the job then."""
        try:
            self.poll(lambda: self.state(job)["JobState"] in ENDED, f"job {job.number} did not end", timeout)
        except CommandTimeout:
            self.run(["scancel", job.number])
            raise
        state = self.state(job)
        return FinishedJob(state["JobState"], state["ExitCode"], self.read_output(job, remove=True))

    def poll(self, is_so: Callable[[], bool], otherwise: str, timeout: float) -> None:
        deadline = time.monotonic() + timeout
        while not is_so():
            if time.monotonic() >= deadline:
                raise CommandTimeout(f"{otherwise} within {timeout:g} s", where=self.client.cluster.controller.name)
            time.sleep(POLL)
