"""status: every image on every node."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import click

from ..checks import images, reachable
from ..checks.catalog import mend
from ..checks.finding import Finding, fold_findings
from ..checks.waivers import Judged, judge
from ..cluster.client import ALL, ControllerClient
from ..cluster.outcomes import raise_worst
from ..core import facts as facts_of
from ..core.coverage import Required, shortfall
from ..core.errors import DEPLOY_FIRST, CheckFailed, HpcRegistryError, Unreachable, UsageError
from ..core.facts import Facts
from ..core.messages import context, count
from ..core.model import Cluster
from ..core.names import CONTROLLER, excerpt, visible
from ..core.nodeset import expand, fold, fold_by, fold_machines
from ..core.waivers import today
from ..report import lines
from . import output
from .known_names import remember
from .options import node_options, require_option
from .output import answer, answers
from .show import say, show_table, shown, tell

IN_WORDS = {
    facts_of.OLDER: "of an older version",
    facts_of.DIFFERS: "other than the catalog's",
    facts_of.UNMANAGED: "not in the catalog",
}
"""States of an image behind a noun."""


@dataclass(frozen=True)
class Status:
    """`images`: image -> machine -> state. `unreachable` has the reason for each node that could not be asked, `hints`
    what to do about it; `not_counted` those on which Slurm does not count either, and `out_of_service` those that
    answered all the same. `findings` are owners and modes, and `waived` all findings for which a waiver holds.
    """

    images: dict[str, dict[str, str]]
    unreachable: dict[str, str]
    not_counted: dict[str, str]
    out_of_service: dict[str, str]
    hints: dict[str, str]
    catalog_problem: str | None
    sync_under_way: bool
    findings: list[Finding]
    waived: list[Finding]


@click.command("status")
@answers(Status)
@require_option
@node_options
def command(required: Required | None, client: ControllerClient) -> None:
    """Show every image on every node.

    States: present, missing, older version, differs (a file that is no version in the catalog), unmanaged (not in the
    catalog), removed (from the catalog, and the name is still there), unreachable. Names and links are compared, and
    owners and modes; `verify` reads the bytes, and also finds what is damaged.

    A node that cannot be asked, and on which Slurm does not count either (drained, down, powered down, rebooting), is
    not counted, and no failure; when it is back, `status` and the next sync see what it lacks.

    \b
    Examples:
      hpc-container-manager status --json
      hpc-container-manager status --require 95%
    """
    with shown() as listener:
        found = client.facts(client.question(brief=True), listener)
    facts_of.require_nodes(found)
    if client.choice == ALL:
        remember(client.cluster.registry, found.catalog.images, found.nodes)
    matrix = found.matrix()
    judged = judge(find(found, client.cluster, matrix), client.cluster.waivers, today())
    answer(describe(found, matrix, judged))
    show_found(found, matrix, judged)
    odd = {one.where for one in judged.open if one.id == "images.modes"}
    well = found.well(matrix) - odd
    raise_worst([*failures(found, matrix, judged), *shortfall(required, found.nodes, well, found.not_counted)])


def describe(found: Facts, matrix: dict[str, dict[str, str]], judged: Judged) -> Status:
    return Status(
        images=matrix,
        unreachable=found.unreachable,
        not_counted=found.not_counted,
        out_of_service=found.out_of_service,
        hints={name: found.nodes[name].hint for name in found.unreachable},
        catalog_problem=found.catalog_problem,
        sync_under_way=found.syncing.under_way,
        findings=fold_findings(one for one in judged.open if one.id == "images.modes"),
        waived=fold_findings(judged.waived),
    )


def show_found(found: Facts, matrix: dict[str, dict[str, str]], judged: Judged) -> None:
    """The table, and below it what is said once."""
    shown_rows = {name: row for name, row in matrix.items() if not output.current.quiet or is_odd(row)}
    if shown_rows or not output.current.quiet:
        show_table([["IMAGE", "CONTROLLER", "NODES"], *table_rows(shown_rows, judged)])
    for reason, nodes in fold_by(found.unreachable, found.unreachable.__getitem__).items():
        tell(visible(f"unreachable {nodes}: {reason}"))
    for line in context(found):
        say(f"! {line}")
    odd = fold_findings(one for one in judged.open if one.id == "images.modes")
    expired = fold_findings(one for one in judged.open if one.waiver and one.id != "images.modes")
    for one in (*odd, *expired, *fold_findings(judged.waived)):
        tell(visible(str(one)))
    say(f"{len(found.asked)} of {count(len(found.nodes), 'node')} answered")
    if found.syncing.under_way:
        say("! a sync is under way")


def is_odd(by_machine: Mapping[str, str]) -> bool:
    """Whether an image is anywhere in a state that it should not be in; who could not be asked is said below."""
    return bool(set(by_machine.values()) - {facts_of.PRESENT, facts_of.UNREACHABLE})


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


def failures(found: Facts, matrix: Mapping[str, Mapping[str, str]], judged: Judged) -> list[HpcRegistryError]:
    """What is wrong: the exit code of drift is 1, of nothing at all 2, as in verify and sync; of nodes that cannot be
    asked 3. What is waived is neither, nor is it a proof."""
    if found.catalog_problem:
        return [CheckFailed(found.catalog_problem, where="controller", hint=mend(found))]
    if not matrix:
        return [UsageError("there is no image in the catalog and none on any machine", hint=DEPLOY_FIRST)]
    drift = fold_findings(one for one in judged.open if one.id == "images.state")
    odd = [one for one in judged.open if one.id == "images.modes"]
    unreachable = [one.where for one in judged.open if one.id == "reachable.reached"]
    if drift:
        hints = dict.fromkeys(what_to_do(one, found) for one in drift)
        return [CheckFailed(summarize(drift), hint="\n".join(hints))]
    if odd:
        return [CheckFailed("owner or mode of an image is not the configured one", hint=odd[0].hint)]
    if unreachable:
        hints = dict.fromkeys(found.nodes[name].hint for name in unreachable)
        return [Unreachable(f"{fold(unreachable)}: unreachable", hint="\n".join(filter(None, hints)))]
    if judged.waived and not any(row.get(node) == facts_of.PRESENT for row in matrix.values() for node in found.nodes):
        return [CheckFailed("no node has an image as the catalog says: all that was found is waived")]
    return []


def summarize(drift: Sequence[Finding]) -> str:
    """`1 image missing on c003, 2 images not in the catalog on c[001-002]`."""
    parts = []
    for state in dict.fromkeys(one.found for one in drift):
        group = [one for one in drift if one.found == state]
        machines = fold_machines(sorted({machine for one in group for machine in expand(one.where)}))
        parts.append(f"{count(len({one.what for one in group}), 'image')} {IN_WORDS.get(state, state)} on {machines}")
    return ", ".join(parts)


def what_to_do(one: Finding, found: Facts) -> str:
    if one.found == facts_of.UNMANAGED:
        return f"{excerpt(one.what)} on {one.where}: no sync removes it; deploy it to keep it, or remove it by hand"
    return "look again when the sync has ended" if found.syncing.under_way else one.hint
