"""status: every image on every node."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import click

from ..checks import images
from ..checks.catalog import mend
from ..checks.finding import Finding, fold_findings
from ..cluster.client import ALL, ControllerClient
from ..core import facts as facts_of
from ..core.errors import CheckFailed, Unreachable
from ..core.facts import Facts
from ..core.model import Cluster
from ..core.names import CONTROLLER, excerpt, visible
from ..core.nodeset import fold, fold_by
from ..report import lines
from . import output
from .known_names import remember
from .options import node_options
from .output import answer, answers
from .show import say, show_table, shown, tell


@dataclass(frozen=True)
class Status:
    """`images`: image -> machine -> state. `unreachable` has the reason for each node that could not be asked, `hints`
    what to do about it; `findings` are owners and modes.
    """

    images: dict[str, dict[str, str]]
    unreachable: dict[str, str]
    hints: dict[str, str]
    catalog_problem: str | None
    sync_under_way: bool
    findings: list[Finding]


@click.command("status")
@answers(Status)
@node_options
def command(client: ControllerClient) -> None:
    """Show every image on every node.

    States: present, missing, older version, differs (a file that is no version in the catalog), unmanaged (not in the
    catalog), unreachable. Names and links are compared, and owners and modes; `verify` reads the bytes, and also finds
    what is damaged.

    \b
    Example:
      hpc-container-manager status --json
    """
    with shown(every=math.inf) as listener:
        found = client.facts(client.question(brief=True), listener)
    facts_of.require_nodes(found)
    if client.choice == ALL:
        remember(client.cluster.registry, found.catalog.images, found.nodes)
    matrix = found.matrix()
    odd = fold_findings(find_odd_files(found, client.cluster))
    hints = {name: found.nodes[name].hint for name in found.unreachable}
    answer(Status(matrix, found.unreachable, hints, found.catalog_problem, found.syncing.under_way, odd))
    rows = [table_row(*row) for row in matrix.items() if not output.current.quiet or is_odd(row[1])]
    if rows or not output.current.quiet:
        show_table([["IMAGE", "CONTROLLER", "NODES"], *rows])
    for reason, nodes in fold_by(found.unreachable, found.unreachable.__getitem__).items():
        tell(visible(f"unreachable {nodes}: {reason}"))
    for one in odd:
        tell(visible(str(one)))
    if found.syncing.under_way:
        say("! a sync is under way")
    raise_for_status(found, matrix, odd)


def is_odd(by_machine: Mapping[str, str]) -> bool:
    """Whether an image is anywhere in a state that it should not be in; who could not be asked is said below."""
    return bool(set(by_machine.values()) - {facts_of.PRESENT, facts_of.UNREACHABLE})


def table_row(name: str, by_machine: Mapping[str, str]) -> list[str]:
    """The states of one image. The nodes that could not be asked are said once, below the table."""
    nodes = {node: state for node, state in by_machine.items() if state != facts_of.UNREACHABLE and node != CONTROLLER}
    return [excerpt(name), by_machine.get(CONTROLLER, "-"), lines.states(nodes) or "-"]


def find_odd_files(found: Facts, cluster: Cluster) -> Iterator[Finding]:
    """Images of the catalog with an owner or a mode that is not the configured one."""
    for machine in found.machines.values():
        for name in found.catalog.images:
            if images.is_comparable(machine, found, name):
                yield from images.modes(machine, found, cluster, name)


def raise_for_status(found: Facts, matrix: dict[str, dict[str, str]], odd: Sequence[Finding]) -> None:
    """The exit code of status: drift is 1, and so is nothing at all; nodes that could not be asked are 3."""
    if found.catalog_problem:
        raise CheckFailed(found.catalog_problem, where="controller", hint=mend(found))
    if not matrix:
        raise CheckFailed("there is no image in the catalog and none on any machine", hint="deploy one first")
    states = {state for row in matrix.values() for state in row.values()}
    if states - {facts_of.PRESENT, facts_of.UNREACHABLE}:
        hint = "look again when the sync has ended" if found.syncing.under_way else "hpc-container-manager sync"
        if facts_of.UNMANAGED in states:
            hint += "; a file that the catalog does not know is never removed: deploy it, or remove it by hand"
        raise CheckFailed("the cluster differs from its catalog", hint=hint)
    if odd:
        raise CheckFailed("owner or mode of an image is not the configured one", hint=odd[0].hint)
    if found.unreachable:
        hints = dict.fromkeys(found.nodes[name].hint for name in found.unreachable)
        raise Unreachable(f"{fold(found.unreachable)}: unreachable", hint="\n".join(filter(None, hints)))
