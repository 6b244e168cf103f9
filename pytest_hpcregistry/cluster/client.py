"""The workstation's side of the controller program: every command to the cluster goes through here."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from io import FileIO
from pathlib import Path
from typing import Any, TypeVar

from .. import __version__
from ..core import documents, facts, layout
from ..core.catalog import Catalog, from_data
from ..core.errors import RUN_SETUP, CommandFailed, HpcRegistryError, Unreachable, UsageError
from ..core.events import (
    Event,
    Failed,
    Freed,
    Gathered,
    GcFinished,
    Listener,
    Looked,
    NodeFacts,
    NodeFinished,
    Received,
    SyncFinished,
    Tried,
    from_line,
)
from ..core.model import Cluster
from ..transports import CommandResult, Transport, open_transport
from .programs import build_controller

INSTALLED = (layout.AGENT, layout.PROGRAM, layout.LAUNCHER, layout.KNOWN_HOSTS)
QUICK = 60  # seconds for a question that moves no image
SLOWEST_LINK = 1_000_000  # bytes/s below which an upload is given up
SLOWEST_HASH = 100_000_000  # bytes/s below which reading images back is given up
TELL_EVERY = 1.0  # seconds between two words of how far an upload is

# Facts are asked by this version's own program, sent along: before phase 1 there is none on the controller.
RUN_FROM_STDIN = """\
import subprocess, sys, tempfile
with tempfile.NamedTemporaryFile(suffix=".pyz") as program:
    program.write(sys.stdin.buffer.read())
    program.flush()
    sys.exit(subprocess.call([sys.executable, program.name] + sys.argv[1:], stdin=subprocess.DEVNULL))
"""

Kind = TypeVar("Kind", bound=Event)


@dataclass(frozen=True)
class SyncOptions:
    """How bytes reach the nodes, where that is not as configured; `limit_rate` in bytes/s."""

    engine: str | None = None
    limit_rate: int | None = None

    def words(self) -> list[str]:
        return [*option("--engine", self.engine), *option("--limit-rate", self.limit_rate)]


def option(name: str, value: object) -> list[str]:
    """An option of the controller program; nothing where there is no value."""
    return [] if value is None else [name, str(value)]


AS_CONFIGURED = SyncOptions()


class ControllerClient:
    """Questions and orders to one cluster's controller, over one transport."""

    def __init__(self, cluster: Cluster, transport: Transport) -> None:
        self.cluster = cluster
        self.transport = transport

    def __enter__(self) -> ControllerClient:
        return self

    def __exit__(self, *_: object) -> None:
        self.transport.close()

    def gather(
        self,
        *,
        content: bool = False,
        names: Sequence[str] | None = None,
        inspect: bool = False,
        wait: Mapping[str, float] | None = None,
        listener: Listener | None = None,
    ) -> Mapping[str, Any]:
        """Facts of the controller and all nodes, one login each; *content* reads every byte of the images (*names*).

        *wait* is for syncs, as controller.gather has it: *listener* is told of that. Returns plain data for facts.read,
        which can also be handed to another process.
        """
        request = json.dumps({**self.facts_request(content, names, inspect), "wait": dict(wait or {})})
        argv = ["python3", "-c", RUN_FROM_STDIN, "--json", "facts", request]
        timeout = self.cluster.sync.timeout + QUICK + sum((wait or {}).values())
        events = self.run(argv, stdin=build_controller(), timeout=timeout, listener=listener)
        nodes = {event.node: event.facts for event in events if isinstance(event, NodeFacts)}
        last = events[-1]
        if not isinstance(last, Gathered) or set(last.facts["nodes"]) != set(nodes):
            raise HpcRegistryError("the controller program gave no facts", where=self.cluster.controller.name)
        return {**last.facts, "nodes": {name: nodes[name] for name in sorted(nodes)}}

    def facts(self, **asked: Any) -> facts.Facts:
        """`gather`, read."""
        return facts.read(self.gather(**asked), self.cluster.registry.path)

    def facts_request(self, content: bool, names: Sequence[str] | None, inspect: bool) -> dict[str, Any]:
        registry, sync, slurm = self.cluster.registry, self.cluster.sync, self.cluster.slurm
        return {
            "nodes": self.cluster.nodes,
            "window": sync.window,
            "connect_timeout": sync.connect_timeout,
            "timeout": sync.timeout if content else QUICK,
            "agent": {
                "registry": registry.path,
                "directories": registry.directories,
                "content": content,
                "names": names,
                "inspect": inspect,
                "users": [registry.owner, "slurm"],
                "groups": [registry.group],
                "readers": sorted({"slurm", slurm.run_as} - {None}, key=str),
                "paths": [*INSTALLED, sync.key, sync.log, f"{slurm.conf_dir}/oci.conf"],
                "texts": [self.path(layout.CONFIG), self.path(layout.PEERS), f"{slurm.conf_dir}/oci.conf"],
            },
            "controller": {
                "texts": [
                    self.path(layout.CATALOG),
                    self.path(layout.CONFIG),
                    self.path(layout.PEERS),
                    f"{sync.key}.pub",
                    f"{slurm.conf_dir}/oci.conf",
                ]
            },
        }

    def list_nodes(self) -> list[str]:
        """The cluster file's nodes, or the ones that Slurm knows. Raises Unreachable when Slurm does not answer."""
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

    def catalog(self) -> Catalog:
        """The controller's catalog. Raises UsageError when there is none, ConfigError when it is broken."""
        path = self.path(layout.CATALOG)
        result = self.transport.run(self.as_root(["cat", path]), timeout=QUICK)
        if result.exit_code != 0:
            raise self.no_answer(result)
        return from_data(documents.load(result.stdout, path), path)

    def has(self, digest: str, size: int) -> bool:
        """Whether the controller already has these bytes."""
        return self.ask(Looked, ["has", digest, str(size)], timeout=QUICK + size / SLOWEST_HASH).present

    def send(self, path: Path, digest: str, size: int, on_sent: Callable[[int], None]) -> None:
        """Bring an image's bytes to the controller's staging directory, hashed there as they arrive; *on_sent* is told
        about once a second, perhaps from another thread, how many are on their way."""
        with ToldFile(path, on_sent) as stream:
            self.ask(Received, ["receive", digest, str(size)], stdin=stream, timeout=QUICK + size / SLOWEST_LINK)

    def publish(self, request: Mapping[str, Any]) -> Event:
        """Give received bytes their name on the controller, and write the catalog."""
        body = json.dumps(request).encode()
        return self.ask(Event, ["publish"], stdin=body, timeout=QUICK + request["size"] / SLOWEST_HASH)

    def sync(
        self,
        listener: Listener,
        options: SyncOptions = AS_CONFIGURED,
        *,
        subdirectory: str | None = None,
        names: Sequence[str] = (),
    ) -> dict[str, NodeFinished]:
        """Bring all images, those in *subdirectory* or those of *names* to every node, by the controller's sync.

        Its events are passed on as they come; returned is what became of each node. Raises Unreachable when the
        controller cannot be reached, CommandFailed when the sync did not come to its end, and whatever it failed of.
        """
        only = [word for name in names for word in ("--name", name)]
        where = [] if subdirectory is None else [subdirectory]
        return self.nodes_of("sync", [*options.words(), *only, *where], listener)

    def rollback(self, name: str, version: str | None, by: str, listener: Listener) -> dict[str, NodeFinished]:
        """Let *name* mean *version* (a digest's beginning; None: the one before) again, on all machines; as sync."""
        return self.nodes_of("rollback", [name, *option("--to", version), "--by", by], listener)

    def gc(
        self, listener: Listener, *, by: str, keep: int | None = None, grace: int | None = None, dry_run: bool = False
    ) -> dict[str, Freed]:
        """Free what nothing refers to, but *keep* older versions and what came within *grace* seconds (None: as
        configured); returns what became of each machine. Raises as sync."""
        words = ["--by", by, *(["--dry-run"] if dry_run else []), *option("--keep", keep), *option("--grace", grace)]
        return self.to_its_end(GcFinished, "gc", words, listener)[1].machines

    def nodes_of(self, command: str, arguments: Sequence[str], listener: Listener) -> dict[str, NodeFinished]:
        events, _ = self.to_its_end(SyncFinished, command, arguments, listener)
        return {event.node: event for event in events if isinstance(event, NodeFinished)}

    def to_its_end(
        self, end: type[Kind], command: str, arguments: Sequence[str], listener: Listener
    ) -> tuple[list[Event], Kind]:
        """Run a command that the controller must bring to its end; returns its events, and the one that is its end."""
        argv = self.installed(command, *arguments)
        events = self.run(argv, timeout=self.cluster.sync.timeout * 2, listener=listener)
        last = events[-1]
        if not isinstance(last, end):
            raise CommandFailed(
                f"the {command} ended before it was done",
                where=self.cluster.controller.name,
                hint="see its log there: " + self.cluster.sync.log,
            )
        return events, last

    def try_sync_key(self) -> dict[str, str]:
        """What the sync key can do on each node; "works, refuses a shell" is as it should be."""
        return self.ask(Tried, ["try-key"], timeout=QUICK * 2).nodes

    def path(self, inside: str) -> str:
        return layout.inside(self.cluster.registry.path, inside)

    def ask(self, kind: type[Kind], words: Sequence[str], *, timeout: float, stdin: Any = None) -> Kind:
        """The event that the controller program answers with."""
        last = self.run(self.installed(*words), stdin=stdin, timeout=timeout)[-1]
        if not isinstance(last, kind):
            raise CommandFailed(f"no answer to {words[0]}", where=self.cluster.controller.name, hint=RUN_SETUP)
        return last

    def installed(self, *words: str) -> list[str]:
        """The program that phase 1 installed; one of another version does nothing."""
        config = self.path(layout.CONFIG)
        return ["python3", layout.PROGRAM, "--expect", __version__, "--config", config, "--json", *words]

    def run(
        self, argv: Sequence[str], *, timeout: float, stdin: Any = None, listener: Listener | None = None
    ) -> list[Event]:
        """Run the controller program; return its events. Its failure is raised here as the same kind of failure."""
        events: list[Event] = []

        def on_line(line: str) -> None:
            try:
                event = from_line(line)
            except ValueError as error:
                raise CommandFailed(
                    f"what the controller program tells makes no sense: {error}",
                    where=self.cluster.controller.name,
                    hint=RUN_SETUP,
                ) from None
            if event:
                events.append(event)
                if listener:
                    listener(event)

        result = self.transport.run(self.as_root(argv), stdin=stdin, timeout=timeout, on_line=on_line)
        failures = [event for event in events if isinstance(event, Failed)]
        if failures:
            raise failures[-1].error()
        # 3 and 4 are a sync's own, told by its events; anything else is a program that was ended or broke.
        if not events or result.exit_code not in (0, 3, 4):
            raise self.no_answer(result)
        return events

    def as_root(self, argv: Sequence[str]) -> list[str]:
        return list(argv) if self.cluster.controller.user == "root" else ["sudo", "-n", *argv]

    def no_answer(self, result: CommandResult) -> HpcRegistryError:
        """The program did not even start: say why, in the user's terms."""
        name = self.cluster.controller.name
        said = result.last_words()
        if "No such file" in result.stderr or "can't open file" in result.stderr:
            return UsageError("phase 1 has not been run", where=name, hint="hpc-container-manager registry setup")
        if "unrecognized arguments: --expect" in result.stderr:
            return UsageError(f"has an older version of the program than {__version__}", where=name, hint=RUN_SETUP)
        if "sudo:" in result.stderr:
            hint = f"let {self.cluster.controller.user} run `sudo -n` there without a password"
            return UsageError(said, where=name, hint=hint)
        return CommandFailed(f"the controller program said (exit {result.exit_code}): {said}", where=name)


def open_client(cluster: Cluster) -> ControllerClient:
    """A client, closed at the end of a `with`; nothing is connected before its first question."""
    return ControllerClient(cluster, open_transport(cluster))


class ToldFile(FileIO):
    """A file that tells, about once a second, how far it has been read."""

    def __init__(self, path: Path, on_read: Callable[[int], None]) -> None:
        super().__init__(path)
        self.on_read = on_read
        self.told = time.monotonic()

    def read(self, size: int | None = -1) -> bytes:
        if time.monotonic() - self.told >= TELL_EVERY:
            self.told = time.monotonic()
            self.on_read(self.tell())
        return super().read(size)
