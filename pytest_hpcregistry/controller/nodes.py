"""The compute nodes as the controller sees them: which there are, and how one of them is asked."""

from __future__ import annotations

import json
import pkgutil
import platform
import re
import secrets
from collections.abc import Sequence
from dataclasses import replace
from ipaddress import ip_address, ip_network
from typing import TYPE_CHECKING, Any

from ..agent.address import peers
from ..agent.forms import read_json
from ..core import layout
from ..core.errors import RUN_SETUP, CommandFailed, CommandTimeout, HpcRegistryError, Unreachable, UsageError
from ..core.fields import limit_nodes
from ..core.machine import SlurmFacts
from ..core.names import CONTROLLER, NO_NODE, NODE_NAME, excerpt, last_line, visible
from ..core.nodeset import Choice, expand, fold
from ..core.slurm_states import ASK_SLURM, FUTURE, flags, read_slurm
from ..transports.frame import for_any_shell
from ..transports.process import run_process
from ..transports.ssh import ssh_to_node, unreachable_reason
from .routes import route_to

if TYPE_CHECKING:
    from ..core.routes import Route
    from ..core.settings import Settings

HINTS = {
    "login refused": f"is the sync key authorized there? If not, {RUN_SETUP}",
    "host key is not known": RUN_SETUP,
    "host key changed": f"if the node was reinstalled, {RUN_SETUP}; otherwise somebody may be in between",
    "no answer in time": "is it up, and not too busy? See sinfo -R; sync.connect_timeout is how long a login may take",
    "name is not known": "is it a node of this cluster? See `nodes` in the cluster file, or sinfo",
}
ARCHITECTURE = re.compile(r"^NodeName=(\S+) (?:.* )?Arch=(\w+) ", re.MULTILINE)
ASK_TIMEOUT = 60  # seconds for a question that moves no image
SLURM_TIMEOUT = 20  # seconds; sinfo itself gives up on a dead slurmctld after MessageTimeout, 10 s by default


def slurm_view() -> SlurmFacts:
    """Every node that Slurm knows, its state and why. Raises Unreachable when Slurm does not answer or knows none."""
    hint = "is slurmctld running? scontrol ping"
    try:
        result = run_process("controller", ASK_SLURM, timeout=SLURM_TIMEOUT)
    except CommandTimeout:
        raise Unreachable(
            f"Slurm does not say which nodes there are: no answer in {SLURM_TIMEOUT} s", hint=hint
        ) from None
    if result.exit_code != 0:
        said = result.last_words("no answer")
        raise Unreachable(f"Slurm does not say which nodes there are: {said}", hint=hint)
    found = read_slurm(result.stdout)
    if not found.nodes:
        raise Unreachable("Slurm knows no nodes", hint="see `sinfo`, or name the nodes in the cluster file")
    return found


def ask_slurm() -> SlurmFacts:
    """As slurm_view, or why Slurm gives none."""
    try:
        return slurm_view()
    except HpcRegistryError as error:
        return SlurmFacts(error=excerpt(str(error)))


def list_nodes(configured: Sequence[str] | None, slurm: SlurmFacts | None = None) -> list[str]:
    """The nodes of the configuration, or Slurm's when there are none in it, but those of the future; never an empty
    list. *slurm* is its view, if it has been asked."""
    names = list(slurm_names(slurm or slurm_view()) if configured is None else configured)
    hostile = [name for name in names if not NODE_NAME.match(name)]
    if hostile or not names:
        raise HpcRegistryError(f"{hostile[0]!r} is not a node name" if hostile else "the list of nodes is empty")
    if CONTROLLER in names:
        raise HpcRegistryError(NO_NODE, hint="list the nodes in the cluster file, that one by its full name")
    return sorted(set(names))


def slurm_names(slurm: SlurmFacts) -> list[str]:
    if slurm.error is not None:
        raise Unreachable(slurm.error, hint="is slurmctld running? scontrol ping")
    return [name for name, state in slurm.nodes.items() if FUTURE not in flags(state)]


def choose_nodes(configured: Sequence[str] | None, choice: Choice, slurm: SlurmFacts | None = None) -> list[str]:
    """As list_nodes, but those of *choice*. Raises UsageError where it names others, or leaves none."""
    names = list_nodes(configured, slurm)
    only, exclude = (expand_chosen(text) for text in (choice.only, choice.exclude))
    unknown = sorted({*only, *exclude} - set(names))
    if unknown:
        what = f"{fold(unknown)}: no such node in this cluster{in_groups(choice)}"
        raise UsageError(what, hint=f"it has {fold(names)}")
    left = [name for name in names if (name in only or not choice.only) and name not in exclude]
    if not left:
        raise UsageError("no node is left to be asked", hint=f"the cluster has {fold(names)}")
    return left


def in_groups(choice: Choice) -> str:
    """What the groups in a choice are on this machine, for a message; nothing where there are none."""
    grouped = [text for text in (choice.only, choice.exclude) if "@" in text]
    meant = ", ".join(f"{excerpt(text)} is {fold(expand_chosen(text))}" for text in grouped)
    return f" ({meant} by the controller's groups.conf)" if meant else ""


def expand_chosen(text: str) -> set[str]:
    """The nodes of a node set, with groups; none of an empty one. Raises UsageError for one that means none."""
    try:
        limit_nodes(text)
    except ValueError as error:
        raise UsageError(str(error)) from None
    found = set(expand(text, groups=True)) if text else set()
    if text and not found:
        hint = "groups are those of ClusterShell's configuration on the controller: groups.conf(5)"
        why = ": a group there is not known, or has none" if "@" in text else ""
        raise UsageError(f"{visible(text)} means no node{why}", hint=hint)
    return found


def machines(configured: Sequence[str] | None) -> list[str]:
    """What the nodes' machines are (`uname -m`), as Slurm knows them; the controller's own where it does not."""
    try:
        told = run_process("controller", ["scontrol", "show", "nodes", "--oneliner"], timeout=SLURM_TIMEOUT).stdout
    except HpcRegistryError:
        told = ""
    known = dict(ARCHITECTURE.findall(told))
    return sorted({known[node] for node in configured or known if node in known}) or [platform.machine()]


def sync_ssh(node: str, settings: Settings, address: str | None = None) -> list[str]:
    """ssh to a node as the sync key: it can only do what the agent's `serve` allows, on nodes whose host key phase 1
    recorded. The key is that of the node's name, whatever the *address*, and the route, by which it is reached.
    """
    only = ["-o", f"UserKnownHostsFile={layout.KNOWN_HOSTS}", "-o", "GlobalKnownHostsFile=none"]
    key = ["-o", "IdentitiesOnly=yes", "-o", "IdentityAgent=none", "-i", settings.sync.key]
    route = route_to(node, settings.routes)
    if address:
        route = replace(route, address=address)
    return ssh_to_node(node, route, settings.sync.connect_timeout, [*only, *key, "-o", f"HostKeyAlias={node}"])


def check_address(node: str, address: str, settings: Settings) -> str:
    """Return the *address* that a node gives as its own, if phase 1 found it there, and in the configured network.

    Raises CommandFailed if not: a node must not send the controller, or other nodes, to somebody else.
    """
    known = peers(settings.registry.path).get(node, [])
    if address not in known:
        raise CommandFailed(
            f"gives {visible(address)[:60]} as its address, where phase 1 found {', '.join(known) or 'none'}",
            where=node,
            hint="has its address changed? hpc-container-manager registry setup",
        )
    if settings.sync.network and ip_address(address) not in ip_network(settings.sync.network):
        raise CommandFailed(f"{address} is not an address in {settings.sync.network}", where=node)
    return address


def ask_facts(node: str, request: dict[str, Any], *, route: Route, connect_timeout: int, timeout: int) -> Any:
    """Pipe the agent to *node* by the administrator's ordinary ssh, and return its facts: nothing is installed."""
    nonce = secrets.token_hex(8)
    source = pkgutil.get_data("pytest_hpcregistry", "agent/facts.py")
    start = f'PATH="$PATH:{layout.MORE_PATH}" exec python3 - facts "$@"'
    remote = for_any_shell(["sh", "-c", start, "sh", nonce, json.dumps(request)])
    argv = [*ssh_to_node(node, route, connect_timeout), *route.as_root, remote]
    return converse(node, argv, nonce, source, timeout)


def converse(node: str, argv: Sequence[str], nonce: str, stdin: bytes | None, timeout: int) -> Any:
    """Run ssh and read the agent's answer. A node that does not answer in *timeout* seconds is unreachable."""
    try:
        result = run_process(node, argv, stdin=stdin, timeout=timeout)
    except CommandTimeout:
        raise no_answer_in_time(node) from None
    return read_answer(node, nonce, result.exit_code, result.stdout, result.stderr)


def read_answer(node: str, nonce: str, exit_code: int, stdout: str, stderr: str) -> Any:
    """Find the agent's line among whatever else the login printed. Raises Unreachable or CommandFailed."""
    lines = [line for line in stdout.splitlines() if line.startswith(f"hpcregistry {nonce} ")]
    if lines:
        return refuse_error(node, read_line(node, nonce, lines[-1]))
    raise no_answer(node, exit_code, stderr)


def read_line(node: str, nonce: str, line: str) -> Any:
    """What the agent says in one of its lines. Raises CommandFailed when it is not whole, or no JSON object."""
    try:
        said = read_json(line[len(f"hpcregistry {nonce} ") :])
    except ValueError:
        raise CommandFailed("the agent's answer was cut off", where=node) from None
    except RecursionError:
        raise CommandFailed("the agent's answer is malformed: it is too deep", where=node) from None
    if not isinstance(said, dict):
        raise CommandFailed("the agent's answer is malformed: it is not an object", where=node)
    return said


def refuse_error(node: str, answer: Any) -> Any:
    """Return *answer*, unless it is an error: then CommandFailed is raised."""
    if "error" in answer:
        raise CommandFailed(excerpt(str(answer["error"])), where=node, hint=excerpt(str(answer.get("hint", ""))))
    return answer


def no_answer_in_time(node: str) -> Unreachable:
    return Unreachable("no answer in time", where=node, hint=HINTS["no answer in time"])


def no_answer(node: str, exit_code: int, stderr: str) -> HpcRegistryError:
    """Why there was no answer, from how ssh ended."""
    if exit_code == 255:  # ssh's own failure, ssh(1); a remote 255 would have been preceded by an answer
        reason = unreachable_reason(stderr)
        return Unreachable(reason, where=node, hint=HINTS.get(reason, ""))
    hint = "is Python >= 3.6 there, and has phase 1 been run? hpc-container-manager registry setup"
    if "sudo:" in stderr:
        hint = "who logs in there (`user` in `nodes` of the cluster file) needs `sudo -n` for all that root does"
    return CommandFailed(
        f"the agent did not answer (exit {exit_code}): {last_line(stderr, 'nothing')}", where=node, hint=hint
    )
