"""One sync: what each node has and lacks, which engine brings it, and what became of the node."""

from __future__ import annotations

import hashlib
import os
import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, replace
from functools import cached_property
from types import MappingProxyType
from typing import Any

from ..agent.facts import RESERVE
from ..agent.requests import MOST_IMAGES
from ..core.catalog import Catalog, Entry, Removed
from ..core.errors import CommandFailed, HpcRegistryError
from ..core.events import Listener, NodeFinished, NodeStarted, Noticed, TransferStarted
from ..core.fanout import fan_out, in_rounds, serve_rounds
from ..core.history import INTERRUPTED
from ..core.kinds import write_mode
from ..core.pace import amount
from ..core.settings import Settings
from .ending import is_being_ended
from .engines import ENGINES, Job
from .engines.cost import Load, choose, link_rate
from .meter import Meter
from .open_objects import OpenObjects
from .outcome import Outcome, failure_of
from .probe import probing
from .removed import Use, remove_from_node, report_foreign, report_users, split_names, users_on_node
from .repair import repair_node
from .session import NodeSession, encoded

PUBLISH_SECONDS_PER_GB = 60  # a node reads back what it received; 214 MB/s and core was the slowest hash measured
FEW = 0.1  # share of a round's nodes, or one node, that the next round does not wait for
SEEN_WITHIN = 60  # seconds in which a shared file system shows what another machine wrote; nfs(5): acdirmax


class Rollout:
    """One sync of the images *wanted* (*what*, in words), with the *catalog* as its file has it.

    With *repair* each node first reads what it has of them, and puts away what is damaged. The names of *gone* images
    are taken away there; with *users* it is reported who has their bytes open, wherever there was a name or not. A node
    that is *out_of_service*, for the reason there, need not answer.
    """

    def __init__(
        self,
        settings: Settings,
        what: str,
        wanted: Mapping[str, Entry],
        catalog: tuple[str, Catalog],
        listener: Listener,
        *,
        repair: bool = False,
        gone: Mapping[str, Removed] | None = None,
        users: bool = False,
        out_of_service: Mapping[str, str] = MappingProxyType({}),
    ) -> None:
        self.out_of_service = out_of_service
        self.settings = settings
        self.repair = repair
        self.what = what
        self.wanted = wanted
        self.gone = gone or {}
        self.asks_for_users = users
        self.users: dict[str, set[Use]] = {}
        self.catalog = catalog
        self.catalog_digest = hashlib.sha256(catalog[0].encode()).hexdigest()
        self.listener = listener
        self.sizes = {entry.digest: entry.size for entry in wanted.values()}
        self.has: dict[str, Any] = {}
        self.lacks: dict[str, list[str]] = {}
        self.sent: dict[str, int] = {}
        self.started: dict[str, float] = {}
        self.sessions: dict[str, NodeSession] = {}
        self.outcomes: dict[str, Outcome] = {}
        self.turns = threading.BoundedSemaphore(settings.sync.window)
        self.objects = OpenObjects(settings.registry.path)

    @cached_property
    def catalog_request(self) -> bytes:
        """What every node is sent whose catalog is stale."""
        text, catalog = self.catalog
        return encoded({"catalog": text, "objects": catalog.current()})

    def run(self, nodes: Sequence[str], at_once: int) -> dict[str, Outcome]:
        """Bring every node up to date, *at_once* at a time; nodes that answer late are served in a later round."""
        with ExitStack() as closing:
            self.probe = closing.enter_context(probing(self.settings.registry.path))
            closing.callback(self.objects.close)
            closing.callback(self.close_sessions)
            for first in range(0, len(nodes), at_once):
                self.visit(nodes[first : first + at_once])
        report_users(self.users, self.listener)
        report_foreign({node: has["names"] for node, has in self.has.items()}, self.gone, self.listener)
        return {node: self.outcomes[node] for node in nodes}

    def visit(self, nodes: Sequence[str]) -> None:
        # A limit is one of all that is sent, so then one round ends before the next begins.
        serve_rounds(
            in_rounds(nodes, self.look, window=self.settings.sync.window),
            self.serve,
            is_finished=self.outcomes.__contains__,
            may_be_left=0.0 if self.settings.sync.limit_rate else FEW,
        )

    def close_sessions(self) -> None:
        # At once: a node that has frozen is waited for, some seconds each.
        fan_out(list(self.sessions), self.close, window=len(self.sessions))

    def close(self, node: str) -> None:
        """Hang up; the node may have been left before."""
        session = self.sessions.pop(node, None)
        if session:
            session.close()

    def look(self, node: str) -> None:
        """Log in and see what is to be done; a node that is not to be served is hung up on."""
        self.listener(NodeStarted(node=node, what=self.what))
        self.started[node] = time.monotonic()
        self.sessions[node] = NodeSession(node, self.settings)
        try:
            self.learn(node)
        except BaseException:
            self.close(node)
            raise

    def learn(self, node: str) -> None:
        """Ask what the node has, so what it lacks, and whether there is room for that."""
        answer = self.sessions[node].ask("have", self.probe.request)
        self.has[node] = has = {**answer, "shared": self.probe.is_seen(answer)}
        if self.repair and not has["shared"]:
            damaged = repair_node(self.sessions[node], has["objects"], self.wanted, self.listener)
            has["objects"] = {digest: size for digest, size in has["objects"].items() if digest not in damaged}
        self.lacks[node] = lacks = sorted(
            digest for digest, size in self.sizes.items() if has["objects"].get(digest) != size
        )
        if self.settings.sync.method == "shared" and not has["shared"]:
            raise CommandFailed(
                f"has a {self.settings.registry.path} of its own, not the controller's on a shared file system",
                where=node,
                hint="is the file system mounted there? Or set sync.method to auto",
            )
        needed = sum(self.sizes[digest] for digest in lacks)
        if needed and needed + RESERVE > has["free"] and not has["shared"]:
            raise CommandFailed(
                f"{amount(needed)} and a reserve of {amount(RESERVE)} needed, {amount(has['free'])} free",
                where=node,
            )

    def serve(self, answers: Mapping[str, HpcRegistryError | None]) -> None:
        """Bring to the nodes of one round what they lack, each engine beside the others: none keeps another waiting."""
        for node, error in answers.items():
            if error is not None:
                self.fail(node, error)
        ways = self.choose_engines([node for node, error in answers.items() if error is None])

        def bring(engine: str) -> None:
            why, nodes = ways[engine]
            self.distribute(engine, why, nodes)

        for engine, ended in fan_out(ways, bring, window=len(ways)).items():
            if isinstance(ended, HpcRegistryError):
                for node in ways[engine][1]:
                    self.fail(node, ended)

    def choose_engines(self, nodes: Sequence[str]) -> dict[str, tuple[str, list[str]]]:
        """Engine -> why, and the nodes that it serves: chosen for each set of nodes that lack the same, since one that
        lacks much more than the others is no reason for them."""
        ways: dict[str, tuple[str, list[str]]] = {}
        if shared := [node for node in nodes if self.has[node]["shared"]]:
            ways["shared"] = ("they see the controller's own registry", shared)
        alike: dict[tuple[str, ...], list[str]] = {}
        for node in nodes:
            if not self.has[node]["shared"]:
                alike.setdefault(tuple(self.lacks[node]), []).append(node)
        complete = alike.pop((), [])
        for group in sorted(alike.values(), key=len, reverse=True):
            engine, why = self.choose_engine(group)
            ways.setdefault(engine, (why, []))[1].extend(group)
        if complete:  # with the others, as there is nothing to be brought to them
            others = [(engine, why) for engine, (why, _) in ways.items() if engine != "shared"]
            engine, why = others[0] if others else self.choose_engine(complete)
            ways.setdefault(engine, (why, []))[1].extend(complete)
        return ways

    def choose_engine(self, nodes: Sequence[str]) -> tuple[str, str]:
        lacking = {node: sum(self.sizes[digest] for digest in self.lacks[node]) for node in nodes}
        with_base = {node: sum(self.sizes[digest] for digest in self.bases(node)) for node in nodes}
        settings = self.settings
        return choose(
            settings.sync.method,
            Load(lacking, with_base),
            link=link_rate(),
            cores=os.cpu_count() or 1,
            limit_rate=settings.sync.limit_rate,
        )

    def distribute(self, engine: str, why: str, nodes: Sequence[str]) -> None:
        wanted = {node: self.lacks[node] for node in nodes}
        lacking = {node: sum(self.sizes[digest] for digest in digests) for node, digests in wanted.items()}
        self.listener(TransferStarted(engine=engine, why=why, bytes=lacking))
        with Meter(self.listener) as meter:
            job: Job[Outcome] = Job(
                wanted=wanted,
                sizes=self.sizes,
                bases={node: self.bases(node) for node in nodes},
                sessions=self.sessions,
                settings=self.settings,
                arrived=self.publish,
                moved=meter.moved,
                sent=self.sent.__setitem__,
                say=lambda text: self.listener(Noticed(message=text)),
                leave=self.close,
                turns=self.turns,
                failed=self.fail,
                open_object=self.objects.open,
            )
            results = ENGINES[engine].distribute(job)
        fan_out(nodes, self.close, window=len(nodes))  # those that the engine has not left before
        for node, result in results.items():
            if isinstance(result, HpcRegistryError):
                self.fail(node, result)

    def fail(self, node: str, error: HpcRegistryError) -> None:
        """A node that has ended already is not reported twice."""
        if is_being_ended():
            error = CommandFailed(INTERRUPTED)  # its transfer or connection is one of those that were ended
        if node not in self.outcomes:
            self.finish(node, failure_of(node, error, self.out_of_service.get(node, "")))

    def bases(self, node: str) -> dict[str, str]:
        """For an object that the node lacks, the one that it has under the same name."""
        names, objects = self.has[node]["names"], self.has[node]["objects"]
        found = {entry.digest: names.get(name) for name, entry in self.wanted.items()}
        return {new: old for new, old in found.items() if new in self.lacks[node] and old in objects}

    def publish(self, node: str) -> Outcome:
        """The bytes are there: have the node prove it and put names and catalog in place. Tells how the node ended."""
        outcome = self.see(node) if self.has[node]["shared"] else self.bring_names(node)
        self.look_for_users(node, self.asks_for_users or bool(outcome.removed))
        return self.finish(node, outcome)

    def bring_names(self, node: str) -> Outcome:
        lacks = self.lacks[node]
        size = sum(self.sizes[digest] for digest in lacks)
        images = self.images_for(node)
        names = split_names(self.has[node]["names"], self.gone)[0]
        stale = self.is_stale(node)
        if not images and not stale and not names:
            return Outcome("unchanged")
        # In parts: nobody holds a node's lock for long. The catalog goes with the last one.
        parts = [images[start : start + MOST_IMAGES] for start in range(0, len(images), MOST_IMAGES)] or [[]]
        changed, failed = bool(images), None
        seconds = 60 + size * PUBLISH_SECONDS_PER_GB // 10**9
        for part in parts if images or stale else ():
            request: dict[str, Any] = {"images": part, "mode": write_mode(self.settings.registry.file_mode)}
            common = self.catalog_request if stale and part is parts[-1] else b""
            try:
                answer = self.sessions[node].ask("publish", request, timeout=seconds, common=common)
                changed = changed or answer["catalog"] == "written"
            except CommandFailed as error:  # of some images: they keep no other back
                failed = failed or error
        removed = remove_from_node(self.sessions[node], names, self.gone)
        if failed:
            raise failed
        moved = self.sent.get(node, size)
        state = "synced" if changed or removed else "unchanged"
        return Outcome(state, len(lacks), moved, removed=removed or None)

    def images_for(self, node: str) -> list[dict[str, Any]]:
        """What a node is to publish."""
        has, lacks = self.has[node], self.lacks[node]
        return [
            {"name": name, "digest": entry.digest, "size": entry.size, **signature_of(entry)}
            for name, entry in self.wanted.items()
            if has["names"].get(name) != entry.digest or entry.digest in lacks or name in has.get("changed", ())
        ]

    def is_stale(self, node: str) -> bool:
        return bool(self.has[node]["catalog_digest"] != self.catalog_digest)

    def look_for_users(self, node: str, wanted: bool) -> None:
        if wanted:
            self.users[node] = users_on_node(self.sessions[node], self.gone)

    def see(self, node: str) -> Outcome:
        """Wait until a node shows what the controller has published on the file system that they share."""
        deadline = time.monotonic() + SEEN_WITHIN
        while True:
            has = self.sessions[node].ask("have", {})
            late = [name for name, entry in self.wanted.items() if has["names"].get(name) != entry.digest]
            late += split_names(has["names"], self.gone)[0]
            if not late and has["catalog_digest"] == self.catalog_digest:
                return Outcome("unchanged")
            if time.monotonic() > deadline:
                raise CommandFailed(
                    f"does not show {', '.join(late) or 'the catalog'} as the controller has it",
                    where=node,
                    hint="is the shared file system mounted there, and not from a stale handle?",
                )
            time.sleep(1)

    def finish(self, node: str, outcome: Outcome) -> Outcome:
        seconds = time.monotonic() - self.started.get(node, time.monotonic())
        done = self.outcomes[node] = replace(outcome, seconds=seconds)
        read = self.repair and node in self.has and not self.has[node]["shared"]
        self.listener(NodeFinished(node=node, what=self.what, read=read, **asdict(done)))
        return done


def signature_of(entry: Entry) -> dict[str, str]:
    """What a node that asks for signatures looks at."""
    return {"signed": entry.signed, "signature": entry.signature} if entry.signature else {}
