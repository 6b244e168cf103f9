"""The checks of an image of the registry: run where it lies, on a node by Slurm or on the controller."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace

from ..core.catalog import Entry, unknown_image
from ..core.errors import CheckFailed, CommandFailed, HpcRegistryError, Unreachable, UsageError
from ..core.events import Listener
from ..core.layout import inside, object_path
from ..core.model import Cluster
from ..core.names import CONTROLLER, NODE_NAME, excerpt, full_name, visible
from ..core.nodeset import fold
from ..images.definitions.checks import Check, from_version
from ..images.running.container import MEMORY, Container
from ..images.running.outcomes import START, Outcome, Place, run_checks
from ..transports import CommandResult
from .client import QUICK, ControllerClient
from .history import note_test
from .jobs import Slurm

IN_NAMESPACE = ("APPTAINER_UNSHARE_PID=1", "SINGULARITY_UNSHARE_PID=1")
"""A PID namespace for the step: not every Slurm finds all processes that a step leaves (proctrack/linuxproc)."""
ENDING = 60
"""Seconds for a step that is being ended: Slurm's KillWait is 30."""
# openpmix.github.io, "How does PMIx work with containers?"
COMPATIBLE = "the image's MPI must be built with PMIx 1.2.5, 2.0.3, or 2.1.1 and newer; image sbom shows its packages"


class Step(Place):
    """Steps of one job, in the image, as its users run it; with one GPU for the checks that need one."""

    has_slurm = True

    def __init__(self, slurm: Slurm, job: str, image: str, *, where: str, limit: str, gpu: bool) -> None:
        self.slurm, self.job, self.image = slurm, job, image
        self.where, self.limit, self.gpu = where, limit, gpu

    def start(self, argv: Sequence[str], timeout: float) -> CommandResult:
        """See Place."""
        return self.run(argv, timeout=timeout, gpu=False)

    def run(self, argv: Sequence[str], *, timeout: float, gpu: bool, mpi: str = "") -> CommandResult:
        """See Place. Raises Unreachable when it failed since Slurm has ended the job, or the node has."""
        given = [] if not self.gpu else ["--gres=gpu:1" if gpu else "--gres=none"]
        given += [f"--mpi={mpi}", "--ntasks=2", "--overcommit"] if mpi else []
        words = self.slurm.in_image(self.image, argv, given)
        # MPI libraries take tasks whose PID namespaces differ for tasks of different machines.
        result = step(self.slurm, self.job, words, timeout, environment=() if mpi else IN_NAMESPACE)
        if result.exit_code != 0:
            self.require_job()
        return result

    def describe_mpi(self, mpi: str) -> str:
        """See Place. Slurm's PMIx sets PMIX_VERSION for each task."""
        # On the host, since an image may lack any program.
        words = [f"--mpi={mpi}", "printenv", "PMIX_VERSION"]
        version = step(self.slurm, self.job, words, QUICK).stdout.strip()
        if not version:
            return f"it was started by srun --mpi={mpi}, which the image's MPI must have been built for"
        return f"it was started by srun --mpi={mpi}, PMIx {excerpt(version)}: {COMPATIBLE}"

    def require_job(self) -> None:
        try:
            state = self.slurm.state(self.job)["JobState"]
        except (CommandFailed, LookupError):
            state = "unknown to Slurm"
        if state != "RUNNING":
            raise Unreachable(f"the job {self.job} was ended: {visible(state)}", where=self.where)

    def has_gpu(self) -> bool:
        """See Place."""
        return self.gpu


def step(
    slurm: Slurm, job: str, words: Sequence[str], timeout: float, environment: Sequence[str] = IN_NAMESPACE
) -> CommandResult:
    """Run a step of a job, and end it after *timeout* seconds; what srun says of a step that failed is left out."""
    # --overlap: a step that is still being ended keeps the next one waiting otherwise.
    argv = ["srun", "--quiet", f"--jobid={job}", "--overlap", "--nodes=1", "--ntasks=1", *words]
    limited = ["env", *environment, "timeout", f"--kill-after={ENDING}", f"{timeout:g}", *argv]
    result = slurm.run(limited, timeout=timeout + 2 * ENDING)
    own = [line for line in result.stderr.splitlines() if not line.startswith("srun: ")]
    return replace(result, stderr="\n".join(own)) if any(own) else result


def check_on(
    where: str,
    name: str,
    client: ControllerClient,
    listener: Listener,
    *,
    checks: Sequence[Check] | None = None,
    memory: int | None = None,
) -> Outcome:
    """Run the checks of the registry's image *name*, or others, on the node *where* or on the controller. *memory* in
    bytes; None: what Slurm gives a job, and on the controller MEMORY.

    Raises UsageError for a name that is none of the catalog's, ConfigError for checks that are not as they should be,
    Unreachable when they could not even begin.
    """
    registry = client.cluster.registry
    name = full_name(name, registry.path, registry.directories)
    if where != CONTROLLER and not NODE_NAME.match(where):
        raise UsageError(f"{visible(where)} is not the name of a node", hint="give --on NODE, or --on controller")
    images = client.catalog().images
    entry = images.get(name)
    if entry is None:
        what = str(unknown_image(name, images))
        raise UsageError(what, hint="deploy it first, or leave --on out to test a file")
    if where != CONTROLLER and where not in (known := client.list_nodes()):
        raise UsageError(f"{where}: no such node in this cluster", hint=f"it has {fold(known)}")
    chosen = from_version(entry, name) if checks is None else checks
    slurm = Slurm(client)
    if where != CONTROLLER:
        return check_by_slurm(slurm, name, entry, chosen, listener, node=where, memory=memory)
    require_same(slurm.run(look_at(client, name, entry), timeout=QUICK), name, entry, CONTROLLER)
    place = Container(slurm.run, inside(registry.path, name), memory or MEMORY, CONTROLLER)
    return noted(run_checks(name, entry.digest, chosen, place, listener), client, entry, chosen, listener)


def check_by_slurm(
    slurm: Slurm,
    name: str,
    entry: Entry,
    checks: Sequence[Check],
    listener: Listener,
    *,
    node: str | None = None,
    memory: int | None = None,
) -> Outcome:
    """Run the checks of an image of the catalog in one job on *node*, or where Slurm puts it; *memory* as check_on."""
    refuse_root(slurm.client.cluster)
    path = inside(slurm.client.cluster.registry.path, name)
    on_node = [] if node is None else [f"--nodelist={node}"]
    gpu = any(one.gpu for one in checks) and has_gpus(slurm, node)
    size = [] if memory is None else [f"--mem={memory >> 20}M"]  # not every site says how much its nodes have
    words = ["--nodes=1", "--ntasks=1", *size, *(["--gres=gpu:1"] if gpu else []), *on_node]
    seconds = QUICK + ENDING + sum(one.timeout + ENDING for one in (START, *checks))
    with slurm.allocation(*words, seconds=seconds) as job:
        where = node or slurm.state(job).get("NodeList", "a node")
        require_same(step(slurm, job, look_at(slurm.client, name, entry), QUICK), name, entry, where)
        limit = ", ".join(["memory: as Slurm confines jobs", *size])
        place = Step(slurm, job, path, where=where, limit=limit, gpu=gpu)
        outcome = run_checks(name, entry.digest, checks, place, listener)
    return noted(outcome, slurm.client, entry, checks, listener)


def noted(
    outcome: Outcome, client: ControllerClient, entry: Entry, checks: Sequence[Check], listener: Listener
) -> Outcome:
    """Return *outcome*, which the controller notes in its history: also that *checks* are others than the image's."""
    try:
        own = list(from_version(entry, outcome.image)) == list(checks)
    except HpcRegistryError:
        own = False
    detail = "" if own else "by other checks than its own"
    note_test(client, listener, outcome.image, outcome, where=[outcome.where], detail=detail)
    return outcome


def refuse_root(cluster: Cluster) -> None:
    """Raise UsageError where jobs would be root's: commands of a label may be a stranger's, and a job's container has
    its user's home."""
    if (cluster.slurm.run_as or cluster.controller.user) == "root":
        hint = "name an ordinary user in the cluster file: slurm.run_as"
        raise UsageError("the checks of an image are not run on a node by root", hint=hint)


def has_gpus(slurm: Slurm, node: str | None) -> bool:
    """Whether Slurm knows of a GPU there."""
    on_node = [] if node is None else [f"--nodes={node}"]
    shown = slurm.run(["sinfo", "--noheader", "--format=%G", *slurm.partition, *on_node], timeout=QUICK)
    if shown.exit_code != 0:
        raise Unreachable(f"Slurm does not say whether there are GPUs: {shown.last_words()}", where=CONTROLLER)
    return re.search(r"\bgpu\b", shown.stdout) is not None


def look_at(client: ControllerClient, name: str, entry: Entry) -> list[str]:
    """The command that prints which file *name* is, and which the catalog's object."""
    path = client.cluster.registry.path
    return ["stat", "--dereference", "--format=%d:%i", inside(path, name), object_path(path, entry.digest)]


def require_same(result: CommandResult, name: str, entry: Entry, where: str) -> None:
    """What is tested is the catalog's version: of anything else nothing can be said by its digest."""
    files = result.stdout.split()
    if result.exit_code == 0 and len(files) == 2 and files[0] == files[1]:
        return
    if len(files) != 2 and "stat: " not in result.stderr:
        raise Unreachable(f"no command can be run there: {result.last_words()}", where=where)
    text = f"{name} is not the catalog's version {entry.digest[:12]} there"
    raise CheckFailed(text, where=where, hint="hpc-container-manager sync")
