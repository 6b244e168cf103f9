"""One walk through a cluster, from phase 1 to a clean end, each step a command that a user types.

It knows of its site what the cluster file says, and which words a step must end with where the site does not allow it.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from pytest_hpcregistry.config.load import load_cluster
from pytest_hpcregistry.core.errors import CommandTimeout
from pytest_hpcregistry.testing.sif import Sif, system_partition
from pytest_hpcregistry.transports import CommandResult
from pytest_hpcregistry.transports.process import run_process
from tests import ROOT

YES, NO, FAILED, LEFT_OUT = "yes", "no", "FAILED", "-"
TIMEOUT = 900  # seconds for a step
KILOBYTES = 256
Run = Callable[..., CommandResult]


@dataclass(frozen=True)
class Step:
    """A command, by its name in the matrix. `unless` are words that it must not say."""

    name: str
    argv: tuple[str, ...]
    unless: str = ""


@dataclass(frozen=True)
class Done:
    """What became of a step: one of YES, NO, FAILED, LEFT_OUT; why not; and its seconds."""

    step: str
    verdict: str
    why: str = ""
    seconds: float = 0.0


def steps(directory: str, real: Path, first: Path, second: Path) -> Iterator[Step]:
    """The walk: *real* can be run, *first* and *second* are two versions of another image."""
    probe = f"{directory}/{first.name}"
    yield Step("setup", ("registry", "setup"))
    yield Step("deploy", ("deploy", "to-cluster", "--sync-nodes", str(real), f"{directory}/{real.name}"))
    yield Step("update", ("deploy", "to-cluster", "--sync-nodes", str(first), probe))
    yield Step("update", ("deploy", "to-cluster", "--sync-nodes", str(second), probe))
    yield Step("sync", ("sync",))
    yield Step("status", ("status",))
    yield Step("verify", ("verify",))
    yield Step("rollback", ("rollback", probe))
    for phase in ("infrastructure", "deployment", "e2e"):
        yield Step(phase, ("test", "--phase", phase, "--image", f"{directory}/{real.name}"))
    yield Step("gc", ("gc", "--keep", "0", "--grace", "0"))
    yield Step("setup again", ("registry", "setup"), unless="changed: [")


def walk(
    cluster_file: Path,
    limits: Mapping[str, str],
    real: Path,
    scratch: Path,
    on_line: Callable[[str], None],
    refused: str = "",
) -> list[Done]:
    """Take each step on the cluster of that file; *limits* are what a step says, by its name, that must not succeed.

    *refused* is what setup says where it must refuse the cluster; nothing is tried after that.
    """
    run = command_line(cluster_file, scratch)
    limits = {**limits, **({"setup": refused} if refused else {})}
    directory = load_cluster(cluster_file, environ={}).registry.directories[0]
    done: list[Done] = []
    for step in steps(directory, real, *probes(scratch)):
        if refused and done:
            done.append(Done(step.name, LEFT_OUT))
            continue
        on_line(f"$ hpc-container-manager {' '.join(step.argv)}")
        try:
            result = run(*step.argv)
        except CommandTimeout as error:
            done.append(Done(step.name, FAILED, str(error)))
            on_line(f"-- {FAILED}: {error}")
            continue
        done.append(judge(step, result, limits.get(step.name, "")))
        on_line(f"-- {result.seconds:.1f} s, exit {result.exit_code}: {done[-1].verdict} {done[-1].why}".rstrip())
        if done[-1].verdict == FAILED:
            on_line(f"{result.stdout}{result.stderr}")
    return done


def judge(step: Step, result: CommandResult, limit: str) -> Done:
    """Whether a step did what it must; *limit* are the words that it must end with in place of success."""
    said = f"{result.stdout}{result.stderr}"
    if "Traceback" in said:
        return Done(step.name, FAILED, "a traceback", result.seconds)
    if limit and result.exit_code != 0 and limit in said:
        return Done(step.name, NO, limit, result.seconds)
    if limit:
        return Done(step.name, FAILED, f"exit {result.exit_code}, and not {limit!r}", result.seconds)
    if result.exit_code != 0:
        return Done(step.name, FAILED, f"exit {result.exit_code}: {last_words(result)}", result.seconds)
    if step.unless and step.unless in said:
        return Done(step.name, FAILED, f"it said {step.unless!r}", result.seconds)
    return Done(step.name, YES, "", result.seconds)


def last_words(result: CommandResult) -> str:
    lines = [line for line in result.stderr.splitlines() if "rror: " in line] or result.stderr.splitlines()
    return lines[-1] if lines else "it said nothing"


def command_line(cluster_file: Path, scratch: Path) -> Run:
    """`hpc-container-manager WORDS` as a user runs it on the cluster of that file."""

    def run(*words: str) -> CommandResult:
        program = str(Path(sys.executable).parent / "hpc-container-manager")
        argv = ["env", "-C", str(scratch), f"HPC_CLUSTER={cluster_file}", f"PYTHONPATH={ROOT}", program, *words]
        return run_process("workstation", argv, timeout=TIMEOUT)

    return run


def probes(scratch: Path) -> tuple[Path, Path]:
    """Two versions of an image that is sound for every check without Apptainer."""
    versions = []
    for version in ("1", "2"):
        path = scratch / version / "probe.sif"
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(Sif((system_partition(content=os.urandom(KILOBYTES * 1024)),)).to_bytes())
        versions.append(path)
    return versions[0], versions[1]
