"""status: every image on every node."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict

import click

from ..checks import images, reachable
from ..checks.catalog import NO_CATALOG
from ..checks.finding import Finding, fold_findings
from ..checks.waivers import Judged, judge
from ..cluster.client import ControllerClient
from ..core import facts as facts_of
from ..core.errors import CheckFailed, Unreachable
from ..core.facts import Facts
from ..core.model import Cluster
from ..core.names import CONTROLLER, excerpt, visible
from ..core.nodeset import fold, fold_by
from ..core.waivers import today
from ..report import lines
from .options import node_options
from .show import say, show_json, show_table


@click.command("status")
@click.option("--json", "as_json", is_flag=True, help="For programs.")
@node_options
def command(as_json: bool, client: ControllerClient) -> None:
    """Show every image on every node.

    States: present, missing, older version, differs (a file that is no version in the catalog), unmanaged (not in the
    catalog), unreachable. Names and links are compared, and owners and modes; `verify` reads the bytes, and also finds
    what is damaged.

    \b
    Example:
      hpc-container-manager status --json
    """
    found = client.facts(client.question(brief=True))
    facts_of.require_nodes(found)
    matrix = found.matrix()
    judged = judge(find(found, client.cluster, matrix), client.cluster.waivers, today())
    waived = fold_findings(judged.waived)
    odd = fold_findings(one for one in judged.open if one.id == "images.modes")
    if as_json:
        show_json(
            {
                "images": matrix,
                "unreachable": found.unreachable,
                "hints": {name: found.nodes[name].hint for name in found.unreachable},
                "catalog_problem": found.catalog_problem,
                "sync_under_way": found.syncing.under_way,
                "findings": [asdict(one) for one in odd],
                "waived": [asdict(one) for one in waived],
            }
        )
    else:
        show_table([["IMAGE", "CONTROLLER", "NODES"], *table_rows(matrix, judged)])
        for reason, nodes in fold_by(found.unreachable, found.unreachable.__getitem__).items():
            say(visible(f"unreachable {nodes}: {reason}"))
        expired = (one for one in judged.open if one.waiver and one.id != "images.modes")
        for one in (*odd, *fold_findings(expired), *waived):
            say(visible(str(one)))
        if found.syncing.under_way:
            say("! a sync is under way")
    raise_for_status(found, matrix, judged)


def table_rows(matrix: Mapping[str, Mapping[str, str]], judged: Judged) -> Iterator[list[str]]:
    """The states of each image. The nodes that could not be asked are said once, below the table."""
    waived: dict[str, set[str]] = {}
    for one in judged.waived:
        if one.id == "images.state":
            waived.setdefault(one.what, set()).add(one.where)
    for name, row in matrix.items():
        states = lines.with_waived(row, waived.get(name, ()))
        own = states.pop(CONTROLLER, "-")
        nodes = {node: state for node, state in states.items() if state != facts_of.UNREACHABLE}
        yield [excerpt(name), own, lines.states(nodes) or "-"]


def find(found: Facts, cluster: Cluster, matrix: Mapping[str, Mapping[str, str]]) -> Iterator[Finding]:
    """Nodes that could not be asked; images that are not as the catalog says; and those of the catalog with an owner or
    a mode that is not the configured one."""
    for node in found.nodes.values():
        yield from reachable.reached(node, found, cluster)
    for machine in found.machines.values():
        if machine.unreachable is None:
            for name, row in matrix.items():
                if row.get(machine.name, facts_of.PRESENT) != facts_of.PRESENT:
                    yield from images.state(machine, found, cluster, name)
                if images.is_comparable(machine, found, name):
                    yield from images.modes(machine, found, cluster, name)


def raise_for_status(found: Facts, matrix: Mapping[str, Mapping[str, str]], judged: Judged) -> None:
    """The exit code of status: drift is 1, and so is nothing at all; nodes that could not be asked are 3. What is
    waived is neither, nor is it a proof."""
    if found.catalog_problem:
        raise CheckFailed(found.catalog_problem, where="controller", hint=NO_CATALOG)
    if not matrix:
        raise CheckFailed("there is no image in the catalog and none on any machine", hint="deploy one first")
    states = {one.found for one in judged.open if one.id == "images.state"}
    odd = [one for one in judged.open if one.id == "images.modes"]
    unreachable = [one.where for one in judged.open if one.id == "reachable.reached"]
    if states:
        hint = "look again when the sync has ended" if found.syncing.under_way else "hpc-container-manager sync"
        if facts_of.UNMANAGED in states:
            hint += "; a file that the catalog does not know is never removed: deploy it, or remove it by hand"
        raise CheckFailed("the cluster differs from its catalog", hint=hint)
    if odd:
        raise CheckFailed("owner or mode of an image is not the configured one", hint=odd[0].hint)
    if unreachable:
        hints = dict.fromkeys(found.nodes[name].hint for name in unreachable)
        raise Unreachable(f"{fold(unreachable)}: unreachable", hint="\n".join(filter(None, hints)))
    if judged.waived and not any(row.get(node) == facts_of.PRESENT for row in matrix.values() for node in found.nodes):
        raise CheckFailed("no node has an image as the catalog says: all that was found is waived")
