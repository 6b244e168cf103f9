"""What a lab's machines find when they start, and the files by which the workstation reaches them."""

from __future__ import annotations

import os
import secrets
import shutil
import string
from collections.abc import Mapping
from importlib import resources
from pathlib import Path
from shlex import join
from typing import Any

from ..core import documents
from ..core.nodeset import fold
from ..transports.process import run_process
from .site import Site
from .state import LabState

ACCOUNTS = {"admin": 2000, "alice": 2001}  # the uids that files/setup-image.sh gives
PYTHON = "/opt/python"
"""Where a machine finds the Python that its site wants."""


def accounts(site: Site) -> dict[str, int]:
    """Every user of a site, and the uid."""
    return ACCOUNTS | {name: uid for uid, name in enumerate(site.users, start=max(ACCOUNTS.values()) + 1)}


def write_files(state: LabState) -> None:
    """Keys, known_hosts and configuration; each machine gets a directory with what is its own."""
    site = state.site
    shutil.rmtree(state.directory, ignore_errors=True)
    state.directory.mkdir(parents=True, mode=0o700)
    root_key, host_key = state.directory / f"root_{site.key}", f"ssh_host_{site.key}_key"
    make_key(state.key, site.key, f"lab {state.name}")
    make_key(root_key, site.key, f"root@{state.controller}")
    login = public_half(state.key)
    from_controller = public_half(root_key)
    known = ""
    shared = {
        "munge.key": secrets.token_bytes(1024),
        "init.sh": resources.files(__package__).joinpath("files", "init.sh").read_bytes(),
        "slurm.conf": slurm_conf(state).encode(),
        "gres.conf": b"AutoDetect=off\nName=gpu File=/dev/lab-gpu[0-3]\n",
        "cgroup.conf": b"CgroupPlugin=disabled\n",
    }
    for machine in state.machines:
        own = state.directory / "machines" / machine
        own.mkdir(parents=True, mode=0o700)
        for name, data in shared.items():
            (own / name).write_bytes(data)
        make_key(own / host_key, site.key, machine)
        known += f"{names_in_known_hosts(site, machine)} {public_half(own / host_key)}"
        (own / "authorized_keys").write_text(login + from_controller * (site.role(machine) == "nodes"))
        (own / "role").write_text(f"{site.role(machine)}\n")
        write_site(site, machine, own)
    for machine in state.machines:
        (state.directory / "machines" / machine / "ssh_known_hosts").write_text(known)
    shutil.copy(root_key, state.directory / "machines" / state.controller / f"id_{site.key}")
    (state.directory / "known_hosts").write_text(known)
    write_homes(state, login, from_controller)


def write_site(site: Site, machine: str, own: Path) -> None:
    """What a site says of a machine: its sshd's lines, its files, and a script that puts all in place."""
    port = site.port(machine)
    (own / "sshd.conf").write_text((f"Port {port}\n" if port != 22 else "") + site.lines(site.sshd, machine))
    (own / "files").mkdir()
    script = [account(site, user, uid) for user, uid in accounts(site).items()]
    for number, file in enumerate(one for one in site.files if one.on in site.keys(machine)):
        (own / "files" / str(number)).write_text(file.text)
        mode = ["-m", f"{file.mode:04o}", "-o", file.owner]
        script.append(join(["install", "-D", *mode, f"/lab/files/{number}", file.path]))
    if version := site.python(machine):
        script.append(f"echo {PYTHON}/lib > /etc/ld.so.conf.d/python.conf && ldconfig")
        script.append(f"ln -sf {PYTHON}/bin/python{version} /usr/bin/python3")
    (own / "site.sh").write_text("\n".join([*script, site.lines(site.start, machine)]))


def account(site: Site, user: str, uid: int) -> str:
    """The command that makes an account, or moves the home of one that is there."""
    home = ["--home-dir", f"{site.home}/{user}"]
    add = ["useradd", "--no-create-home", "--uid", str(uid), *home, "--shell", "/bin/bash", user]
    return f"if id {user} >/dev/null 2>&1; then {join(['usermod', '--home', home[1], user])}; else {join(add)}; fi"


def write_homes(state: LabState, login: str, from_controller: str) -> None:
    """The homes, shared by all machines as on a real cluster. Root on the controller can log in at nodes as the site's
    `login`, too."""
    for user, uid in accounts(state.site).items():
        ssh = state.directory / "home" / user / ".ssh"
        ssh.mkdir(parents=True)
        (ssh / "authorized_keys").write_text(login + from_controller * (user == state.site.login))
        for path in (ssh.parent, ssh, ssh / "authorized_keys"):
            os.chown(path, uid, uid)
            path.chmod(0o600 if path.is_file() else 0o700)
    state.directory.joinpath("home").chmod(0o755)


def make_key(path: Path, kind: str, comment: str) -> None:
    argv = ["ssh-keygen", "-q", "-t", kind, "-N", "", "-C", comment, "-f", str(path)]
    run_process("this machine", argv, timeout=30).check()


def public_half(key: Path) -> str:
    return key.with_name(f"{key.name}.pub").read_text()


def in_known_hosts(name: str, port: int) -> str:
    """A host as known_hosts has it, sshd(8)."""
    return name if port == 22 else f"[{name}]:{port}"


def all_names(site: Site, machine: str) -> list[str]:
    """The names by which the others know a machine."""
    return [machine, *([f"{machine}.{site.domain}"] if site.domain and "." not in machine else [])]


def names_in_known_hosts(site: Site, machine: str) -> str:
    return ",".join(in_known_hosts(name, site.port(machine)) for name in all_names(site, machine))


def render(template: str, **values: object) -> str:
    return string.Template(resources.files(__package__).joinpath("templates", template).read_text()).substitute(values)


def slurm_conf(state: LabState) -> str:
    return render("slurm.conf", lab=state.name, controller=state.controller, nodes=node_lines(state)) + state.site.slurm


def node_lines(state: LabState) -> str:
    """Nodes as slurm.conf(5) has them: one line where all are called as their hosts are."""
    cpus = max(8, (os.cpu_count() or 1) + 4)
    names = {fold(state.nodes): ""}
    if any(name != host.partition(".")[0] for host, name in state.slurm_names.items()):
        names = {
            name: f" NodeAddr={host} NodeHostname={host.partition('.')[0]}" for host, name in state.slurm_names.items()
        }
    return "\n".join(
        f"NodeName={name}{where} CPUs={cpus} RealMemory=65536 Gres=gpu:4 State=UNKNOWN" for name, where in names.items()
    )


def ssh_config(state: LabState, address: str) -> str:
    """ssh_config for people at this machine: *address* is where they go in, everything else lies behind it."""
    site = state.site
    first = site.gate or state.controller
    hosts = ""
    for machine in state.machines:
        through = {state.controller: f"ProxyJump {first}", first: f"HostName {address}"}
        hosts += f"Host {machine}\n    {through.get(machine, f'ProxyJump {state.controller}')}\n"
        hosts += f"    Port {site.port(machine)}\n"
    return hosts + render("ssh_config", directory=state.directory, login=site.login, key=state.key)


def write_cluster_file(state: LabState, addresses: Mapping[str, str]) -> None:
    """An ordinary cluster file, which every other command reads."""
    site = state.site
    reached = [machine for machine in (state.controller, site.gate) if machine]
    known = state.directory / "known_hosts"
    host_key = f"ssh_host_{site.key}_key"
    with known.open("a") as file:
        for machine in reached:
            name = in_known_hosts(addresses[machine], site.port(machine))
            file.write(f"{name} {public_half(state.directory / 'machines' / machine / host_key)}")
    (state.directory / "ssh_config").write_text(ssh_config(state, addresses[reached[-1]]))
    controller = {
        "name": state.controller,
        "host": addresses[state.controller],
        "user": site.login,
        "key": str(state.key),
    }
    if site.port(state.controller) != 22:
        controller["port"] = str(site.port(state.controller))
    if site.gate:
        controller["jump"] = f"{site.login}@{addresses[site.gate]}:{site.port(site.gate)}"
    cluster: dict[str, Any] = {
        "controller": controller,
        "nodes": "slurm",
        "slurm": {"run_as": "alice"},
        "ssh": {"known_hosts": str(known)},
    }
    for name, part in site.cluster.items():
        before = cluster.get(name)
        cluster[name] = {**before, **part} if isinstance(before, Mapping) and isinstance(part, Mapping) else part
    state.cluster_file.write_text(documents.dump(cluster))
