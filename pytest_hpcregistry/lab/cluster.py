"""Starting, finding and removing a lab."""

from __future__ import annotations

import ipaddress
import os
import secrets
import shutil
import string
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from importlib import resources
from pathlib import Path

from ..core import documents
from ..core.cache import only_one
from ..core.errors import HpcRegistryError, UsageError
from ..core.nodeset import fold
from ..transports.process import run_process
from . import image, links
from .podman import execute, podman, require
from .state import CONTROLLER, LabState, load, new, save

READY_TIMEOUT = 90  # seconds until every node is idle
READY = {"idle", "mix", "alloc", "comp"}  # a node that runs somebody's job is as good as an idle one
ADMIN, ALICE = 2000, 2001  # the uids that files/setup-image.sh gives
Steps = Callable[[str, float], None]


def up(name: str, nodes: int, *, on_step: Steps, mirror: str | None = None, link_mbit: int | None = None) -> LabState:
    """Start a lab of *nodes* compute nodes, or find it running. *on_step* gets each step that is done, and its seconds.

    *mirror* is where the node image comes from when it must be built; None asks this machine's apt. Every link is
    limited to *link_mbit* Mbit/s in both directions; 0 is no limit, None what the lab of this name had.
    Raises UsageError when something is missing here or the running lab has another size.
    """
    require()
    present = load(name)
    limit = link_mbit if link_mbit is not None else present.link_mbit if present else 0
    wanted = replace(new(name, nodes), link_mbit=limit)
    if limit:
        links.require()
    if present and is_running(present):
        if present.nodes != wanted.nodes:
            raise UsageError(
                f"lab {name} runs with {len(present.nodes)} nodes, not {nodes}",
                hint=f"first: hpc-container-manager lab down --name {name}",
            )
        with step(on_step, "found the lab running, every node ready"):
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
        if not image.exists():
            with step(on_step, "built the node image (kept for the next time)"):
                image.build(mirror)
    try:
        start(wanted, on_step)
    except BaseException:
        remove(wanted)
        raise
    return wanted


@contextmanager
def step(on_step: Steps, text: str) -> Iterator[None]:
    began = time.monotonic()
    yield
    on_step(text, time.monotonic() - began)


def start(state: LabState, on_step: Steps) -> None:
    with step(on_step, "made keys and configuration"):
        write_files(state)
    with step(on_step, f"started {CONTROLLER} and {fold(state.nodes)}"):
        addresses = create_network(state)
        write_cluster_file(state, addresses[CONTROLLER])
        with ThreadPoolExecutor(max_workers=4) as pool:
            list(pool.map(lambda machine: run_container(state, machine, addresses), state.machines))
    with step(on_step, "every node idle in Slurm"):
        wait_until_ready(state, {"idle"})
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
        raise UsageError(f"there is no running lab {name!r}", hint="hpc-container-manager lab up")
    return state


def down(name: str) -> None:
    """Remove the lab's containers, network and files. What is not there any more is no error."""
    require()
    remove(load(name) or new(name, 0))


def remove(state: LabState) -> None:
    prefix = f"hpcregistry-{state.name}-"
    listed = podman("ps", "--all", "--format", "{{.Names}}").check().stdout.split()
    # Another lab may be called NAME-2: only this lab's own machines follow the prefix.
    own = [name for name in listed if name.startswith(prefix) and is_machine(name[len(prefix) :])]
    if own:
        podman("rm", "--force", "--time", "0", "--volumes", *own).check()
    if podman("network", "exists", state.network).exit_code == 0:
        podman("network", "rm", "--force", state.network).check()
    if state.directory.exists():
        shutil.rmtree(state.directory)


def is_machine(name: str) -> bool:
    return name == CONTROLLER or (name[:1] == "c" and name[1:].isdigit())


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
    podman(
        "run",
        "--detach",
        "--privileged",
        f"--name={state.container(machine)}",
        f"--hostname={machine}",
        f"--network={state.network}",
        f"--ip={addresses[machine]}",
        *(f"--add-host={name}:{address}" for name, address in addresses.items() if name != machine),
        f"--network-alias={machine}",
        f"--volume={directory}/machines/{machine}:/lab:ro",
        f"--volume={directory}/home:/home",
        image.name(),
        "tini",
        "--",
        "sh",
        "/lab/init.sh",
    ).check()


def write_files(state: LabState) -> None:
    """Keys, known_hosts and configuration; each machine gets a directory with what is its own."""
    shutil.rmtree(state.directory, ignore_errors=True)
    state.directory.mkdir(parents=True, mode=0o700)
    make_key(state.directory / "id_ed25519", f"lab {state.name}")
    make_key(state.directory / "root_ed25519", f"root@{CONTROLLER}")
    login = (state.directory / "id_ed25519.pub").read_text()
    from_controller = (state.directory / "root_ed25519.pub").read_text()
    known: list[str] = []
    shared = {
        "munge.key": secrets.token_bytes(1024),
        "init.sh": resources.files(__package__).joinpath("files", "init.sh").read_bytes(),
        "slurm.conf": render("slurm.conf", state).encode(),
        "gres.conf": b"AutoDetect=off\nName=gpu File=/dev/lab-gpu[0-3]\n",
        "cgroup.conf": b"CgroupPlugin=disabled\n",
    }
    for machine in state.machines:
        own = state.directory / "machines" / machine
        own.mkdir(parents=True, mode=0o700)
        for name, data in shared.items():
            (own / name).write_bytes(data)
        make_key(own / "ssh_host_ed25519_key", machine)
        known.append(f"{machine} {(own / 'ssh_host_ed25519_key.pub').read_text()}")
        (own / "authorized_keys").write_text(login if machine == CONTROLLER else login + from_controller)
    for machine in state.machines:
        (state.directory / "machines" / machine / "ssh_known_hosts").write_text("".join(known))
    controller = state.directory / "machines" / CONTROLLER
    shutil.copy(state.directory / "root_ed25519", controller / "id_ed25519")
    (controller / "is-controller").touch()
    (state.directory / "known_hosts").write_text("".join(known))
    write_homes(state, login)


def write_homes(state: LabState, login: str) -> None:
    """/home, shared by all machines as on a real cluster."""
    for user, uid in (("admin", ADMIN), ("alice", ALICE)):
        ssh = state.directory / "home" / user / ".ssh"
        ssh.mkdir(parents=True)
        (ssh / "authorized_keys").write_text(login)
        for path in (ssh.parent, ssh, ssh / "authorized_keys"):
            os.chown(path, uid, uid)
            path.chmod(0o600 if path.is_file() else 0o700)
    state.directory.joinpath("home").chmod(0o755)


def make_key(path: Path, comment: str) -> None:
    run_process(
        "this machine", ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", comment, "-f", str(path)], timeout=30
    ).check()


def render(template: str, state: LabState, **more: str) -> str:
    text = resources.files(__package__).joinpath("templates", template).read_text()
    return string.Template(text).substitute(
        lab=state.name,
        nodes=" ".join(state.nodes),
        nodeset=fold(state.nodes),
        directory=state.directory,
        cpus=max(8, (os.cpu_count() or 1) + 4),
        **more,
    )


def write_cluster_file(state: LabState, address: str) -> None:
    """An ordinary cluster file, which every other command reads. *address* is the controller's."""
    known = state.directory / "known_hosts"
    by_name = known.read_text()
    key = next(line for line in by_name.splitlines() if line.startswith(f"{CONTROLLER} ")).split(" ", 1)[1]
    known.write_text(f"{by_name}{address} {key}\n")
    (state.directory / "ssh_config").write_text(render("ssh_config", state, address=address))
    cluster = {
        "controller": {"name": CONTROLLER, "host": address, "user": "root", "key": str(state.directory / "id_ed25519")},
        "nodes": "slurm",
        "slurm": {"run_as": "alice"},
        "ssh": {"known_hosts": str(known)},
    }
    state.cluster_file.write_text(documents.dump(cluster))


def wait_until_ready(state: LabState, ready: set[str]) -> None:
    """Return when sinfo shows every node in a state of *ready*. Raises HpcRegistryError with a daemon's last words."""
    deadline = time.monotonic() + READY_TIMEOUT
    while True:
        shown = execute(state.container(CONTROLLER), ["sinfo", "-h", "-N", "-o", "%N %t"]).stdout.split()
        states = dict(zip(shown[::2], shown[1::2], strict=False))
        late = [node for node in state.nodes if states.get(node) not in ready]
        if not late:
            return
        if time.monotonic() > deadline:
            told = ", ".join(f"{node} {states.get(node, 'unknown to Slurm')}" for node in late)
            words = last_words(state, CONTROLLER, "slurmctld.log") + last_words(state, late[0], "slurmd.log")
            raise HpcRegistryError(
                f"lab {state.name}: after {READY_TIMEOUT} s not every node is idle: {told}\n{words}",
                hint=f"hpc-container-manager lab down --name {state.name}, then lab up again",
            )
        time.sleep(0.5)


def last_words(state: LabState, machine: str, log: str) -> str:
    """The end of a daemon's log, or what Podman says when the machine no longer runs."""
    shown = execute(state.container(machine), ["tail", "-n", "5", f"/var/log/slurm/{log}"])
    return f"{machine}, {log}:\n{shown.stdout or shown.stderr}"
