"""ssh(1): the options with which any machine is reached, and why one could not be.

Host keys are always checked, and nobody is ever asked for anything.
"""

from __future__ import annotations

import shlex
from collections.abc import Sequence

from ..core.errors import Unreachable
from ..core.model import Cluster
from ..core.names import last_line
from ..core.routes import Jump, Route

STRICT = ["ssh", "-T", "-o", "BatchMode=yes", "-o", "StrictHostKeyChecking=yes"]


def ssh_options(cluster: Cluster) -> list[str]:
    """`ssh` and every option with which the controller is reached; the role's inventory jumps through it likewise."""
    options = [*STRICT, "-o", f"ConnectTimeout={cluster.ssh.connect_timeout}"]
    options += ["-o", "ServerAliveInterval=5", "-o", "ServerAliveCountMax=3"]
    if cluster.ssh.config:
        options += ["-F", str(cluster.ssh.config)]
    if cluster.ssh.known_hosts:
        options += ["-o", f"UserKnownHostsFile={cluster.ssh.known_hosts}", "-o", "GlobalKnownHostsFile=none"]
    if cluster.controller.key:
        options += ["-i", str(cluster.controller.key), "-o", "IdentitiesOnly=yes"]
    if cluster.controller.jump:
        # Not -J: ssh gives the options of its own command line to the last hop only, ssh(1).
        jump = cluster.controller.jump
        port = ["-p", str(jump.port)] if jump.port else []
        options += ["-o", f"ProxyCommand={shlex.join([*options, *port, '-W', '[%h]:%p', jump.destination])}"]
    return [*options, *(["-p", str(cluster.controller.port)] if cluster.controller.port else [])]


def destination(cluster: Cluster) -> str:
    """`user@host` of the controller."""
    return f"{cluster.controller.user}@{cluster.controller.host}"


def typed_by_hand(cluster: Cluster) -> str:
    """What a person types after `ssh` to come to the controller the same way."""
    one = cluster.controller
    given = (("-F", cluster.ssh.config), ("-i", one.key), ("-p", one.port), ("-J", one.jump))
    words = [word for option, value in given if value for word in (option, str(value))]
    return shlex.join([*words, destination(cluster)])


def ssh_to_node(node: str, route: Route, connect_timeout: int, options: Sequence[str] = ()) -> list[str]:
    """ssh from the controller to a *node*, which a command may follow, begun with `route.as_root`; one that freezes is
    given up after 1.5 times *connect_timeout* (seconds). What the *route* leaves open, the controller's ssh_config says
    of that name.
    """
    return [*options_for_node(route, connect_timeout), *options, f"{route.user}@{node}"]


def options_for_node(route: Route, connect_timeout: int) -> list[str]:
    """`ssh` and the options for a node of this *route*."""
    # Three questions without an answer, ssh_config(5): ServerAliveInterval.
    alive = ["-o", f"ServerAliveInterval={max(1, connect_timeout // 2)}", "-o", "ServerAliveCountMax=3"]
    options = [*STRICT, "-o", "ControlPath=none", "-o", f"ConnectTimeout={connect_timeout}", *alive]
    # Not the address in the name's place: what ssh_config says of the name holds, too.
    options += ["-o", f"HostName={route.address}"] if route.address else []
    options += ["-p", str(route.port)] if route.port else []
    return options + (["-o", f"ProxyCommand={through(route.jump)}"] if route.jump else [])


def through(jump: Jump) -> str:
    """The command by which ssh goes through a machine. Not -J, by which that one could ask whoever is at a terminal.

    In double quotes, as rsync takes it apart, and any shell of root: some see a pattern in [ and ].
    """
    port = f" -p {jump.port}" if jump.port else ""
    return f'{" ".join(STRICT)} -o ControlPath=none{port} -W "[%h]:%p" {jump.destination}'


NOT_PASSED_ON = "the machine in front cannot reach it: its name, its port, its sshd?"
REASONS = (
    ("host key changed", "REMOTE HOST IDENTIFICATION HAS CHANGED"),
    ("host key is not known", "Host key verification failed"),
    ("login refused", "Permission denied"),
    ("connection refused", "Connection refused"),
    ("no answer in time", "timed out"),
    ("no answer in time", "not responding"),
    ("no route", "No route to host"),
    ("name is not known", "Could not resolve hostname"),
    # Of a machine behind another: what that one found out, only its own connection is told.
    (NOT_PASSED_ON, "UNKNOWN port 65535"),
)


def says_unreachable(stderr: str) -> bool:
    """Whether ssh says in words of its own that it did not reach a machine."""
    return any(sign in stderr for _, sign in REASONS)


def unreachable_reason(stderr: str) -> str:
    """Why ssh could not reach a machine, in words that are the same for every node with the same trouble."""
    for reason, sign in REASONS:
        if sign in stderr:
            return reason
    return last_line(stderr, "ssh failed and said nothing")


def unreachable(where: str, stderr: str, target: str) -> Unreachable:
    """The error for a machine that ssh(1) could not reach as *target*, with what to do about it."""
    reason = unreachable_reason(stderr)
    return Unreachable(reason, where=where, hint=hint_for(reason, target))


def hint_for(reason: str, target: str) -> str:
    """What to do about a *reason*: to try the same by hand, where nothing better is known."""
    return HINTS.get(reason, "try: ssh -v {target} true").format(target=target)


HINTS = {
    "host key changed": "if the host was reinstalled, replace its key in known_hosts; "
    "otherwise this may be a man-in-the-middle attack",
    "host key is not known": "log in once by hand (ssh {target}) and compare the fingerprint, or set ssh.known_hosts",
    "login refused": "is the key right, and is it in that user's authorized_keys?",
    "name is not known": "check controller.host in the cluster file",
}
