"""relay: every node passes the bytes on to the next while they arrive; the controller sends them once.

The time is that of one transfer and little more, whatever the number of nodes. The nodes' agents carry the bytes
(agent/relay.py), chain.py says who sends to whom. Connections are encrypted by TLS; a peer must show the certificate of
this one transfer, which every node gets by ssh.
"""

from __future__ import annotations

import secrets
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING, Any, TypeVar

from ...agent.pieces import Pieces, piece_size
from ...agent.relay import WORD, Sender
from ...core.errors import CommandFailed, HpcRegistryError, Unreachable
from ...core.fanout import fan_out
from ...core.names import excerpt, visible
from ...core.nodeset import fold
from ...transports.process import run_process
from ..nodes import check_address, refuse_error
from . import star
from .chain import Chain

if TYPE_CHECKING:
    from . import Job

Outcome = TypeVar("Outcome")
TICK = 0.2  # seconds between two looks at the chain
CONTROLLER = ""  # no node has this name


def distribute(job: Job[Outcome]) -> dict[str, Outcome | HpcRegistryError]:
    """See engines.Engine. Nodes that lack the same objects are one chain; no chain waits for another."""
    chains: dict[str, list[str]] = {}
    for node, digests in job.wanted.items():
        chains.setdefault(" ".join(digests), []).append(node)
    rate = star.share(job.settings.sync.limit_rate, len([digests for digests in chains if digests]))

    def serve(digests: str) -> dict[str, Outcome | HpcRegistryError]:
        nodes = chains[digests]
        if not digests:
            return fan_out(nodes, job.arrived, window=job.settings.sync.window, on_error=job.failed)
        return Transfer(job, digests.split(), rate).run(nodes)

    outcomes: dict[str, Outcome | HpcRegistryError] = {}
    for digests, result in fan_out(chains, serve, window=job.settings.sync.window).items():
        nodes = chains[digests]
        outcomes.update(dict.fromkeys(nodes, result) if isinstance(result, HpcRegistryError) else result)
    left = [node for node, outcome in outcomes.items() if isinstance(outcome, Ended)]
    if left:
        job.say(f"the relay ended, {outcomes[left[0]]}: {fold(left)} get their bytes from the controller, by star")
        by_star = star.distribute(replace(job, wanted={node: job.wanted[node] for node in left}))
        outcomes.update(by_star)
    return outcomes


class Ended(HpcRegistryError):
    """The transfer has ended before its time, by no fault of the node."""


class Transfer:
    """The same objects to some nodes. *rate* is the most that each machine sends, in bytes/s; 0: no limit."""

    def __init__(self, job: Job[Any], digests: Sequence[str], rate: int = 0) -> None:
        self.job = job
        self.digests = digests
        self.rate = rate
        files = [(job.open_object(digest), job.sizes[digest]) for digest in digests]
        self.piece = piece_size(sum(size for _, size in files))
        self.pieces = Pieces(files, self.piece, "")
        self.certificate = make_certificate()
        self.places: dict[str, tuple[str, int]] = {}
        self.links: dict[str, tuple[str, str]] = {}  # its name, which nobody can guess -> who sends over it to whom
        self.expecting: dict[str, str] = {}  # node -> the link that it was last ordered to expect
        self.orders: dict[tuple[str, int], Callable[[Any], None]] = {}  # node, number -> what its answer is for
        self.sender: Sender | None = None
        self.strangers: set[tuple[str, str]] = set()  # who was reported: where, and from which address
        self.broken = ""  # why the transfer cannot be mended any more
        self.deciding = threading.RLock()
        self.finished = threading.Event()
        self.deadline = time.monotonic() + job.settings.sync.timeout

    def run(self, nodes: Sequence[str]) -> dict[str, Any]:
        self.pieces.load_index()
        self.chain = Chain(self.pieces.total, CONTROLLER, self.connect, self.job.say)
        conductor = threading.Thread(target=self.conduct, daemon=True)
        conductor.start()
        try:
            return fan_out(nodes, self.carry, window=len(nodes), on_error=self.tell_failure)
        finally:
            self.finished.set()
            conductor.join()
            if self.sender:
                self.sender.stop()

    def tell_failure(self, node: str, error: HpcRegistryError) -> None:
        if not isinstance(error, Ended):  # who ended by no fault of its own is served by star
            self.job.failed(node, error)

    def conduct(self) -> None:
        """Look at the chain again and again. If that fails, whatever the reason, the transfer ends: see `check`."""
        try:
            while not self.finished.wait(TICK):
                with self.deciding:
                    self.chain.tick(time.monotonic())
        except Exception as error:
            self.broken = f"{type(error).__name__}: {error}"

    def carry(self, node: str) -> Any:
        """Have *node* receive, and listen to what it says until it has everything and has published it."""
        session = self.job.sessions[node]
        objects = [{"digest": digest, "size": self.job.sizes[digest]} for digest in self.digests]
        request = {"objects": objects, "piece": self.piece, "index": self.pieces.index}
        own = {"certificate": self.certificate, "network": self.job.settings.sync.network}
        try:
            place = session.ask("relay", {**request, **own})
            address = check_address(node, place["address"], self.job.settings)
            with self.deciding:
                self.places[node] = (address, place["port"])
                self.chain.join(node, time.monotonic())
            while not self.heard(node, session.listen(1.0)):
                self.check(node)
            return self.job.arrived(node)
        except Exception:
            with self.deciding:
                self.chain.lose(node, time.monotonic())
            raise

    def heard(self, node: str, said: Mapping[str, Any] | None) -> bool:
        """Take in what a node says; True when it has everything."""
        if said is None:
            return False
        with self.deciding:
            if "id" in said:
                self.orders.pop((node, said["id"]), ignore)(said)
                return False
            return self.take_event(node, said, time.monotonic())

    def take_event(self, node: str, said: Mapping[str, Any], now: float) -> bool:
        event = said["event"]
        if event == "has":
            self.check_progress(node, said["bytes"], said["arrived"])
            self.chain.has(node, said["bytes"], said["arrived"], now)
            self.job.moved(node, max(0, said["bytes"] - len(self.pieces.digests)))
            return bool(said["bytes"] == self.pieces.total)
        if event == "bad_piece":
            self.chain.blame(self.links.get(said["link"], ("", ""))[0], node, now)
        elif event == "send_failed":
            self.chain.link_failed(node, said["node"], now)
        elif event == "stranger":
            self.tell_of_stranger(node, said["address"])
        elif event == "failed":
            raise CommandFailed(f"cannot write there: {visible(said['why'])}", where=node)
        return False

    def check_progress(self, node: str, proven: int, arrived: int) -> None:
        """Numbers go forward only, and not beyond the end."""
        before = self.chain.members[node]
        # What has come and is not proven yet is at most one piece, or the digests of all.
        most = min(self.pieces.total, proven + max(self.piece, len(self.pieces.digests)))
        if not before.have <= proven <= self.pieces.total or not proven <= arrived <= most:
            raise CommandFailed(
                f"what the agent says of the transfer is malformed: {proven} of {self.pieces.total} bytes are"
                f" there, {arrived} have come, and {before.have} were there before",
                where=node,
            )

    def tell_of_stranger(self, node: str, address: str) -> None:
        """Somebody came to a node and was refused: said once. One that was to send there, and is late, is none."""
        if (node, address) in self.strangers:
            return
        self.strangers.add((node, address))
        caller = next((name for name, (known, _) in self.places.items() if known == address), f"somebody at {address}")
        if (caller, node) not in self.links.values():
            self.job.say(f"{caller} connected to {node} without being told to: refused")

    def check(self, node: str) -> None:
        with self.deciding:
            if node in self.chain.stuck():
                have = self.chain.members[node].have
                raise CommandFailed(
                    f"received {have} of {self.pieces.total} bytes; no other node could send it the rest",
                    where=node,
                    hint="do the nodes reach each other on all ports? sync --engine star needs ssh only",
                )
        if self.broken:
            raise Ended(self.broken)
        if time.monotonic() > self.deadline:
            raise CommandFailed(f"not all bytes came within {self.job.settings.sync.timeout} s", where=node)

    def connect(self, upstream: str, node: str) -> None:
        """Let *upstream* send to *node*, which is ordered first to expect it: it lets nobody else in."""
        address, port = self.places[node]
        link = secrets.token_hex(WORD)
        self.links[link] = (upstream, node)
        self.expecting[node] = link
        order = {"node": node, "address": address, "port": port, "link": link, "rate": self.rate}

        def expected(answer: Mapping[str, Any]) -> None:
            refuse_error(node, answer)
            if self.expecting[node] == link:  # or it answers late, and the upstream sends to another by now
                self.send(upstream, order)

        self.order(node, "expect", {"link": link}, expected)

    def send(self, upstream: str, order: dict[str, Any]) -> None:
        """Have a node, or the controller itself, send to another."""

        def begun(answer: Mapping[str, Any]) -> None:
            if "error" in answer:
                why = ": ".join(excerpt(str(answer[key])) for key in ("error", "hint") if answer.get(key))
                self.job.say(f"{upstream} does not send to {order['node']}: {why}")
                self.chain.refused(upstream, order["node"], time.monotonic())

        if upstream != CONTROLLER:
            self.order(upstream, "send", order, begun)
            return
        if self.sender:
            self.sender.stop()
        self.sender = Sender(self.pieces, self.certificate, order, lambda said: ignore(self.heard(CONTROLLER, said)))
        self.sender.start()

    def order(self, node: str, verb: str, request: dict[str, Any], on_answer: Callable[[Any], None]) -> None:
        # A node that did not get the order does not obey it, and that shows as a stall.
        with suppress(Unreachable):
            self.orders[node, self.job.sessions[node].tell(verb, request)] = on_answer


def ignore(_: Any) -> None:
    """An answer on which nothing depends."""


def make_certificate() -> str:
    """A certificate with its key (PEM) that nobody has had before."""
    argv = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    argv += ["-keyout", "-", "-out", "-", "-days", "1", "-subj", "/CN=hpcregistry"]
    made = run_process("controller", argv, timeout=30).check()
    return made.stdout
