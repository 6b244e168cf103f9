"""What became of an image's checks: they are run one after the other at a place, and each result is judged."""

from __future__ import annotations

import signal
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass

from ...core.errors import CheckFailed, CommandTimeout, HpcRegistryError, Unreachable, UsageError
from ...core.events import CheckEnded, Listener
from ...core.names import excerpt, last_line, visible
from ...transports import CommandResult
from ..definitions.checks import Check

PASSED, FAILED, SKIPPED, UNKNOWN = "passed", "failed", "skipped", "unknown"
START = Check(run=("true",), name="the container starts")
"""Done with every image, before its own checks."""
TIMED_OUT = (124, 128 + signal.SIGKILL)
"""How timeout(1) ends where the command's time was over, and where it had to be killed."""


@dataclass(frozen=True)
class Outcome:
    """An image and what became of its checks: `digest` is its SHA-256 in hex, `where` the machine that they were run
    on, `limit` what kept them from taking all of its memory. The first that has `ended` is the start.
    """

    image: str
    digest: str
    where: str
    limit: str
    ended: tuple[CheckEnded, ...]

    def count(self, state: str) -> int:
        """How many of the image's own checks ended so."""
        return sum(one.state == state for one in self.ended[1:])

    def check(self) -> Outcome:
        """Return itself if a check was done and none failed.

        Raises CheckFailed for one that failed, UsageError where there are none, Unreachable where that is all unknown.
        """
        image = visible(self.image)
        for state, kind in ((FAILED, CheckFailed), (UNKNOWN, Unreachable)):
            found = [one for one in self.ended if one.state == state]
            if found:
                verb = "failed" if state == FAILED else "could not be done"
                names = ", ".join(one.check for one in found)
                raise kind(f"{image}: {len(found)} of its checks {verb}: {excerpt(names)}", hint=WHY)
        if self.count(PASSED) == 0 and self.count(SKIPPED) == 0:
            raise UsageError(f"{image} has no checks: it starts, and nothing else of it was tested", hint=ADD_CHECKS)
        if self.count(PASSED) == 0:
            hint = "test it on a node (--on NODE), with a GPU for the checks that need one"
            raise Unreachable(f"{image}: all of its checks were skipped", hint=hint)
        return self


WHY = "the lines of these checks say why"
ADD_CHECKS = "add checks to its image.yaml and build it again, or give --checks FILE"


class Place(ABC):
    """Where the commands of an image's checks are run: in the image, on some machine."""

    where: str
    limit: str
    has_slurm = False
    """Whether commands are steps of a job, which can have several tasks."""

    @abstractmethod
    def start(self, argv: Sequence[str], timeout: float) -> CommandResult:
        """Run the first command, and find out how to run the others."""

    @abstractmethod
    def run(self, argv: Sequence[str], *, timeout: float, gpu: bool, mpi: str = "") -> CommandResult:
        """Run a command, as two tasks with *mpi*, and end it with all that it has started after *timeout* seconds.

        Raises CommandFailed for one that cannot be listened to, Unreachable when the place is gone.
        """

    @abstractmethod
    def has_gpu(self) -> bool:
        """Whether a command could have a GPU there."""

    def describe_mpi(self, mpi: str) -> str:
        """By what the tasks of a command know each other there, for people: asked where one with *mpi* has failed."""
        return f"--mpi={mpi}"


def run_checks(image: str, digest: str, checks: Sequence[Check], place: Place, listener: Listener) -> Outcome:
    """Start the image, and if it does, run its *checks*; the *listener* gets each as it ends."""
    ended: list[CheckEnded] = []
    for check in (START, *checks):
        one = run_check(image, check, place)
        ended.append(one)
        listener(one)
        if one.state == UNKNOWN or (check is START and one.state == FAILED):
            break
    return Outcome(image, digest, place.where, place.limit, tuple(ended))


def run_check(image: str, check: Check, place: Place) -> CheckEnded:
    try:
        if check.gpu and not place.has_gpu():
            return CheckEnded(image, check.title, SKIPPED, f"no GPU on {place.where}")
        if check.mpi and not place.has_slurm:
            return CheckEnded(image, check.title, SKIPPED, "only Slurm starts its tasks together: --on NODE")
        if check is START:
            result = place.start(check.argv, check.timeout)
        else:
            result = place.run(check.argv, timeout=check.timeout, gpu=check.gpu, mpi=check.mpi)
        problem = judge(check, result)
        if problem and check.mpi:
            problem += f"; {place.describe_mpi(check.mpi)}"
    except Unreachable as error:
        return CheckEnded(image, check.title, UNKNOWN, excerpt(error.reason(place.where)))
    except CommandTimeout:
        return CheckEnded(image, check.title, FAILED, not_ended(check), check.timeout)
    except HpcRegistryError as error:
        why = error.what.rpartition(": stopped: ")[2]  # without all the words by which the command was started
        return CheckEnded(image, check.title, FAILED, excerpt(why))
    return CheckEnded(image, check.title, FAILED if problem else PASSED, problem or "", result.seconds)


def judge(check: Check, result: CommandResult) -> str | None:
    """What is wrong with the *result* of a check; None if nothing is."""
    code = result.exit_code
    said = last_line(result.stderr.strip() or result.stdout, "it said nothing")
    if code in TIMED_OUT and result.seconds >= check.timeout:
        return not_ended(check)
    if code != check.exit:
        if check.file and code == 1:
            return "there is no such file in the image"
        if check.file and "executable file not found" in said:
            return "the image has no program `test`, by which files are looked for: write a check with run"
        return f"{describe(code)}, not {check.exit}: {said}"
    if check.expected not in result.stdout:
        printed = f'"{excerpt(result.stdout)}"' if result.stdout.strip() else "nothing"
        return f'printed {printed}, and not "{excerpt(check.expected)}"'
    return None


def not_ended(check: Check) -> str:
    return f"was still running after {check.timeout} s and was ended"


def describe(code: int) -> str:
    """An exit code, with the signal that it stands for."""
    try:
        name = signal.Signals(code - 128).name if code > 128 else ""
    except ValueError:
        name = ""
    hint = ", as where memory runs out" if name == "SIGKILL" else ""
    return f"exit code {code}" + (f" ({name}{hint})" if name else "")
