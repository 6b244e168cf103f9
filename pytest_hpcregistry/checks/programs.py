"""What phase 1 installs, and what it needs: programs, agent, log."""

from __future__ import annotations

from collections.abc import Iterator

from ..core.facts import Facts, Machine
from ..core.layout import AGENT, CONFIG, CONTAINER_RUN, LAUNCHER, LIBRARY, PROGRAM_FILE, RUNTIME, inside
from ..core.model import Cluster
from .finding import Finding, compare

NEEDED = ("python3", "rsync", "apptainer")


def set_up(machine: Machine, facts: Facts, cluster: Cluster) -> Iterator[Finding]:
    """Anything of phase 1 is on the controller. Where nothing is, whatever else is found follows from that."""
    first = (LAUNCHER, PROGRAM_FILE, inside(cluster.registry.path, CONFIG))
    if all(facts.controller.path(path) is None for path in first):
        hint = "hpc-container-manager registry setup"
        yield Finding("programs.set_up", facts.controller.name, "", "phase 1 has not been run", hint=hint)


def controller_program(machine: Machine, facts: Facts, cluster: Cluster) -> Iterator[Finding]:
    yield from compare("programs.controller_program", machine, LAUNCHER, "file 0755 root")
    yield from compare("programs.controller_program", machine, PROGRAM_FILE, "file 0644 root")


def agent(machine: Machine, facts: Facts, cluster: Cluster) -> Iterator[Finding]:
    """The controller's own, and nobody but root can change it: it is run as root."""
    found, own = machine.path(AGENT), facts.controller.path(AGENT)
    if found is None:
        yield Finding("programs.agent", machine.name, AGENT, "does not exist")
        return
    if found.owner != "root" or int(found.mode, 8) & 0o022:
        yield Finding("programs.agent", machine.name, AGENT, f"{found.mode} {found.owner}", "only root's to change")
    if own is None or found.size != own.size:
        yield Finding("programs.agent", machine.name, AGENT, "is not the controller's: another version?")


def guarded(machine: Machine, facts: Facts, cluster: Cluster) -> Iterator[Finding]:
    """What starts an image, for root too, is there, and nobody but root can change it."""
    paths = [LIBRARY]
    if cluster.slurm.container:
        paths += [CONTAINER_RUN, RUNTIME, f"{cluster.slurm.conf_dir}/oci.conf"]
    for path in paths:
        found = machine.path(path)
        if found is None:
            yield Finding("programs.guarded", machine.name, path, "does not exist")
            continue
        mode = int(found.mode, 8)
        if found.owner != "root" or mode & 0o022:
            shown = f"{found.mode} {found.owner}"
            yield Finding(
                "programs.guarded",
                machine.name,
                path,
                shown,
                "only root's to change",
                f"chown root {path} && chmod go-w {path}",
            )
        if path == CONTAINER_RUN and mode & 0o555 != 0o555:
            yield Finding("programs.guarded", machine.name, path, found.mode, "executable by everybody")


def installed(machine: Machine, facts: Facts, cluster: Cluster) -> Iterator[Finding]:
    for program in NEEDED:
        version = machine.host.programs[program]
        if version is None:
            hint = f"install {program} there"
            yield Finding("programs.installed", machine.name, program, "is not installed", hint=hint)
        elif not version:
            hint = f"try it there: {program} --version"
            yield Finding("programs.installed", machine.name, program, "does not run: it prints no version", hint=hint)


def log(machine: Machine, facts: Facts, cluster: Cluster) -> Iterator[Finding]:
    yield from compare("programs.log", machine, cluster.sync.log, "file 0640 root")
