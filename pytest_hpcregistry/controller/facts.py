"""Ask the controller and every node for their facts: one login for each node, all at once."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from posixpath import basename

from .. import agent
from ..agent.facts import START, read_text
from ..core import layout
from ..core.catalog import LARGEST, from_text
from ..core.errors import CommandFailed, ConfigError, HpcRegistryError
from ..core.events import Asking, CatalogPart, Gathered, Listener, NodeFacts, Noticed
from ..core.fanout import fan_out
from ..core.machine import FactsRequest, MachineFacts, Question
from ..core.names import excerpt
from ..core.reader import read_routes
from ..core.records import build, plain
from ..core.routes import NodeRoute
from ..core.slurm_states import out_of_service
from .answers import MOST_COMMANDS, check_facts
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
    # Slurm is asked once: now, if it must say which nodes there are, or where no image is started, or beside them.
    view = ask_slurm() if request.nodes is None or request.question.start else None
    nodes = choose_nodes(request.nodes, request.choice, view)
    question, routes = request.question, read_routes(request.routes, "the request")
    room = make_room(len(nodes), request.window, held=0, each=FACTS)
    watch = Watch(question.registry)
    watch.wait_for_beginning(request.wait_for_sync)
    watch.wait_for_end(
        request.wait_for_end, lambda: listener(Noticed(message="a sync is under way: waiting for its end"))
    )
    watch.start()
    listener(Asking(nodes, room.window))

    question = look_everywhere(question)
    away, started = out_of_service(view), images_to_start(question)

    def ask(node: str) -> None:
        mine = replace(question, started=[] if node in away else started) if question.start else question
        seconds = request.timeout + (START + 1) * len(mine.started or ())
        began = time.monotonic()
        found = ask_node(node, replace(request, question=mine, timeout=seconds), routes)
        listener(NodeFacts(node, found, seconds=round(time.monotonic() - began, 3)))

    with ThreadPoolExecutor(2) as beside:
        here = replace(question, texts=[*question.texts, *request.texts], start=[], started=None)
        own = beside.submit(controller_facts, here)
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


def look_everywhere(question: Question) -> Question:
    """The *question*, with every directory that the catalog has images in: the cluster file may lack one, whose images
    are not missing for that."""
    found = {name.partition("/")[0] for name in names_in_catalog(question.registry)}
    return replace(question, directories=[*question.directories, *sorted(found - {*question.directories})])


def names_in_catalog(registry: str) -> list[str]:
    """The catalog's images, in order; none of a broken one, of which a check of its own says so."""
    path = layout.inside(registry, layout.CATALOG)
    try:
        return sorted(from_text(read_text(path, LARGEST + 1) or "", path).images)
    except ConfigError:
        return []


def images_to_start(question: Question) -> list[str]:
    """Of the catalog's images those that shall be started, as many as a node can answer for; none of a broken one."""
    if not question.start:
        return []
    names = names_in_catalog(question.registry)
    wanted = [name for name in names if question.started is None or {name, basename(name)} & {*question.started}]
    return wanted[:MOST_COMMANDS]


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
