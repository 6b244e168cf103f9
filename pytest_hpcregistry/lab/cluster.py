"""Starting, finding and removing a lab."""

from __future__ import annotations

import ipaddress
import shutil
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace

from ..core.cache import only_one
from ..core.errors import HpcRegistryError, UsageError
from ..core.nodeset import fold
from . import image, links, pythons, site
from .configuration import PYTHON, all_names, write_cluster_file, write_files
from .podman import execute, podman, require
from .state import LabState, load, new, save, state_directory

READY_TIMEOUT = 90  # seconds until every node is idle
READY = {"idle", "mix", "alloc", "comp"}  # a node that runs somebody's job is as good as an idle one
LABEL = "hpcregistry.lab"
Steps = Callable[[str, float], None]


def up(
    name: str,
    nodes: int | None = None,
    *,
    on_step: Steps,
    mirror: str | None = None,
    link_mbit: int | None = None,
    site_name: str | None = None,
) -> LabState:
    """Start a lab of *nodes* compute nodes, or find it running. *on_step* gets each step that is done, and its seconds.

    *nodes* None is as many as the site has by default, *site_name* None the site that the lab of this name has, or the
    demo's. *mirror* is where the node image comes from when it must be built; None asks this machine's apt. Every link
    is limited to *link_mbit* Mbit/s in both directions; 0 is no limit, None what the lab of this name had. Raises
    UsageError when something is missing here or the running lab has another size or site.
    """
    require()
    present = load(name)
    limit = link_mbit if link_mbit is not None else present.link_mbit if present else 0
    shape = site.load(site_name) if site_name else present.site if present else site.load(site.DEMO)
    wanted = replace(new(name, nodes, shape), link_mbit=limit)
    if limit:
        links.require()
    if present and is_running(present):
        refuse_another(present, wanted)
        with step(on_step, "found the lab running, every node ready"):
            if not wanted.site.running:  # a site that keeps nodes busy, or off, has no such state
                wait_until_ready(present, READY)
        if limit or present.link_mbit:  # again, too: a machine that was started again has a new link
            limit_links(wanted, on_step)
            save(wanted)
        return wanted
    if present:
        with step(on_step, "removed what was left of a lab that no longer runs"):
            remove(present)
    else:
        remove(wanted)  # an `up` that was killed left containers, but no record of the lab
    with only_one("node-image"):
        if not image.exists(shape.debian):
            with step(on_step, "built the node image (kept for the next time)"):
                image.build(shape.debian, mirror)
    try:
        start(wanted, on_step)
    except BaseException:
        remove(wanted)
        raise
    return wanted


def refuse_another(present: LabState, wanted: LabState) -> None:
    """Raise UsageError when the lab that runs is not the one that is wanted."""
    hint = f"first: hpc-container-manager lab down --name {present.name}"
    if present.site.name != wanted.site.name:
        raise UsageError(f"lab {present.name} runs as the site {present.site.name}, not {wanted.site.name}", hint=hint)
    if present.nodes != wanted.nodes:
        raise UsageError(f"lab {present.name} runs with {len(present.nodes)} nodes, not {len(wanted.nodes)}", hint=hint)


@contextmanager
def step(on_step: Steps, text: str) -> Iterator[None]:
    began = time.monotonic()
    yield
    on_step(text, time.monotonic() - began)


def start(state: LabState, on_step: Steps) -> None:
    with step(on_step, "made keys and configuration"):
        write_files(state)
    with step(on_step, f"started {state.controller} and {fold(state.machines[1:])}"):
        addresses = create_network(state)
        write_cluster_file(state, addresses)
        with ThreadPoolExecutor(max_workers=4) as pool:
            list(pool.map(lambda machine: run_container(state, machine, addresses), state.machines))
    with step(on_step, "every node idle in Slurm"):
        wait_until_ready(state, {"idle"})
    if state.site.running:
        with step(on_step, f"made it as busy as the site {state.site.name} is"):
            execute(state.container(state.controller), ["sh", "-euc", state.site.running], timeout=300).check()
    if state.link_mbit:
        limit_links(state, on_step)
    save(state)


def limit_links(state: LabState, on_step: Steps) -> None:
    rate = f"limited every link to {state.link_mbit} Mbit/s" if state.link_mbit else "lifted the limit of every link"
    with step(on_step, rate):
        links.limit([*links.find(state).values()], state.link_mbit)


def is_running(state: LabState) -> bool:
    """Whether all of the lab's containers run; after a reboot none does."""
    listed = podman("ps", "--format", "{{.Names}}").stdout.split()
    return all(state.container(machine) in listed for machine in state.machines)


def status(name: str) -> LabState:
    """The running lab. Raises UsageError when there is none of that name, or when it no longer runs."""
    require()
    state = load(name)
    if state is None or not is_running(state):
        raise UsageError(f"there is no running lab {name!r}", hint=f"hpc-container-manager lab up --name {name}")
    return state


def down(name: str) -> None:
    """Remove the lab's containers, network and files. What is not there any more is no error."""
    require()
    remove(load(name) or LabState(name, state_directory(name), ()))


def remove(state: LabState) -> None:
    # By label: of an `up` that was killed nobody knows which machines there are.
    own = podman("ps", "--all", "--quiet", "--filter", f"label={LABEL}={state.name}").check().stdout.split()
    if own:
        podman("rm", "--force", "--time", "0", "--volumes", *own).check()
    if podman("network", "exists", state.network).exit_code == 0:
        podman("network", "rm", "--force", state.network).check()
    if state.directory.exists():
        shutil.rmtree(state.directory)


def create_network(state: LabState) -> dict[str, str]:
    """A network of the lab's own; returns each machine's address on it.

    They are fixed: a machine that is started again must not come back with another one, slurmctld would not learn it.
    """
    podman("network", "create", state.network).check()
    shown = podman("network", "inspect", "--format", "{{(index .Subnets 0).Subnet}}", state.network).check().stdout
    _gateway, *hosts = ipaddress.ip_network(shown.strip()).hosts()
    return {machine: str(host) for machine, host in zip(state.machines, hosts, strict=False)}


def run_container(state: LabState, machine: str, addresses: Mapping[str, str]) -> None:
    """Start a machine. It knows the others by /etc/hosts: questions to a DNS server get lost on a link that is full."""
    directory = state.directory
    version = state.site.python(machine)
    podman(
        "run",
        "--detach",
        "--privileged",
        f"--name={state.container(machine)}",
        f"--label={LABEL}={state.name}",
        f"--hostname={machine}",
        f"--network={state.network}",
        f"--ip={addresses[machine]}",
        *(
            f"--add-host={name}:{address}"
            for other, address in addresses.items()
            if other != machine
            for name in all_names(state.site, other)
        ),
        f"--network-alias={machine}",
        f"--volume={directory}/machines/{machine}:/lab:ro",
        f"--volume={directory}/home:{state.site.home}",
        *([f"--volume={pythons.find(version)}:{PYTHON}:ro"] if version else []),
        image.name(state.site.debian),
        "tini",
        "--",
        "sh",
        "/lab/init.sh",
    ).check()


def wait_until_ready(state: LabState, ready: set[str]) -> None:
    """Return when sinfo shows every node in a state of *ready*. Raises HpcRegistryError with a daemon's last words."""
    deadline = time.monotonic() + READY_TIMEOUT
    while True:
        shown = execute(state.container(state.controller), ["sinfo", "-h", "-N", "-o", "%N %t"]).stdout.split()
        states = dict(zip(shown[::2], shown[1::2], strict=False))
        late = [host for host, name in state.slurm_names.items() if states.get(name) not in ready]
        if not late:
            return
        if time.monotonic() > deadline:
            told = ", ".join(f"{host} {states.get(state.slurm_names[host], 'unknown to Slurm')}" for host in late)
            words = last_words(state, state.controller, "slurmctld.log") + last_words(state, late[0], "slurmd.log")
            raise HpcRegistryError(
                f"lab {state.name}: after {READY_TIMEOUT} s not every node is idle: {told}\n{words}",
                hint=f"hpc-container-manager lab down --name {state.name}, then lab up again",
            )
        time.sleep(0.5)


def last_words(state: LabState, machine: str, log: str) -> str:
    """The end of a daemon's log, or what Podman says when the machine no longer runs."""
    shown = execute(state.container(machine), ["tail", "-n", "5", f"/var/log/slurm/{log}"])
    return f"{machine}, {log}:\n{shown.stdout or shown.stderr}"
