"""Phase 1: run the playbook of this package on a cluster, with the ansible-playbook of this environment."""

from __future__ import annotations

import json
import os
import re
import shutil
import sys
import tempfile
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from shlex import join
from typing import Any

from ..core.errors import UsageError
from ..core.model import Cluster
from ..core.names import NODE_NAME
from ..core.role import EARLIER_NAMES, role_variable
from ..core.routes import ROOT, Route
from ..core.settings import written
from ..transports import Transport
from ..transports.local import LocalTransport
from ..transports.openssh import find_open_connection
from ..transports.routes import SSH_PORT
from ..transports.ssh import destination, ssh_options, typed_by_hand, unreachable
from . import transcript
from .transcript import Recap
from .troubles import not_passed_on, raise_troubles

PLAYBOOK = Path(__file__).resolve().parent / "playbook-container-registry.yml"
REMOVING = PLAYBOOK.with_name("playbook-container-registry-remove.yml")
EVENTS = "events"
"""The file in a run's scratch directory that its callback plugin writes to."""
MOST_FORKS = 50
KEPT = (
    "ANSIBLE_CALLBACKS_ENABLED",
    "ANSIBLE_CALLBACK_PLUGINS",
    "ANSIBLE_COLLECTIONS_PATH",
    "ANSIBLE_LOCAL_TEMP",
    "ANSIBLE_LOG_PATH",
    "ANSIBLE_VAULT_IDENTITY_LIST",
    "ANSIBLE_VAULT_PASSWORD_FILE",
    "ANSIBLE_VERBOSITY",
)
"""Of the user's own environment for Ansible: where it notes what it does, and how files given with @ are decrypted."""
TASK_TIMEOUT = 300
"""Seconds that one task may take on one machine: a node that hangs becomes a failure of that node."""


def inventory(
    cluster: Cluster,
    nodes: Sequence[str],
    routes: Mapping[str, Route] | None = None,
    *,
    control_path: str | None = None,
    shared: str | None = None,
) -> dict[str, Any]:
    """An Ansible inventory: the controller as its file says, the nodes through it with the same key and known_hosts, by
    the *routes* by which it reaches them.

    *control_path* is the ControlPath of ssh connections to share; *shared* that of the controller's, if it is another.
    Raises UsageError without nodes, or when a name is
    none that Ansible and ssh take as just that.
    """
    if not nodes:
        raise UsageError("there is no compute node to set up", hint="look at `nodes` in the cluster file, and at sinfo")
    if odd := [name for name in [cluster.controller.name, *nodes] if not NODE_NAME.match(name)]:
        raise UsageError(f"{', '.join(map(repr, odd))} cannot be the name of a machine")
    controller = {
        "ansible_host": cluster.controller.host,
        **({"ansible_port": cluster.controller.port} if cluster.controller.port else {}),
        "ansible_ssh_common_args": join(controller_ssh(cluster, shared or control_path)[1:]),
    }
    return {
        "all": {
            "vars": {**connection(cluster), **role_variables(cluster)},
            "children": {
                "controller": {"hosts": {cluster.controller.name: controller}},
                "compute": {
                    "hosts": {
                        name: host(cluster, name, (routes or {}).get(name, Route()), control_path, shared)
                        for name in nodes
                    }
                },
            },
        }
    }


def host(
    cluster: Cluster, node: str, route: Route, control_path: str | None, shared: str | None = None
) -> dict[str, Any]:
    """A node's variables: how Ansible reaches it through the controller."""
    to_controller = controller_ssh(cluster, shared or control_path)
    if control_path and not shared:
        to_controller += ["-o", "ControlMaster=auto", "-o", "ControlPersist=60"]
    forward = ["-W", "[%h]:%p", destination(cluster)]
    if route.proxy:  # only the controller can do that: it has the keys and the names for it
        command = fill_in(route.proxy, route.address or node, route.port or SSH_PORT)
        sudo = [] if cluster.controller.user == "root" else ["sudo", "-n"]
        forward = [destination(cluster), join([*sudo, "sh", "-c", f"exec {command}"]).replace("%", "%%")]
    through = f"ProxyCommand={join([*(word.replace('%', '%%') for word in to_controller), *forward])}"
    direct = replace(cluster, controller=replace(cluster.controller, jump=None, port=route.port or SSH_PORT))
    variables: dict[str, Any] = {
        "ansible_ssh_common_args": join([*controller_ssh(direct, control_path)[1:], "-o", through])
    }
    if route.address:
        variables["ansible_host"] = route.address
    if route.port:
        variables["ansible_port"] = route.port
    if route.user != ROOT:
        variables |= {"ansible_user": route.user, "ansible_become": True}
    return variables


def fill_in(proxy: str, address: str, port: int) -> str:
    """ssh_config's ProxyCommand with what its tokens mean: %h, %n (here the same), %p, %r and %%."""
    tokens = {"h": address, "n": address, "p": str(port), "r": "root", "%": "%"}
    return re.sub("%([hnpr%])", lambda found: tokens[found[1]], proxy)


def controller_ssh(cluster: Cluster, control_path: str | None) -> list[str]:
    """`ssh` with all options for the controller."""
    return [*ssh_options(cluster), *(["-o", f"ControlPath={control_path}"] if control_path else [])]


def connection(cluster: Cluster) -> dict[str, Any]:
    """How to log in, the same on all machines. sudo gets -n from Ansible: it never asks for a password."""
    return {
        "ansible_user": cluster.controller.user,
        "ansible_become": cluster.controller.user != "root",
        # The newest that is there: /usr/bin/python3 is too old for Ansible on RHEL 8, and new enough for the agent.
        "ansible_python_interpreter": "auto_silent",
    }


def role_variables(cluster: Cluster) -> dict[str, Any]:
    """The cluster file's settings under the names that the role has for them.

    Where a name has changed it is the earlier one, which the role's default for the new one takes: so `--extra-vars`
    win over the cluster file under either. What an inventory says of the role goes to it as it was said there.
    """
    data = written(cluster)
    named = {role_variable("nodes"): data.pop("nodes")}
    named |= {role_variable(section, key): value for section, part in data.items() for key, value in part.items()}
    return {EARLIER_NAMES.get(name, name): value for name, value in named.items()} | dict(cluster.role)


def set_up(
    cluster: Cluster,
    nodes: Sequence[str],
    *,
    routes: Mapping[str, Route] | None = None,
    check: bool = False,
    diff: bool = False,
    extra_vars: Sequence[str] = (),
    on_line: Callable[[str], None] | None = None,
    transport: Transport | None = None,
    timeout: float = 3600,
    playbook: Path = PLAYBOOK,
    out_of_service: Collection[str] = (),
    look: Callable[[Mapping[str, Route]], Mapping[str, str]] = lambda _: {},
) -> Recap:
    """Run phase 1, or another *playbook*, on the controller and *nodes*; with *check* nothing is changed, only said.

    *routes* are those by which the controller reaches them. *extra_vars* are ansible-playbook's: `K=V`, JSON or @FILE.
    *on_line* is given each line that Ansible prints. *timeout* in seconds, for the whole run. Machines that work are
    finished even if others do not; *look* is asked for the reason where ssh does not tell it. Raises Unreachable for
    machines that could not be asked, but those *out_of_service*, CommandFailed for tasks that failed, both with the
    nodes folded; CommandTimeout.
    """
    here = transport or LocalTransport()
    with tempfile.TemporaryDirectory(prefix="hpcreg-") as scratch, connected(cluster, here, f"{scratch}/%C") as shared:
        hosts = Path(scratch, "inventory.json")
        found = inventory(cluster, nodes, routes, control_path=f"{scratch}/%C", shared=shared)
        found["all"]["vars"]["container_registry_out_of_service"] = sorted(out_of_service)
        hosts.write_text(json.dumps(found, indent=1))
        forks = min(len(nodes) + 1, MOST_FORKS)
        argv = ["env", *environment(scratch, cluster.ssh.connect_timeout), ansible_playbook()]
        argv += ["-i", str(hosts), str(playbook), "--forks", str(forks)]
        argv += [word for variables in extra_vars for word in ("--extra-vars", variables)]
        argv += ["--check"] * check + ["--diff"] * diff
        # With nobody who reads them, the lines are not kept either: they may be more than a result holds.
        result = here.run(argv, timeout=timeout, on_line=on_line or (lambda _: None))
        said = transcript.read(Path(scratch, EVENTS))
        reasons = look({name: (routes or {}).get(name, Route()) for name in not_passed_on(said)})
    raise_troubles(said, result, out_of_service, reasons)
    return Recap(hosts=said.hosts, seconds=result.seconds)


def take_back(
    cluster: Cluster, nodes: Sequence[str], *, tree: bool = False, extra_vars: Sequence[str] = (), **how: Any
) -> Recap:
    """Remove from the controller and *nodes* what phase 1 has made there; with *tree* the registry with all images and
    the log, too. As set_up.
    """
    variables = [*extra_vars, json.dumps({"container_registry_remove_tree": tree})]
    return set_up(cluster, nodes, extra_vars=variables, playbook=REMOVING, **how)


@contextmanager
def connected(cluster: Cluster, here: Transport, control_path: str) -> Iterator[str | None]:
    """Hold one connection to the controller for the whole run: each node is reached through it, no login each. Where
    the user has one open it is that, whose ControlPath is given.

    Raises Unreachable, before anything else is begun.
    """
    if shared := find_open_connection(cluster, partial(here.run, timeout=10)):
        yield shared
        return
    ssh, target = controller_ssh(cluster, control_path), destination(cluster)
    share = ["-o", "ControlMaster=yes", "-o", "ControlPersist=60"]
    opening = here.run([*ssh, *share, target, "true"], timeout=cluster.ssh.connect_timeout + 20)
    if opening.exit_code != 0:
        raise unreachable(cluster.controller.name, opening.stderr, typed_by_hand(cluster))
    try:
        yield None
    finally:
        here.run([*ssh, "-O", "exit", target], timeout=10)


def ansible_playbook() -> str:
    """The ansible-playbook of this environment, else the one on the PATH. Raises UsageError without either."""
    beside = Path(sys.executable).parent / "ansible-playbook"
    found = str(beside) if beside.exists() else shutil.which("ansible-playbook")
    if found is None:
        raise UsageError("there is no ansible-playbook", hint="pip install ansible-core into this environment")
    return found


def environment(scratch: str, connect_timeout: int) -> list[str]:
    """Words for env(1): `K=V` for each setting of Ansible that this run relies on, and `-u K` for every other one but
    those KEPT, so that neither a stray ansible.cfg nor the user's own environment changes what is done.
    """
    # An empty file that exists: for a missing one, or /dev/null, Ansible looks elsewhere or gives up.
    configuration = Path(scratch, "ansible.cfg")
    configuration.touch()
    settings = {
        "ANSIBLE_CONFIG": str(configuration),
        "ANSIBLE_HOME": f"{scratch}/ansible",
        "ANSIBLE_PIPELINING": "True",
        # Not ~/.ansible/tmp, which would stay behind even after --check.
        "ANSIBLE_REMOTE_TMP": "/tmp",  # noqa: S108
        "ANSIBLE_HOST_KEY_CHECKING": "True",
        "ANSIBLE_TIMEOUT": connect_timeout,
        # A connection that breaks under load ("Broken pipe") is tried again; every task can be run twice.
        "ANSIBLE_SSH_RETRIES": 3,
        "ANSIBLE_TASK_TIMEOUT": TASK_TIMEOUT,
        "ANSIBLE_STRATEGY": "linear",
        "ANSIBLE_STDOUT_CALLBACK": "default",
        "HPCREGISTRY_EVENTS": f"{scratch}/{EVENTS}",
        "ANSIBLE_NOCOLOR": "1",
        "ANSIBLE_FORCE_COLOR": "0",
        "ANSIBLE_DISPLAY_SKIPPED_HOSTS": "False",
        "ANSIBLE_LOCALHOST_WARNING": "False",
        "ANSIBLE_INVENTORY_UNPARSED_FAILED": "True",
        "ANSIBLE_RETRY_FILES_ENABLED": "False",
        "LC_ALL": "C.UTF-8",
    }
    others = [name for name in os.environ if name.startswith("ANSIBLE_") and name not in settings and name not in KEPT]
    return [word for name in others for word in ("-u", name)] + [f"{name}={value}" for name, value in settings.items()]
