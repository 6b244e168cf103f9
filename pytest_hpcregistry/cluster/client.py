"""The workstation's side of the controller program: every command to the cluster goes through here."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from io import FileIO
from pathlib import Path
from typing import Any

from ..core import facts, layout
from ..core.catalog import LARGEST, Catalog, Entry, from_text, unknown_image
from ..core.errors import Unreachable, UsageError
from ..core.events import (
    Asked,
    Cancelled,
    CatalogPart,
    Chosen,
    Event,
    Freed,
    Gathered,
    GcFinished,
    ImageSignatures,
    Listener,
    Looked,
    NodeAnswered,
    NodeFacts,
    NodeFinished,
    Received,
    Runs,
    SyncFinished,
    Tried,
)
from ..core.machine import FactsRequest, Question
from ..core.model import Cluster
from ..core.names import full_name
from ..core.nodeset import Choice, fold
from ..core.records import plain
from ..core.routes import by_node_set
from ..core.settings import chosen
from ..transports import Transport, open_transport
from .arguments import AS_CONFIGURED, SyncOptions, operator, option, signed, switch
from .remote import RemoteProgram, ignore

INSTALLED = (
    *(layout.LIBRARY, layout.AGENT, layout.CONTAINER_RUN, layout.RUNTIME),
    *(layout.PROGRAM_FILE, layout.LAUNCHER, layout.KNOWN_HOSTS),
)
READING = 120  # seconds to read 100 MiB of history and bring it here
QUICK = 60  # seconds for a question that moves no image
OWN_COMMAND = 12  # seconds for a command of a project's own, which the agent ends after 10
ALL_STARTS = 100 * 31  # seconds for a node to start as many images as it can answer for
SLOWEST_LINK = 1_000_000  # bytes/s below which an upload is given up
SLOWEST_HASH = 100_000_000  # bytes/s below which reading images back is given up
SLOWEST_SIGNATURE = 40_000_000  # the same for verifying the signatures of one, which the controller gives up first
PROGRESS_INTERVAL = 1.0  # seconds between two reports of how far an upload is


ALL = Choice()


@dataclass(frozen=True)
class Wait:
    """Seconds to wait before anybody is asked: until a sync begins, and then until none is under way."""

    for_sync: float = 0.0
    for_end: float = 0.0


class ControllerClient:
    """Questions and orders to one cluster's controller, over one transport; of the nodes only those of *choice* are
    asked or changed."""

    def __init__(self, cluster: Cluster, transport: Transport, choice: Choice = ALL) -> None:
        self.cluster = cluster
        self.transport = transport
        self.choice = choice
        self.program = RemoteProgram(cluster, transport)

    def __enter__(self) -> ControllerClient:
        return self

    def __exit__(self, *_: object) -> None:
        self.transport.close()

    def gather(self, question: Question, listener: Listener, wait: Wait | None = None) -> None:
        """Have the controller ask itself and all nodes, one login each. The *listener* gets `node_facts` of each node,
        the catalog in parts, `gathered` as the last, and before them what is waited for.

        Raises Unreachable when the controller cannot be reached, CommandFailed when its program fails.
        """
        sync, wait = self.cluster.sync, wait or Wait()
        own = OWN_COMMAND * len(question.commands)
        request = FactsRequest(
            nodes=None if self.cluster.nodes is None else list(self.cluster.nodes),
            window=sync.window,
            connect_timeout=sync.connect_timeout,
            timeout=(sync.timeout if question.content else QUICK) + own,
            question=question,
            choice=self.choice,
            texts=[f"{sync.key}.pub"] if question.host else [],
            wait_for_sync=wait.for_sync,
            wait_for_end=wait.for_end,
            routes=by_node_set(self.cluster.routes),
        )
        starts = ALL_STARTS if question.start else 0
        timeout = sync.timeout + QUICK + own + starts + wait.for_sync + wait.for_end
        self.program.pass_on(["facts", json.dumps(plain(request))], timeout=timeout, listener=listener)

    def facts(
        self, question: Question | None = None, listener: Listener = ignore, wait: Wait | None = None
    ) -> facts.Facts:
        """The facts of the whole cluster, as `gather` brings them; without a *question* what lies in the registries.

        The *listener* gets how far that is, and what is waited for.
        """
        found: list[Event] = []

        def listen(event: Event) -> None:
            if not isinstance(event, (NodeFacts, CatalogPart, Gathered)):
                listener(event)
                return
            found.append(event)
            if isinstance(event, NodeFacts):
                listener(NodeAnswered(event.node, event.facts.bytes_read if event.facts else 0, event.seconds))
            elif isinstance(event, Gathered):
                listener(Asked())

        self.gather(question or self.question(), listen, wait)
        return facts.read(found, self.cluster.registry.path)

    def question(
        self,
        *,
        content: bool = False,
        names: Sequence[str] | None = None,
        inspect: bool = False,
        host: bool = False,
        brief: bool = False,
    ) -> Question:
        """What to ask of this cluster's machines: *content* reads every byte of the images (of *names*)."""
        registry, sync, slurm = self.cluster.registry, self.cluster.sync, self.cluster.slurm
        asked = Question(
            registry.path,
            list(registry.directories),
            content=content,
            names=None if names is None else list(names),
            inspect=inspect,
            brief=brief,
        )
        if not host:
            return asked
        containers, history = f"{slurm.conf_dir}/oci.conf", self.path(layout.HISTORY)
        return replace(
            asked,
            host=True,
            users=[registry.owner, "slurm"],
            groups=[registry.group],
            readers=sorted({"slurm", slurm.run_as or "slurm"}),
            paths=[*INSTALLED, sync.key, sync.log, history, containers, *self.cluster.runtime.sources()],
            texts=[
                self.path(layout.CONFIG),
                self.path(layout.PEERS),
                self.path(layout.SIGNERS),
                containers,
                layout.RUNTIME,
            ],
            runtime=layout.CONTAINER_RUN if slurm.container else None,
        )

    def require_root(self) -> None:
        """Raise UsageError where who logs in to the controller cannot become root there."""
        if self.cluster.controller.user != "root":
            result = self.transport.run(self.program.as_root(["true"]), timeout=QUICK)
            if result.exit_code != 0:
                raise self.program.no_answer(result)

    def list_nodes(self) -> list[str]:
        """The cluster file's nodes, or the ones that Slurm knows; of these the chosen ones. Raises Unreachable when
        Slurm does not answer, UsageError for a choice that names others or leaves none."""
        if self.choice != ALL:
            configured = option("--configured", self.cluster.nodes and fold(self.cluster.nodes))
            return self.program.ask(Chosen, ["nodes", *configured, *self.chosen()], timeout=QUICK).nodes
        if self.cluster.nodes is not None:
            return list(self.cluster.nodes)
        result = self.transport.run(["sinfo", "-N", "-h", "-o", "%N"], timeout=QUICK)
        names = sorted(set(result.stdout.split()))
        if result.exit_code != 0 or not names:
            said = result.last_words("sinfo names no node")
            hint = "is slurmctld running? Or name the nodes in the cluster file"
            raise Unreachable(
                f"Slurm does not say which nodes there are: {said}", where=self.cluster.controller.name, hint=hint
            )
        return names

    def left_out(self) -> list[str]:
        """The nodes of the cluster that are not chosen. Raises as list_nodes."""
        if self.choice == ALL:
            return []
        every = ControllerClient(self.cluster, self.transport).list_nodes()
        return sorted(set(every) - set(self.list_nodes()))

    def catalog(self) -> Catalog:
        """The controller's catalog. Raises UsageError when there is none, ConfigError when it is broken."""
        path, lines = self.path(layout.CATALOG), list[str]()
        # Line by line, as all of it may be more than a command may print; what is too large is cut, and refused.
        argv = self.program.as_root(["head", "-c", str(LARGEST + 1), path])
        result = self.transport.run(argv, timeout=QUICK, on_line=lines.append)
        if result.exit_code != 0:
            raise self.program.no_answer(result)
        return from_text("\n".join([*lines, ""]), path)

    def find_image(self, name: str) -> tuple[str, Entry]:
        """An image's full name and what the catalog says of it. Raises UsageError when it is not there; as catalog."""
        registry = self.cluster.registry
        wanted = full_name(name, registry.path, registry.directories)
        catalog = self.catalog()
        gone = catalog.removed.get(wanted)
        if gone:
            undo = "deploy it again" if gone.freed else f"hpc-container-manager catalog restore {wanted}"
            raise UsageError(f"{wanted} was removed at {gone.removed} by {gone.by}", hint=undo)
        if wanted not in catalog.images:
            raise unknown_image(wanted, catalog.images)
        return wanted, catalog.images[wanted]

    def look(self, digest: str, size: int) -> Looked:
        """Whether the controller already has these bytes, and what machines the nodes are."""
        return self.program.ask(Looked, ["has", digest, str(size)], timeout=QUICK + size / SLOWEST_HASH)

    def send(self, path: Path, digest: str, size: int, on_sent: Callable[[int], None]) -> None:
        """Bring an image's bytes to the controller's staging directory, hashed there as they arrive.

        *on_sent* gets about once a second how many are on their way, perhaps in another thread.
        """
        timeout = QUICK + size / SLOWEST_LINK
        with ProgressFile(path, on_sent) as stream:
            self.program.ask(Received, ["receive", digest, str(size)], stdin=stream, timeout=timeout)

    def publish(self, request: Mapping[str, Any], listener: Listener = ignore) -> Event:
        """Give received bytes their name on the controller, and write the catalog. The *listener* gets what is odd."""
        body = json.dumps(request).encode()
        timeout = QUICK + request["size"] / SLOWEST_HASH + len(body) / SLOWEST_LINK
        if self.cluster.registry.image_keys:
            timeout += QUICK + request["size"] / SLOWEST_SIGNATURE
        return self.program.ask(Event, ["publish", "--by", operator()], stdin=body, timeout=timeout, listener=listener)

    def sync(
        self,
        listener: Listener,
        options: SyncOptions = AS_CONFIGURED,
        *,
        subdirectory: str | None = None,
        names: Sequence[str] = (),
        dry_run: bool = False,
        assume: Mapping[str, Mapping[str, Any]] | None = None,
    ) -> dict[str, NodeFinished]:
        """Bring all images, those in *subdirectory* or those of *names* to every node, by the controller's sync.

        The *listener* gets its events, also for each setting of the cluster file that is not in force yet; returned is
        what became of each node. Raises Unreachable when the
        controller cannot be reached, CommandFailed when the sync did not come to its end, and whatever it failed of.

        With *dry_run* the nodes are asked, here and in the three below, and nothing is changed; *assume* are images
        that the controller then takes for published, by name with their `digest` and `size`.
        """
        only = [word for name in names for word in ("--name", name)]
        where = [] if subdirectory is None else [subdirectory]
        words = [*self.begun(dry_run), *options.words(), *only, *where]
        words += ["--assume", json.dumps(assume)] if assume else []
        return self.nodes_of("sync", words, listener)

    def begun(self, dry_run: bool) -> list[str]:
        """What every command that changes nodes is told."""
        return [*self.settings(), *self.chosen(), "--by", operator(), *switch("--dry-run", dry_run)]

    def chosen(self) -> list[str]:
        return [*option("--nodes", self.choice.only or None), *option("--exclude", self.choice.exclude or None)]

    def settings(self) -> list[str]:
        """What the cluster file says, for the controller to report what of it is not in force."""
        return ["--settings", json.dumps(chosen(self.cluster))]

    def rollback(
        self,
        name: str,
        version: str | None,
        listener: Listener,
        signature: Mapping[str, str] | None = None,
        *,
        dry_run: bool = False,
        no_wait: bool = False,
    ) -> dict[str, NodeFinished]:
        """Let *name* mean *version* (a digest's beginning; None: the one before) again, on all machines; as sync.

        *signature* is one for that.
        """
        words = [name, *option("--to", version), *switch("--no-wait", no_wait), *signed(signature)]
        return self.nodes_of("rollback", [*self.begun(dry_run), *words], listener)

    def remove(
        self, names: Sequence[str], after: int, listener: Listener, *, dry_run: bool = False, no_wait: bool = False
    ) -> dict[str, NodeFinished]:
        """Take images out of the catalog, and their names from all machines; gc keeps their bytes for *after* seconds.
        As sync."""
        words = ["--after", f"{after}s", *switch("--no-wait", no_wait), *names]
        return self.nodes_of("remove", [*self.begun(dry_run), *words], listener)

    def restore(
        self,
        name: str,
        version: str | None,
        listener: Listener,
        signature: Mapping[str, str] | None = None,
        *,
        dry_run: bool = False,
        no_wait: bool = False,
    ) -> dict[str, NodeFinished]:
        """Let a removed image have its name again, for *version* or for what it meant last; as rollback."""
        words = [name, *option("--to", version), *switch("--no-wait", no_wait), *signed(signature)]
        return self.nodes_of("restore", [*self.begun(dry_run), *words], listener)

    def gc(
        self,
        listener: Listener,
        *,
        keep: int | None = None,
        grace: int | None = None,
        dry_run: bool = False,
        no_wait: bool = False,
    ) -> dict[str, Freed]:
        """Free what nothing refers to, but *keep* older versions and what came within *grace* seconds (None: as
        configured); returns what became of each machine. Raises as sync."""
        words = [
            *self.settings(),
            "--by",
            operator(),
            *switch("--dry-run", dry_run),
            *switch("--no-wait", no_wait),
            *option("--keep", keep),
            *option("--grace", grace),
        ]
        return self.program.to_its_end(GcFinished, "gc", words, listener)[1].machines

    def running(self) -> Runs:
        """What runs on the controller."""
        return self.program.ask(Runs, ["running"], timeout=QUICK)

    def cancel(self) -> Cancelled:
        """End what is at work on the controller, as Ctrl-C there would.

        Raises UsageError when nothing is, CommandFailed when it does not end.
        """
        return self.program.ask(Cancelled, ["cancel", "--by", operator()], timeout=READING)

    def nodes_of(self, command: str, arguments: Sequence[str], listener: Listener) -> dict[str, NodeFinished]:
        events, _ = self.program.to_its_end(SyncFinished, command, arguments, listener)
        return {event.node: event for event in events if isinstance(event, NodeFinished)}

    def image_signatures(self, sizes: Mapping[str, int], keys: Sequence[str]) -> ImageSignatures:
        """What the controller's Apptainer says by *keys* of its copies of these images, each with its size in bytes."""
        body = json.dumps({"names": list(sizes), "keys": list(keys)}).encode()
        timeout = sum((QUICK + size / SLOWEST_SIGNATURE for size in sizes.values()), start=float(QUICK))
        return self.program.ask(ImageSignatures, ["signatures"], stdin=body, timeout=timeout)

    def try_sync_key(self, nodes: Sequence[str] = ()) -> dict[str, str]:
        """What the sync key can do on each node, or of *nodes*; "works, refuses a shell" is as it should be."""
        only = nodes if self.choice != ALL else ()
        return self.program.ask(Tried, ["try-key", *only], timeout=QUICK * 2).nodes

    def path(self, inside: str) -> str:
        return layout.inside(self.cluster.registry.path, inside)


def open_client(cluster: Cluster, choice: Choice = ALL) -> ControllerClient:
    """A client, closed at the end of a `with`; nothing is connected before its first question."""
    return ControllerClient(cluster, open_transport(cluster), choice)


class ProgressFile(FileIO):
    """A file that reports, about once a second, how far it has been read."""

    def __init__(self, path: Path, on_read: Callable[[int], None]) -> None:
        super().__init__(path)
        self.on_read = on_read
        self.reported = time.monotonic()

    def read(self, size: int | None = -1) -> bytes:
        if time.monotonic() - self.reported >= PROGRESS_INTERVAL:
            self.reported = time.monotonic()
            self.on_read(self.tell())
        return super().read(size)
