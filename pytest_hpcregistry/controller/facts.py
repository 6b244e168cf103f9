"""Ask the controller and every node for their facts: one login for each node, all at once."""

from __future__ import annotations

import json
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

from .. import agent
from ..agent.facts import read_text
from ..core import layout
from ..core.catalog import LARGEST
from ..core.errors import CommandFailed, HpcRegistryError
from ..core.events import Asking, CatalogPart, Gathered, Listener, NodeFacts, Noticed
from ..core.fanout import fan_out
from ..core.machine import FactsRequest, MachineFacts, Question
from ..core.names import excerpt
from ..core.reader import read_routes
from ..core.records import build, plain
from ..core.routes import NodeRoute
from .answers import check_facts
from .limits import FACTS, make_room
from .lock import Watch
from .nodes import ask_facts, ask_slurm, choose_nodes
from .routes import route_to

LONGEST_FACTS = 12 << 20  # bytes of one node's facts; a line of 16 MiB is not read by whoever asks
PART = 1 << 20  # characters of the catalog in one event


def gather(request: FactsRequest, listener: Listener) -> Gathered:
    """The facts of the whole cluster: the *listener* gets `node_facts` of each node as soon as they are there,
    and nothing keeps them; returned is the end, with the controller's own. The window is as large as open files allow.
    """
    # Slurm is asked once: now, if it must say which nodes there are, or beside them.
    view = ask_slurm() if request.nodes is None else None
    nodes = choose_nodes(request.nodes, request.choice, view)
    question, routes = request.question, read_routes(request.routes, "the request")
    room = make_room(len(nodes), request.window, held=0, each=FACTS)
    watch = Watch(question.registry)
    watch.wait_for_beginning(request.wait_for_sync)
    watch.wait_for_end(
        request.wait_for_end, lambda: listener(Noticed(message="a sync is under way: waiting for its end"))
    )
    watch.start()
    listener(Asking(nodes))

    def ask(node: str) -> None:
        listener(NodeFacts(node, ask_node(node, request, routes)))

    with ThreadPoolExecutor(2) as beside:
        own = beside.submit(controller_facts, replace(question, texts=[*question.texts, *request.texts]))
        slurm = beside.submit(lambda: view or ask_slurm())
        for node, result in fan_out(nodes, ask, window=room.window).items():
            if isinstance(result, HpcRegistryError):
                listener(unreachable(node, result))
    # The catalog after all images: what was published meanwhile leaves a machine behind the catalog, which another look
    # explains, and never ahead of it.
    catalog = read_text(layout.inside(question.registry, layout.CATALOG), LARGEST + 1)
    if catalog is not None:
        for start in range(0, max(1, len(catalog)), PART):
            listener(CatalogPart(catalog[start : start + PART]))
    return Gathered(len(nodes), own.result(), watch.tell(), slurm.result())


def ask_node(node: str, request: FactsRequest, routes: Sequence[NodeRoute]) -> MachineFacts:
    """One node's facts. Raises CommandFailed when they do not answer the question."""
    route = route_to(node, routes)
    asked = plain(replace(request.question, login=route.user))
    how = {"connect_timeout": request.connect_timeout, "timeout": request.timeout}
    answer = ask_facts(node, asked, route=route, **how)
    check_facts(node, request.question, answer)
    if len(json.dumps(answer)) > LONGEST_FACTS:
        raise CommandFailed(f"has more facts than {LONGEST_FACTS >> 20} MiB", where=node)
    facts: MachineFacts = build(MachineFacts, answer, "facts")
    return facts


def controller_facts(question: Question) -> MachineFacts:
    facts: MachineFacts = build(MachineFacts, agent.gather(plain(question)), "facts")
    return facts


def unreachable(node: str, error: HpcRegistryError) -> NodeFacts:
    """Why a node could not be asked."""
    return NodeFacts(node, unreachable=excerpt(error.reason(node)), hint=error.hint)
