"""Jobs on the cluster, started from the controller as an ordinary user would."""

from __future__ import annotations

import re
import secrets
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from math import ceil

from ..core.errors import CommandTimeout, HpcRegistryError, Unreachable
from ..core.names import excerpt
from ..transports import CommandResult
from .client import ControllerClient

JOB_TIMEOUT = 180  # seconds for a short job, the wait in the queue included
TIMED_OUT = 124  # how timeout(1) ends where the time was over
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
        # runuser keeps the environment's HOME and directory; where the user's is, only the controller knows.
        go_home = ["sh", "-c", f'cd ~{self.user} && exec "$@"', "sh"]
        become = ["runuser", "-u", self.user, "--", *go_home] if self.user else []
        return self.client.transport.run(
            self.client.program.as_root([*become, *argv]) if become else argv, stdin=stdin, timeout=timeout
        )

    @contextmanager
    def allocation(self, *words: str, seconds: float, wait: float = JOB_TIMEOUT) -> Iterator[str]:
        """Resources of `salloc WORDS` for steps of *seconds* in all, as the job's number for `srun --jobid`.

        They are given back at the end, with all that runs there. Raises Unreachable when there are none within *wait*
        seconds.
        """
        name = f"hpcregistry-{secrets.token_hex(8)}"
        minutes = ceil(seconds / 60) + 1  # Slurm counts in whole ones, and ends the job itself should nobody else
        argv = ["timeout", f"{wait:g}", "salloc", "--no-shell", f"--job-name={name}", f"--time={minutes}"]
        try:
            result = self.run([*argv, *self.chosen(), *words], timeout=wait + JOB_TIMEOUT)
            number = re.search(r"^salloc: Granted job allocation ([0-9]+)$", result.stderr, re.MULTILINE)
            if result.exit_code != 0 or number is None:
                said = [line for line in result.stderr.splitlines() if "error" in line] or result.stderr.splitlines()
                late = f"nothing was free within {wait:g} s"
                why = late if result.exit_code == TIMED_OUT else excerpt(said[-1]) if said else "salloc said nothing"
                where = self.client.cluster.controller.name
                raise Unreachable(f"Slurm gave no node for the job: {why}", where=where, hint="see sinfo and squeue")
            yield number[1]
        finally:
            with suppress(HpcRegistryError):  # what went wrong before is what the user must know
                self.run(["scancel", f"--name={name}"])

    def chosen(self) -> list[str]:
        """The partition, for srun, sbatch and salloc."""
        partition = self.client.cluster.slurm.partition
        return ["--partition", partition] if partition else []

    def srun(self, *words: str, timeout: float = JOB_TIMEOUT) -> CommandResult:
        """`srun WORDS`; a job that waits for resources longer than *timeout* seconds is given up."""
        return self.run(["srun", "--quiet", *self.chosen(), *words], timeout=timeout)

    def submit(self, script: str) -> BatchJob:
        """Submit *script* and return at once."""
        output = f"/tmp/hpcregistry-{secrets.token_hex(8)}.out"  # noqa: S108 - unguessable, and removed by wait()
        done = self.run(["sbatch", "--parsable", f"--output={output}", *self.chosen()], stdin=script.encode()).check()
        return BatchJob(done.stdout.split(";")[0].strip(), output)

    def sbatch(self, script: str, timeout: float = JOB_TIMEOUT) -> FinishedJob:
        """Submit *script* and wait for its end."""
        return self.wait(self.submit(script), timeout)

    def state(self, job: BatchJob | str) -> dict[str, str]:
        """`scontrol show job`, as a mapping: JobState, BatchHost, ExitCode …"""
        number = job if isinstance(job, str) else job.number
        shown = self.run(["scontrol", "--oneliner", "show", "job", number]).check()
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
