"""Ask the controller and every node for their facts: one login for each node, all at once."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from .. import agent
from ..core.errors import CommandFailed, HpcRegistryError
from ..core.events import Listener, NodeFacts, Noticed
from ..core.fanout import fan_out
from ..core.names import excerpt
from ..transports.process import run_process
from .answers import check_answer
from .limits import FACTS, make_room
from .lock import Watch
from .nodes import SLURM_TIMEOUT, ask_facts, list_nodes, slurm_nodes

LONGEST_FACTS = 8 << 20  # bytes of one node's facts; a line of twice as many is not read by whoever asks


def gather(request: dict[str, Any], listener: Listener) -> dict[str, Any]:
    """The facts of the whole cluster. *request* has the agent's request, `nodes` (None: Slurm's) and the limits.

    Each node's facts are one event for the *listener*, `node_facts`, as soon as they are there, and are not kept; those
    of a node that can't be asked are {"unreachable": reason}. Returned are the names of the `nodes`, and the facts of
    the controller and of its syncs. The window is as large as open files allow.
    `wait` is how many seconds to wait first: `for_sync` until a sync begins, then `for_end` until none is under way;
    the *listener* is told of that.
    """
    nodes = list_nodes(request["nodes"])
    asked = request["agent"]
    room = make_room(len(nodes), request["window"], held=0, each=FACTS)
    watch = Watch(asked["registry"])
    wait = request.get("wait", {})
    watch.wait_for_beginning(wait.get("for_sync", 0))
    watch.wait_for_end(
        wait.get("for_end", 0),
        lambda: listener(Noticed(message="a sync is under way: waiting for its end")),
    )
    watch.start()

    def ask(node: str) -> None:
        answer = ask_facts(node, asked, connect_timeout=request["connect_timeout"], timeout=request["timeout"])
        check_answer(node, "facts", answer)
        if len(json.dumps(answer)) > LONGEST_FACTS:
            raise CommandFailed(f"has more facts than {LONGEST_FACTS >> 20} MiB", where=node)
        listener(NodeFacts(node=node, facts=answer))

    for node, result in fan_out(nodes, ask, window=room.window).items():
        if isinstance(result, HpcRegistryError):
            listener(NodeFacts(node=node, facts=unreachable(node, result)))
    # The controller after the nodes, and of it the images before the catalog: what was published meanwhile leaves a
    # machine behind the catalog, which another look explains, and never ahead of it.
    controller = {**agent.gather({**asked, **request["controller"]}), "slurm": slurm_facts()}
    return {"controller": controller, "nodes": nodes, "sync": watch.tell()}


def unreachable(node: str, error: HpcRegistryError) -> dict[str, str]:
    """The facts of a node that could not be asked."""
    return {"unreachable": excerpt(error.reason(node)), "hint": error.hint}


def slurm_facts() -> dict[str, Any]:
    """Slurm's own view: states of the nodes, what `scontrol show config` says of containers, or why it says nothing."""
    try:
        return {"error": None, "nodes": slurm_nodes(), "config": slurm_config(["scontrol", "show", "config"])}
    except HpcRegistryError as error:
        return {"error": excerpt(str(error)), "nodes": {}, "config": {}}


def slurm_config(argv: Sequence[str]) -> dict[str, str]:
    result = run_process("controller", argv, timeout=SLURM_TIMEOUT)
    pairs = (line.partition("=") for line in result.stdout.splitlines())
    return {key.strip(): value.strip() for key, sign, value in pairs if sign}
