"""relay: every node passes the bytes on to the next while they arrive; the controller sends them once.

The time is that of one transfer and little more, whatever the number of nodes. The nodes' agents carry the bytes
(agent/relay.py), chain.py says who sends to whom. Connections are encrypted by TLS; a peer must show the certificate of
this one transfer, which every node is told by ssh.
"""

from __future__ import annotations

import os
import secrets
import threading
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any, TypeVar

from ..agent.pieces import Pieces
from ..agent.relay import WORD, Sender
from ..controller.nodes import check_address
from ..errors import CommandFailed, HpcRegistryError, Unreachable
from ..fanout import fan_out
from ..naming import object_path
from ..transports.local import run_process
from .chain import Chain

if TYPE_CHECKING:
    from . import Job

Outcome = TypeVar("Outcome")
SMALLEST_PIECE, LARGEST_PIECE = 128 << 10, 1 << 20  # bytes; a piece is passed on when all of it has come
TICK = 0.2  # seconds between two looks at the chain
CONTROLLER = ""  # no node has this name


def distribute(job: Job[Outcome]) -> dict[str, Outcome | HpcRegistryError]:
    """See engines.Engine. Nodes that lack the same objects are one chain; one chain at a time."""
    chains: dict[tuple[str, ...], list[str]] = {}
    for node, digests in job.wanted.items():
        chains.setdefault(tuple(digests), []).append(node)
    outcomes = fan_out(chains.pop((), []), job.arrived, window=job.settings.window)
    for digests, nodes in sorted(chains.items(), key=lambda chain: -len(chain[1])):
        outcomes.update(Transfer(job, digests).run(nodes))
    return outcomes


def piece_size(total: int) -> int:
    """How large the pieces of so many bytes are: small ones reach the last node sooner, large ones cost less."""
    return min(LARGEST_PIECE, max(SMALLEST_PIECE, total // 2048))


class Transfer:
    """The same objects to some nodes."""

    def __init__(self, job: Job[Any], digests: Sequence[str]) -> None:
        self.job = job
        self.digests = digests
        self.sizes = [job.sizes[digest] for digest in digests]
        self.piece = piece_size(sum(self.sizes))
        self.certificate = make_certificate()
        self.places: dict[str, tuple[str, int]] = {}
        self.links: dict[str, str] = {}  # its name, which nobody can guess -> who sends over it
        self.sender: Sender | None = None
        self.deciding = threading.RLock()
        self.finished = threading.Event()
        self.deadline = time.monotonic() + job.settings.timeout

    def run(self, nodes: Sequence[str]) -> dict[str, Any]:
        registry = self.job.settings.registry
        with opened(object_path(registry, digest) for digest in self.digests) as files:
            self.pieces = Pieces(list(zip(files, self.sizes)), self.piece, "")  # noqa: B905 - strict= came with Python 3.10
            self.pieces.load_index()
            self.chain = Chain(self.pieces.total, CONTROLLER, self.connect, self.job.say)
            conductor = threading.Thread(target=self.conduct, daemon=True)
            conductor.start()
            try:
                return fan_out(nodes, self.carry, window=len(nodes))
            finally:
                self.finished.set()
                conductor.join()
                if self.sender:
                    self.sender.stop()

    def conduct(self) -> None:
        while not self.finished.wait(TICK):
            with self.deciding:
                self.chain.tick(time.monotonic())

    def carry(self, node: str) -> Any:
        """Have *node* receive, and listen to what it says until it has everything and has published it."""
        session = self.job.sessions[node]
        objects = [{"digest": digest, "size": self.job.sizes[digest]} for digest in self.digests]
        request = {"objects": objects, "piece": self.piece, "index": self.pieces.index}
        own = {"certificate": self.certificate, "network": self.job.settings.network}
        try:
            place = session.ask("relay", {**request, **own})
            address = check_address(node, place["address"], self.job.settings.network)
            with self.deciding:
                self.places[node] = (address, place["port"])
                self.chain.join(node, time.monotonic())
            while not self.heard(node, session.listen(1.0)):
                self.check(node)
            return self.job.arrived(node)
        except (KeyError, TypeError):
            self.lose(node)
            raise CommandFailed(f"{node}: what the agent says of the transfer makes no sense") from None
        except HpcRegistryError:
            self.lose(node)
            raise

    def lose(self, node: str) -> None:
        with self.deciding:
            self.chain.lose(node, time.monotonic())

    def heard(self, node: str, said: Mapping[str, Any] | None) -> bool:
        """Take in what a node says; True when it has everything."""
        event, now = (said or {}).get("event"), time.monotonic()
        with self.deciding:
            if said is None or event is None:
                return False
            if event == "has":
                self.chain.has(node, said["bytes"], said["arrived"], now)
                self.job.moved(node, max(0, said["bytes"] - len(self.pieces.digests)))
            elif event == "bad_piece":
                self.chain.blame(self.links.get(said["link"], ""), node, now)
            elif event == "send_failed":
                self.chain.link_failed(node, said["node"], now)
            elif event == "failed":
                raise CommandFailed(f"{node}: cannot write there: {said['why']}")
            return event == "has" and bool(said["bytes"] == self.pieces.total)

    def check(self, node: str) -> None:
        with self.deciding:
            if node in self.chain.stuck():
                have = self.chain.members[node].have
                raise CommandFailed(
                    f"{node}: got {have} of {self.pieces.total} bytes and then nothing, whoever sent",
                    hint="do the nodes reach each other on all ports? sync --engine star needs ssh only",
                )
        if time.monotonic() > self.deadline:
            raise CommandFailed(f"{node}: not all bytes came within {self.job.settings.timeout} s")

    def connect(self, upstream: str, node: str) -> None:
        """Let *upstream* send to *node*."""
        address, port = self.places[node]
        link = secrets.token_hex(WORD)
        self.links[link] = upstream
        order = {"node": node, "address": address, "port": port, "link": link, "rate": self.job.settings.limit_rate}
        if upstream != CONTROLLER:
            with suppress(Unreachable):  # what it was not told it does not do, and that shows as a stall
                self.job.sessions[upstream].tell("send", order)
            return
        if self.sender:
            self.sender.stop()
        self.sender = Sender(self.pieces, self.certificate, order, self.heard_here)
        self.sender.start()

    def heard_here(self, said: Mapping[str, Any]) -> None:
        self.heard(CONTROLLER, said)


@contextmanager
def opened(paths: Iterable[str]) -> Iterator[list[int]]:
    descriptors: list[int] = []
    try:
        for path in paths:
            descriptors.append(os.open(path, os.O_RDONLY | os.O_CLOEXEC))
        yield descriptors
    finally:
        for descriptor in descriptors:
            os.close(descriptor)


def make_certificate() -> str:
    """A certificate with its key (PEM) that nobody has had before."""
    argv = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    argv += ["-keyout", "-", "-out", "-", "-days", "1", "-subj", "/CN=hpcregistry"]
    made = run_process("controller", argv, timeout=30).check()
    return made.stdout
