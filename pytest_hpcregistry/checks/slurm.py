"""Slurm knows the nodes, and can run containers on each of them."""

from __future__ import annotations

import re
from collections.abc import Iterator

from ..core.facts import Facts, Machine
from ..core.layout import CONTAINER_RUN, RUNTIME
from ..core.machine import SlurmFacts
from ..core.model import Cluster
from ..core.names import excerpt
from ..core.slurm_states import is_usable
from .finding import Finding

NEW_ENOUGH = (23, 2)  # IgnoreFileConfigJson, without which a SIF can't be a --container
REASONS = "why: sinfo -R on the controller"  # the same for every node, so that many are one finding
HINT = "see `sinfo` and `scontrol ping` on the controller"


def answers(machine: Machine, facts: Facts, cluster: Cluster) -> Iterator[Finding]:
    found = asked(facts)
    if found.error is not None or not found.nodes:
        yield Finding("slurm.answers", machine.name, "Slurm", found.error or "knows no nodes", hint=HINT)


def usable(machine: Machine, facts: Facts, cluster: Cluster) -> Iterator[Finding]:
    """Slurm knows the node, and jobs run there; or it is out of service, which is context and no finding."""
    state = asked(facts).nodes.get(machine.name)
    if state is None and asked(facts).error is not None:
        yield from answers(machine, facts, cluster)  # why nothing is known of the node
    elif state is None:
        yield Finding("slurm.usable", machine.name, "node", "is not known to Slurm", hint=HINT)
    elif not machine.out_of_service and not is_usable(state):
        yield Finding("slurm.usable", machine.name, "node", f"Slurm says {state}", hint=REASONS)


def version(machine: Machine, facts: Facts, cluster: Cluster) -> Iterator[Finding]:
    found = machine.host.programs["srun"]
    expected = ".".join(f"{number:02d}" for number in NEW_ENOUGH)
    if found is None:
        yield Finding("slurm.version", machine.name, "srun", "is not installed", expected, hint=f"install {expected}")
    elif tuple(map(int, re.findall("[0-9]{1,9}", found)[:2])) < NEW_ENOUGH:
        hint = "or set slurm.container to false, and use apptainer exec"
        yield Finding("slurm.version", machine.name, "srun", found or "of no version", f"{expected} or newer", hint)


def containers(machine: Machine, facts: Facts, cluster: Cluster) -> Iterator[Finding]:
    """Without oci.conf a step with --container runs on the host, and exits with 0."""
    if not cluster.slurm.container:
        return
    for path, needed in ((f"{cluster.slurm.conf_dir}/oci.conf", "IgnoreFileConfigJson=true"), (RUNTIME, "")):
        text = machine.text(path)
        if text is None:
            yield Finding("slurm.containers", machine.name, path, "does not exist")
        elif needed not in text:
            yield Finding("slurm.containers", machine.name, path, f"lacks {needed}")
        elif text != facts.controller.text(path):
            yield Finding("slurm.containers", machine.name, path, "is not the controller's")


def binds(machine: Machine, facts: Facts, cluster: Cluster) -> Iterator[Finding]:
    """Apptainer starts no image where a directory to bind is missing."""
    for path in cluster.runtime.sources() if cluster.slurm.container else ():
        if machine.path(path) is None:
            hint = "make or mount it there, or take it out of runtime.binds"
            yield Finding("slurm.binds", machine.name, path, "does not exist", hint=hint)


def runtime(machine: Machine, facts: Facts, cluster: Cluster) -> Iterator[Finding]:
    """An ordinary user's job can start an image there; if not, it says what the job itself would. Where there is no
    Apptainer, programs.installed has said so."""
    if not cluster.slurm.container or not machine.host.programs["apptainer"]:
        return
    found = machine.host.runtime
    if found is None:
        yield Finding("slurm.runtime", machine.name, CONTAINER_RUN, "does not exist", hint="run phase 1 again")
    elif found.exit != 0:
        hint = "allow user namespaces there, or install a setuid Apptainer; for other reasons run phase 1 again"
        yield Finding("slurm.runtime", machine.name, "jobs", excerpt(found.says), hint=hint)


def asked(facts: Facts) -> SlurmFacts:
    """Slurm's view. Raises LookupError when nobody asked for it."""
    if facts.slurm is None:
        raise LookupError("Slurm was not asked")
    return facts.slurm
