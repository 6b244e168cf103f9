"""What is asked of the controller about its nodes before phase 1, too: nothing of ours need be there."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from ..core.routes import Route
from ..core.slurm_states import ASK_SLURM, out_of_service, read_slurm
from ..transports import CommandResult
from ..transports.ports import why_not_reached
from ..transports.routes import Run, find_routes

if TYPE_CHECKING:
    from .client import ControllerClient

QUICK = 60  # seconds for a question that moves no image


def routes_to(nodes: Sequence[str], client: ControllerClient) -> dict[str, Route]:
    """How the controller reaches each node. Raises as `require_root`."""
    return find_routes(as_root(client), nodes, client.cluster.routes)


def look_from_controller(client: ControllerClient, routes: Mapping[str, Route]) -> dict[str, str]:
    """Node -> why the controller passes no connection on to it, as far as it knows. Raises as `require_root`."""
    return why_not_reached(as_root(client), routes)


def as_root(client: ControllerClient) -> Run:
    """Runs commands as root on the controller, and raises where one does not end well."""

    def run(argv: Sequence[str], stdin: bytes, timeout: float) -> CommandResult:
        result = client.transport.run(client.program.as_root(argv), stdin=stdin, timeout=timeout)
        if result.exit_code != 0:
            raise client.program.no_answer(result)
        return result

    return run


def away(client: ControllerClient) -> dict[str, str]:
    """Each node that Slurm does not count on now -> why; none, where Slurm does not say."""
    result = client.transport.run(ASK_SLURM, timeout=QUICK)
    return out_of_service(read_slurm(result.stdout)) if result.exit_code == 0 else {}
