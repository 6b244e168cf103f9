"""Kinds of nodes, which are alike to Slurm: of one partition, with the same features. Jobs prove one idle node of each.

A job waits for an idle node as long as `slurm.max_wait` says, all kinds (but AT_ONCE) at the same time. A kind that had
none then is not waited for again.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

from ..core.errors import HpcRegistryError, Unreachable
from ..core.names import NODE_NAME, excerpt
from ..core.nodeset import fold
from ..core.slurm_states import flags, is_usable
from .client import QUICK
from .jobs import Slurm

NOT_PROVEN = "not proven"
"""The property of a test, in JUnit too, that says of which nodes it says nothing, and why."""
AT_ONCE = 8  # kinds, each of which takes a session of the connection to the controller


@dataclass(frozen=True)
class Kind:
    """Those *nodes* of a *partition* on which jobs could run, and *others* of it, on which they shall not."""

    partition: str
    features: str
    nodes: tuple[str, ...]
    others: tuple[str, ...] = ()
    idle: tuple[str, ...] = ()
    default: bool = False


def find_kinds(slurm: Slurm, nodes: Collection[str]) -> list[Kind]:
    """The kinds of those of *nodes* that jobs can run on; a node of several partitions counts in the first that Slurm
    names. Raises Unreachable when Slurm does not answer."""
    argv = ["sinfo", "-N", "-h", "-o", "%N|%P|%T|%f", *slurm.partition]
    result = slurm.run(argv, timeout=QUICK)
    if result.exit_code != 0:
        said = result.last_words("sinfo said nothing")
        raise Unreachable(f"Slurm does not say what its nodes are: {said}", where=slurm.client.cluster.controller.name)
    rows = [fields for line in result.stdout.splitlines() if len(fields := line.split("|")) == 4]
    rows = [row for row in rows if NODE_NAME.match(row[0])]
    kinds: dict[tuple[str, str], dict[str, str]] = {}
    seen: set[str] = set()
    for name, partition, state, features in rows:
        if name in nodes and name not in seen and is_usable(state):
            kinds.setdefault((partition, features), {})[name] = state
            seen.add(name)
    found = []
    for (partition, features), members in kinds.items():
        others = sorted({row[0] for row in rows if row[1] == partition} - set(members))
        idle = [name for name, state in members.items() if flags(state) == ["idle"]]
        bare = partition.rstrip("*")
        found.append(Kind(bare, features, tuple(members), tuple(others), tuple(idle), bare != partition))
    return found


class Prover:
    """Jobs on one node of each kind, and what they do not prove."""

    def __init__(self, slurm: Slurm, nodes: Collection[str]) -> None:
        self.slurm = slurm
        self.kinds = find_kinds(slurm, nodes)
        self.unusable = sorted(set(nodes) - {node for kind in self.kinds for node in kind.nodes})
        self.late: dict[Kind, str] = {}

    @contextmanager
    def jobs(self, seconds: float) -> Iterator[dict[str, str]]:
        """A node of each kind that had an idle one -> the number of a job there, for steps of *seconds* in all; the
        jobs are given back at the end.

        Raises Unreachable when there is none at all: then nothing would be proven.
        """
        with ExitStack() as stack, ThreadPoolExecutor(AT_ONCE) as pool:
            name = stack.enter_context(self.slurm.named())

            def ask(kind: Kind) -> str | HpcRegistryError:
                exclude = [f"--exclude={fold(kind.others)}"] if kind.others else []
                words = ["--nodes=1", "--ntasks=1", f"--partition={kind.partition}", *exclude]
                try:
                    return self.slurm.allocate(name, *words, seconds=seconds)
                except HpcRegistryError as error:
                    return error

            found: dict[str, str] = {}
            wanted = [kind for kind in self.kinds if kind not in self.late]
            try:
                answers = list(pool.map(ask, wanted))
            except BaseException:
                self.slurm.cancel(name)  # or the others would be waited for
                raise
            for kind, job in zip(wanted, answers, strict=True):
                if isinstance(job, HpcRegistryError):
                    self.late[kind] = excerpt(job.what)
                else:
                    found[self.slurm.state(job).get("NodeList", "")] = job
            if not found:
                why = "; ".join(self.not_proven(())) or "Slurm has no node on which jobs can run"
                raise Unreachable(f"no node was proven: {why}", hint="see sinfo and squeue; or raise slurm.max_wait")
            yield found

    def idle(self) -> int:
        """How many idle nodes the partition has that jobs get which name none, as of the beginning."""
        kinds = [kind for kind in self.kinds if kind.default or self.slurm.partition]
        return sum(len(kind.idle) for kind in kinds)

    def not_proven(self, proven: Collection[str], started: Collection[str] = ()) -> list[str]:
        """What jobs on the nodes *proven* say nothing of: `c004 (no idle node of partition gpu in 120 s)`. Of
        those that have *started* the image without a job, it says so."""
        lines = []
        for why, nodes in self.without_job(proven):
            alone = [node for node in nodes if node in started]
            rest = [node for node in nodes if node not in started]
            lines += [f"{fold(alone)} by a job (apptainer exec runs the image there; {why})"] if alone else []
            lines += [f"{fold(rest)} ({why})"] if rest else []
        return lines

    def without_job(self, proven: Collection[str]) -> Iterator[tuple[str, list[str]]]:
        """The nodes but those *proven*, by why no job was tried there."""
        yield "jobs cannot run there now: see sinfo", self.unusable
        for kind in self.kinds:
            left = [node for node in kind.nodes if node not in proven]
            mine = [node for node in kind.nodes if node in proven]
            if kind in self.late:
                yield self.late[kind], left
            elif mine:
                alike = ", ".join(filter(None, [f"partition {kind.partition}", features(kind)]))
                yield f"no job was tried there; {fold(mine)} is of the same kind: {alike}", left


def features(kind: Kind) -> str:
    return "" if kind.features in ("", "(null)") else f"features {excerpt(kind.features, 100)}"
