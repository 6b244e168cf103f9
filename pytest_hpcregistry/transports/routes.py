"""How the controller reaches its nodes: what its own ssh_config says, and Slurm.

The cluster file's `nodes` wins (core/routes.py), field by field. Then it is ssh_config, as `ssh -G NODE` prints it. A
name that neither gives an address nor resolves is one of Slurm's alone: its NodeAddr, or its NodeHostName. Slurm's Port
is slurmd's, and says nothing of sshd.
"""

from __future__ import annotations

import shlex
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from ..core.fields import read_host, read_port
from ..core.routes import NodeRoute, Route, configured_route
from . import CommandResult
from .ssh import STRICT, through

SLURM_TIMEOUT = 20  # seconds; scontrol itself gives up on a dead slurmctld after MessageTimeout, 10 s by default
SSH_PORT = 22
SECONDS_EACH = 0.5  # for one node, at the most; some 20 ms were seen
# Nothing is changed, and no node is asked.
SLURM_SAYS = f"""\
timeout {SLURM_TIMEOUT} scontrol --oneliner show nodes 2>/dev/null </dev/null | awk '
    $1 ~ /^NodeName=/ {{
        address = host = "-"
        for (i = NF; i > 1; i--) {{
            if ($i ~ /^NodeAddr=./) address = substr($i, 10)
            if ($i ~ /^NodeHostName=./) host = substr($i, 14)
        }}
        print "slurm", substr($1, 10), address, host
    }}'
"""
SSH_SAYS = """\
while read -r node; do
    echo "node $node"
    ssh -G -l root "$node" 2>/dev/null </dev/null
    getent ahosts "$node" >/dev/null 2>&1 </dev/null && echo resolves
done | grep -E '^(node|hostname|port|proxyjump|proxycommand|resolves)( |$)'
exit 0
"""
"""Reads the nodes' names, a line each."""

Hosts = Mapping[str, tuple[str, ...]]
"""NodeAddr and NodeHostName, by NodeName."""
Run = Callable[[Sequence[str], bytes, float], CommandResult]
"""Runs an argv as root on the controller, with this standard input, within so many seconds."""


@dataclass(frozen=True)
class Seen:
    """What the controller says of a node: ssh_config's words, whether the name resolves, and Slurm's other names."""

    words: Mapping[str, str]
    resolves: bool
    slurm: tuple[str, ...]


def find_routes(
    run: Run, nodes: Sequence[str], routes: Sequence[NodeRoute] = (), slurm: Hosts | None = None
) -> dict[str, Route]:
    """The route of each node, by one command on the controller. *slurm* is what Slurm says, if it has been asked.

    Raises CommandFailed, and what *run* raises.
    """
    script = SSH_SAYS if slurm is not None else SLURM_SAYS + SSH_SAYS
    names = "".join(f"{node}\n" for node in nodes).encode()
    said = run(["env", "LC_ALL=C", "sh", "-c", script], names, 2 * SLURM_TIMEOUT + SECONDS_EACH * len(nodes)).check()
    seen = read_seen(said.stdout.splitlines(), slurm if slurm is not None else read_slurm(said.stdout.splitlines()))
    return {node: route(node, configured_route(node, routes), seen[node]) for node in nodes if node in seen}


def ask_slurm(run: Run) -> Hosts:
    """What Slurm says of all its nodes; nothing where it does not answer."""
    return read_slurm(run(["env", "LC_ALL=C", "sh", "-c", SLURM_SAYS], b"", 2 * SLURM_TIMEOUT).stdout.splitlines())


def read_slurm(lines: Iterable[str]) -> Hosts:
    """What SLURM_SAYS prints. A line of another form says nothing."""
    words = [line.split() for line in lines if line.startswith("slurm ")]
    return {one[1]: tuple(host for host in one[2:] if is_host(host)) for one in words if len(one) == 4}


def read_seen(lines: Iterable[str], slurm: Hosts) -> dict[str, Seen]:
    """What SSH_SAYS prints, by node, each with what Slurm says."""
    words: dict[str, dict[str, str]] = {}
    node = ""
    for line in lines:
        word, _, rest = line.partition(" ")
        if word == "node":
            node = rest
            words[node] = {}
        elif node:
            words[node].setdefault(word, rest)
    return {node: Seen(said, "resolves" in said, slurm.get(node, ())) for node, said in words.items()}


def is_host(text: str) -> bool:
    try:
        return bool(read_host(text))
    except ValueError:
        return False


def route(node: str, wanted: Route, seen: Seen) -> Route:
    """What is *wanted* of a node's route, and for the rest what was *seen* of it."""
    port = seen.words.get("port", "")
    proxy = proxy_of(wanted, seen.words)
    return Route(
        wanted.address or address_of(node, proxy, seen),
        wanted.port or (read_port(port) if is_other_port(port) else None),
        wanted.jump,
        proxy,
        wanted.user,
    )


def address_of(node: str, proxy: str | None, seen: Seen) -> str | None:
    """Where the node is, if its name does not say it."""
    given = seen.words.get("hostname", node)
    if given.lower() != node.lower():
        return given if is_host(given) else None
    if seen.resolves or proxy:  # a name may be known to the machine in front alone
        return None
    return next((host for host in seen.slurm if host.lower() != node.lower()), None)


def is_other_port(text: str) -> bool:
    try:
        return read_port(text) != SSH_PORT
    except ValueError:
        return False


def proxy_of(wanted: Route, words: Mapping[str, str]) -> str | None:
    """The controller's own command that connects to a node; None where it needs none."""
    if wanted.jump:
        return through(wanted.jump)
    if jumps := none_is_nothing(words.get("proxyjump", "")):
        *before, last = [one if one.startswith("ssh://") else f"ssh://{one}" for one in jumps.split(",")]
        return shlex.join([*STRICT, *(["-J", ",".join(before)] if before else []), "-W", "[%h]:%p", last])
    return none_is_nothing(words.get("proxycommand", "")) or None


def none_is_nothing(text: str) -> str:
    return "" if text == "none" else text
