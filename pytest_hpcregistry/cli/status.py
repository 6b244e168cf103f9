"""status: every image on every node."""

from __future__ import annotations

import click

from ..cluster.client import ControllerClient
from ..core import facts as facts_of
from ..core.errors import CheckFailed, Unreachable
from ..core.names import excerpt, visible
from ..core.nodeset import fold, fold_by
from ..report import lines
from .options import client_options
from .show import say, show_json, show_table


@click.command("status")
@click.option("--json", "as_json", is_flag=True, help="For programs.")
@client_options
def status(as_json: bool, client: ControllerClient) -> None:
    """Show every image on every node.

    States: present, missing, older version, differs (a file that is no version in the catalog), unmanaged (not in the
    catalog), unreachable. Names and links are compared; `verify` reads the bytes, and also finds what is damaged.

    \b
    Example:
      hpc-container-manager status --json
    """
    found = client.facts()
    facts_of.require_nodes(found)
    matrix = found.matrix()
    if as_json:
        show_json(
            {
                "images": matrix,
                "unreachable": found.unreachable,
                "catalog_problem": found.catalog_problem,
                "sync_under_way": found.syncing.under_way,
            }
        )
    else:
        rows = [[excerpt(name), row.pop("controller", "-"), lines.states(row)] for name, row in found.matrix().items()]
        show_table([["IMAGE", "CONTROLLER", "NODES"], *rows])
        for reason, nodes in fold_by(found.unreachable, found.unreachable.__getitem__).items():
            say(visible(f"{nodes}: {reason}"), err=True)
        if found.syncing.under_way:
            say("! a sync is under way")
    raise_for_status(found, matrix)


def raise_for_status(found: facts_of.Facts, matrix: dict[str, dict[str, str]]) -> None:
    """The exit code of status: drift is 1, and so is nothing at all; nodes that could not be asked are 3."""
    if found.catalog_problem:
        raise CheckFailed(found.catalog_problem)
    if not matrix:
        raise CheckFailed("there is no image in the catalog and none on any machine", hint="deploy one first")
    states = {state for row in matrix.values() for state in row.values()}
    if states - {facts_of.PRESENT, facts_of.UNREACHABLE}:
        hint = "look again when the sync has ended" if found.syncing.under_way else "hpc-container-manager sync"
        if facts_of.UNMANAGED in states:
            hint += "; a file that the catalog does not know is never removed: deploy it, or remove it by hand"
        raise CheckFailed("the cluster differs from its catalog", hint=hint)
    if found.unreachable:
        raise Unreachable(f"{fold(found.unreachable)}: unreachable")
