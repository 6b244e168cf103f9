"""Jobs on the cluster, started from the controller as an ordinary user would."""

from __future__ import annotations

import re
import secrets
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cached_property
from math import ceil

from ..core.errors import CommandTimeout, HpcRegistryError, Unreachable
from ..core.layout import MORE_PATH
from ..core.names import excerpt
from ..core.nodeset import fold
from ..transports import CommandResult
from .client import ControllerClient

JOB_TIMEOUT = 180  # seconds for a short job, without the wait for an idle node
NO_RESOURCES = "Unable to allocate resources: Requested nodes are busy"  # srun --immediate, when its time is over
TIMED_OUT = 124  # how timeout(1) ends where the time was over
POLL = 1.0  # seconds between two questions to slurmctld


ENDED = ("COMPLETED", "FAILED", "CANCELLED", "TIMEOUT", "NODE_FAIL", "OUT_OF_MEMORY", "BOOT_FAIL", "DEADLINE")

BY_HAND = 'program=$(command -v apptainer || command -v singularity) && exec "$program" exec "$@"'
"""What a user types on a node, for sh: with an image and a command."""


def new_name() -> str:
    return f"hpcregistry-{secrets.token_hex(8)}"


def minutes(seconds: float) -> int:
    """A time limit: Slurm counts in whole minutes, and ends the job itself should nobody else."""
    return ceil(seconds / 60) + 1


def resources(words: Sequence[str]) -> tuple[str, ...]:
    """What of the words of srun and its like says which resources a job needs."""
    return tuple(word for word in words if word.startswith("--") and not word.startswith("--container="))


def is_named(option: str, words: Sequence[str]) -> bool:
    return any(word.startswith(f"{option}=") for word in words)


def go_home(user: str) -> list[str]:
    """What a command of that user begins with, to run in the user's home and to find Slurm's own programs."""
    return ["sh", "-c", f'cd ~{user} && PATH="$PATH:{MORE_PATH}" exec "$@"', "sh"]


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
        self.in_vain: set[tuple[str, ...]] = set()  # what was asked for, and nothing was idle in time

    def run(self, argv: Sequence[str], *, stdin: bytes | None = None, timeout: float = JOB_TIMEOUT) -> CommandResult:
        """Run a command on the controller as the job user, in that user's home directory."""
        # runuser keeps the environment's HOME and directory; where the user's is, only the controller knows.
        become = ["runuser", "-u", self.user, "--", *go_home(self.user)] if self.user else []
        return self.client.transport.run(
            self.client.program.as_root([*become, *argv]) if become else argv, stdin=stdin, timeout=timeout
        )

    def in_image(self, image: str, argv: Sequence[str], options: Sequence[str] = ()) -> list[str]:
        """The last words of srun, with these *options* of its own, that run *argv* in an image: by Slurm itself, or,
        where it runs none (slurm.container), by the runtime of the node."""
        if self.client.cluster.slurm.container:
            return [f"--container={image}", *options, *argv]
        return [*options, "/bin/sh", "-c", BY_HAND, "by-hand", image, *argv]

    @contextmanager
    def allocation(self, *words: str, seconds: float) -> Iterator[str]:
        """As `allocate`; at the end it is given back, with all that runs there."""
        with self.named() as name:
            yield self.allocate(name, *words, seconds=seconds)

    @contextmanager
    def named(self) -> Iterator[str]:
        """A name for jobs, of which none is left at the end, whichever end it is."""
        name = new_name()
        try:
            yield name
        finally:
            self.cancel(name)

    def cancel(self, name: str) -> None:
        """Cancel the jobs of this name."""
        with suppress(HpcRegistryError):  # what went wrong before is what the user must know
            self.run(["scancel", f"--name={name}"])

    def allocate(self, name: str, *words: str, seconds: float) -> str:
        """Resources of `salloc WORDS` for steps of *seconds* in all, as the job's number for `srun --jobid`.

        Raises Unreachable when there are none within `slurm.max_wait` seconds, for which the same is waited once only.
        """
        wait = self.wait_for(resources(words))
        argv = ["timeout", f"{wait:g}", "salloc", "--no-shell", f"--job-name={name}", f"--time={minutes(seconds)}"]
        result = self.run([*argv, *self.chosen(words), *words], timeout=wait + JOB_TIMEOUT)
        number = re.search(r"^salloc: Granted job allocation ([0-9]+)$", result.stderr, re.MULTILINE)
        if result.exit_code == 0 and number is not None:
            return number[1]
        where = self.client.cluster.controller.name
        if result.exit_code == TIMED_OUT:
            raise self.nothing_idle(words)
        said = [line for line in result.stderr.splitlines() if "error" in line] or result.stderr.splitlines()
        why = excerpt(said[-1]) if said else "salloc said nothing"
        raise Unreachable(f"Slurm gave no node for the job: {why}", where=where, hint="see sinfo and squeue")

    def wait_for(self, wanted: tuple[str, ...]) -> int:
        """Seconds that a job may wait for these resources."""
        return 1 if wanted in self.in_vain else self.client.cluster.slurm.max_wait

    def nothing_idle(self, words: Sequence[str], said: str = "") -> Unreachable:
        """The error of a job of these *words* that waited in vain; for such resources the next one does not wait."""
        self.in_vain.add(resources(words))
        named = [word.partition("=")[2] for word in words if word.startswith("--partition=")]
        partition = next(iter(named), self.client.cluster.slurm.partition)
        of = f" of partition {partition}" if partition else ""
        text = f"no idle node{of} in {self.client.cluster.slurm.max_wait} s" + (f": {said}" if said else "")
        hint = "see sinfo and squeue; slurm.max_wait is how long jobs wait"
        return Unreachable(text, where=self.client.cluster.controller.name, hint=hint)

    def chosen(self, words: Sequence[str] = ()) -> list[str]:
        """The partition, and the nodes that are not to be used, for srun, sbatch and salloc, unless the *words* name
        them."""
        exclude = [] if is_named("--exclude", words) or not self.left_out else [f"--exclude={self.left_out}"]
        return [*([] if is_named("--partition", words) else self.partition), *exclude]

    @property
    def partition(self) -> list[str]:
        """The partition, for sinfo too."""
        partition = self.client.cluster.slurm.partition
        return ["--partition", partition] if partition else []

    @cached_property
    def left_out(self) -> str:
        """The nodes that whoever asks has left out, as a node set."""
        return fold(self.client.left_out())

    def srun(self, *words: str, timeout: float = JOB_TIMEOUT) -> CommandResult:
        """`srun WORDS` as a job of its own, which waits for idle nodes as `allocate` does, and runs no longer than
        *timeout* seconds. It is cancelled when this does not come to its end. Raises as `allocate`."""
        name, wait = new_name(), self.wait_for(resources(words))
        own = [f"--job-name={name}", f"--time={minutes(timeout)}", f"--immediate={wait}"]
        try:
            result = self.run(["srun", "--quiet", *own, *self.chosen(words), *words], timeout=wait + timeout)
        except BaseException:
            self.cancel(name)
            raise
        if result.exit_code != 0 and NO_RESOURCES in result.stderr:
            raise self.nothing_idle(words, result.last_words())
        return result

    def submit(self, script: str, timeout: float = JOB_TIMEOUT) -> BatchJob:
        """Submit *script*, which may run *timeout* seconds, and return at once."""
        output = f"/tmp/hpcregistry-{secrets.token_hex(8)}.out"  # noqa: S108 - unguessable, and removed by wait()
        own = [f"--job-name={new_name()}", f"--time={minutes(timeout)}", f"--output={output}", *self.chosen()]
        done = self.run(["sbatch", "--parsable", *own], stdin=script.encode()).check()
        return BatchJob(done.stdout.split(";")[0].strip(), output)

    def sbatch(self, script: str, timeout: float = JOB_TIMEOUT) -> FinishedJob:
        """Submit *script* and wait for its end. Raises Unreachable when it does not begin in time, as `allocate`."""
        job = self.submit(script, timeout)
        try:
            self.wait_until(job, lambda state: state != "PENDING", "begin", self.wait_for(("sbatch",)))
        except CommandTimeout:
            raise self.nothing_idle(("sbatch",)) from None
        return self.wait(job, timeout)

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
        """Wait for the job's end. Raises CommandTimeout after *timeout* seconds."""
        self.wait_until(job, ENDED.__contains__, "end", timeout)
        state = self.state(job)
        return FinishedJob(state["JobState"], state["ExitCode"], self.read_output(job, remove=True))

    def wait_until(self, job: BatchJob, is_so: Callable[[str], bool], what: str, timeout: float) -> None:
        """Wait for a state of the job, which is cancelled when that is not reached, or nobody waits any more."""
        try:
            self.poll(lambda: is_so(self.state(job)["JobState"]), f"job {job.number} did not {what}", timeout)
        except BaseException:
            with suppress(HpcRegistryError):
                self.run(["scancel", job.number])
            raise

    def poll(self, is_so: Callable[[], bool], otherwise: str, timeout: float) -> None:
        deadline = time.monotonic() + timeout
        while not is_so():
            if time.monotonic() >= deadline:
                raise CommandTimeout(f"{otherwise} within {timeout:g} s", where=self.client.cluster.controller.name)
            time.sleep(POLL)
