"""status: every image on every node."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict

import click

from ..checks import images
from ..checks.catalog import NO_CATALOG
from ..checks.finding import Finding, fold_findings
from ..cluster.client import ControllerClient
from ..cluster.outcomes import raise_worst
from ..core import facts as facts_of
from ..core.coverage import Required, shortfall
from ..core.errors import CheckFailed, HpcRegistryError, Unreachable
from ..core.facts import Facts
from ..core.messages import context
from ..core.model import Cluster
from ..core.names import CONTROLLER, excerpt, visible
from ..core.nodeset import expand, fold, fold_by
from ..report import lines
from .options import node_options, require_option
from .show import say, show_json, show_table


@click.command("status")
@click.option("--json", "as_json", is_flag=True, help="For programs.")
@require_option
@node_options
def command(as_json: bool, required: Required | None, client: ControllerClient) -> None:
    """Show every image on every node.

    States: present, missing, older version, differs (a file that is no version in the catalog), unmanaged (not in the
    catalog), removed (from the catalog, and the name is still there), unreachable. Names and links are compared, and
    owners and modes; `verify` reads the bytes, and also finds what is damaged.

    A node that cannot be asked, and on which Slurm does not count either (drained, down, powered down, rebooting), is
    not counted, and no failure; when it is back, `status` and the next sync see what it lacks.

    \b
    Example:
      hpc-container-manager status --json
      hpc-container-manager status --require 95%
    """
    found = client.facts(client.question(brief=True))
    facts_of.require_nodes(found)
    matrix = found.matrix()
    odd = fold_findings(find_odd_files(found, client.cluster))
    if as_json:
        show_json(
            {
                "images": matrix,
                "unreachable": found.unreachable,
                "not_counted": found.not_counted,
                "out_of_service": found.out_of_service,
                "hints": {name: found.nodes[name].hint for name in found.unreachable},
                "catalog_problem": found.catalog_problem,
                "sync_under_way": found.syncing.under_way,
                "findings": [asdict(one) for one in odd],
            }
        )
    else:
        show_table([["IMAGE", "CONTROLLER", "NODES"], *map(table_row, matrix.items())])
        for reason, nodes in fold_by(found.unreachable, found.unreachable.__getitem__).items():
            say(visible(f"unreachable {nodes}: {reason}"))
        for line in context(found):
            say(f"! {line}")
        for one in odd:
            say(visible(str(one)))
        if found.syncing.under_way:
            say("! a sync is under way")
    well = found.well(matrix) - {node for one in odd for node in expand(one.where)}
    raise_worst([*failures(found, matrix, odd), *shortfall(required, found.nodes, well, found.not_counted)])


def table_row(image: tuple[str, Mapping[str, str]]) -> list[str]:
    """The states of one image. The nodes that could not be asked are said once, below the table."""
    name, by_machine = image
    nodes = {node: state for node, state in by_machine.items() if state != facts_of.UNREACHABLE and node != CONTROLLER}
    return [excerpt(name), by_machine.get(CONTROLLER, "-"), lines.states(nodes) or "-"]


def find_odd_files(found: Facts, cluster: Cluster) -> Iterator[Finding]:
    """Images of the catalog with an owner or a mode that is not the configured one."""
    for machine in found.machines.values():
        for name in found.catalog.images:
            if images.is_comparable(machine, found, name):
                yield from images.modes(machine, found, cluster, name)


def failures(found: Facts, matrix: dict[str, dict[str, str]], odd: Sequence[Finding]) -> list[HpcRegistryError]:
    """What is wrong: the exit code of drift is 1, and so is that of nothing at all; of nodes that cannot be asked 3."""
    if found.catalog_problem:
        return [CheckFailed(found.catalog_problem, where="controller", hint=NO_CATALOG)]
    if not matrix:
        return [CheckFailed("there is no image in the catalog and none on any machine", hint="deploy one first")]
    states = {state for row in matrix.values() for state in row.values()}
    if states - {facts_of.PRESENT, facts_of.UNREACHABLE}:
        hint = "look again when the sync has ended" if found.syncing.under_way else "hpc-container-manager sync"
        if facts_of.UNMANAGED in states:
            hint += "; a file that the catalog does not know is never removed: deploy it, or remove it by hand"
        return [CheckFailed("the cluster differs from its catalog", hint=hint)]
    if odd:
        return [CheckFailed("owner or mode of an image is not the configured one", hint=odd[0].hint)]
    if found.unreachable:
        hints = dict.fromkeys(found.nodes[name].hint for name in found.unreachable)
        return [Unreachable(f"{fold(found.unreachable)}: unreachable", hint="\n".join(filter(None, hints)))]
    return []
