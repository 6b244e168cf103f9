"""Sync is convergence: what the catalog wants, minus what a node has, moves. Run twice, the second moves nothing."""

from __future__ import annotations

import fcntl
import hashlib
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ..catalog import Catalog, Entry
from ..engines import Engine, choose
from ..errors import CommandFailed, HpcRegistryError, Unreachable, UsageError
from ..fanout import fan_out
from ..naming import check_directory
from .events import Listener
from .nodes import ask, list_nodes
from .registry import catalog_of, read_catalog_text
from .settings import Settings

PUBLISH_SECONDS_PER_GB = 60  # a node reads back what it received; 214 MB/s and core was the slowest hash measured
RESERVE = 64 << 20  # bytes to leave free on a node


@dataclass(frozen=True)
class Outcome:
    """What became of one node: `state` is synced, unchanged, failed or unreachable. `bytes` moved, in `seconds`."""

    state: str
    objects: int = 0
    bytes: int = 0
    seconds: float = 0.0
    message: str = ""


def sync(
    settings: Settings, subdirectory: str | None, names: Sequence[str] | None, listener: Listener
) -> dict[str, Outcome]:
    """Bring the catalog's images (those in *subdirectory*, those named, or all) to every node, then the catalog itself
    where everything in it is present."""
    if subdirectory is not None:
        check_directory(subdirectory, settings.directories)
    what = ", ".join(names or ()) or subdirectory or "all images"
    nodes = list_nodes(settings.nodes)
    engine_name, engine = choose(settings.method)
    with only_one_sync(settings.registry):
        # Read once, and after the wait: what was wanted before another deploy must not be brought back over it.
        catalog_text = read_catalog_text(settings.registry)
        catalog = catalog_of(catalog_text, settings.registry)
        wanted = choose_images(catalog, settings, subdirectory, names)
        listener({"event": "sync_started", "what": what, "nodes": nodes, "engine": engine_name})
        trip = Trip(settings, wanted, what, listener, catalog_text, catalog)
        outcomes = trip.run(nodes, engine)
    listener({"event": "sync_finished", "what": what, "states": {node: out.state for node, out in outcomes.items()}})
    return outcomes


@contextmanager
def only_one_sync(registry: str) -> Iterator[None]:
    """Two syncs at once would send every byte twice: the second waits. A kernel lock, so a killed sync leaves none."""
    with Path(registry, ".registry", "sync.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def choose_images(
    catalog: Catalog, settings: Settings, subdirectory: str | None, names: Sequence[str] | None
) -> dict[str, Entry]:
    """The catalog's images: those named, those in *subdirectory*, or all. Raises UsageError when that is none."""
    unknown = [name for name in names or () if name not in catalog.images]
    if unknown:
        raise UsageError(f"{unknown[0]!r} is not in the catalog", hint="see: hpc-container-manager catalog list")
    prefix = f"{subdirectory}/" if subdirectory else ""
    chosen = names or [name for name in catalog.images if name.startswith(prefix)]
    if not chosen:
        raise UsageError(f"the catalog has no image in {prefix or settings.registry}", hint="deploy one first")
    return {name: catalog.images[name] for name in chosen}


class Trip:
    """One sync: what each node has, lacks and becomes."""

    def __init__(
        self,
        settings: Settings,
        wanted: Mapping[str, Entry],
        what: str,
        listener: Listener,
        catalog_text: str,
        catalog: Catalog,
    ) -> None:
        self.settings = settings
        self.wanted = wanted
        self.what = what
        self.listener = listener
        self.catalog_text = catalog_text
        self.catalog_digest = hashlib.sha256(self.catalog_text.encode()).hexdigest()
        self.catalog_objects = sorted({entry.digest for entry in catalog.images.values()})
        self.sizes = {entry.digest: entry.size for entry in wanted.values()}
        self.has: dict[str, Any] = {}
        self.lacks: dict[str, list[str]] = {}
        self.started: dict[str, float] = {}

    def run(self, nodes: Sequence[str], engine: Engine) -> dict[str, Outcome]:
        looked = fan_out(nodes, self.look, window=self.settings.window)
        failed = {node: answer for node, answer in looked.items() if isinstance(answer, HpcRegistryError)}
        outcomes = {node: self.finish(node, failure_of(error)) for node, error in failed.items()}
        results = engine.distribute(self.lacks, self.settings, self.publish)
        for node, result in results.items():
            if isinstance(result, HpcRegistryError):
                outcomes[node] = self.finish(node, failure_of(result))
            else:
                outcomes[node] = result
        return {node: outcomes[node] for node in nodes}

    def look(self, node: str) -> None:
        """One trip: learn what the node has, so what it lacks, and whether there is room for that."""
        self.listener({"event": "node_started", "node": node, "what": self.what})
        self.started[node] = time.monotonic()
        has = ask(node, "have", {}, self.settings)
        lacks = sorted(digest for digest, size in self.sizes.items() if has["objects"].get(digest) != size)
        needed = sum(self.sizes[digest] for digest in lacks)
        if needed and needed + RESERVE > has["free"]:
            raise CommandFailed(
                f"{node}: {needed / 1e6:.0f} MB and {RESERVE >> 20} MiB reserve needed, {has['free'] / 1e6:.0f} MB free"
            )
        self.has[node], self.lacks[node] = has, lacks

    def publish(self, node: str) -> Outcome:
        """The bytes are there: have the node prove it and put names and catalog in place. Tells how the node ended."""
        lacks = self.lacks[node]
        moved = sum(self.sizes[digest] for digest in lacks)
        images = [
            {"name": name, "digest": entry.digest, "size": entry.size}
            for name, entry in self.wanted.items()
            if self.has[node]["names"].get(name) != entry.digest or entry.digest in lacks
        ]
        request = {"images": images, "mode": self.settings.file_mode}
        stale = self.has[node]["catalog_digest"] != self.catalog_digest
        if not images and not stale:
            return self.finish(node, Outcome("unchanged"))
        if stale:
            request.update(catalog=self.catalog_text, objects=self.catalog_objects)
        answer = ask(node, "publish", request, self.settings, timeout=60 + moved * PUBLISH_SECONDS_PER_GB // 10**9)
        changed = bool(images) or answer["catalog"] == "written"
        return self.finish(node, Outcome("synced" if changed else "unchanged", len(lacks), moved))

    def finish(self, node: str, outcome: Outcome) -> Outcome:
        seconds = time.monotonic() - self.started.get(node, time.monotonic())
        done = Outcome(outcome.state, outcome.objects, outcome.bytes, seconds, outcome.message)
        self.listener({"event": "node_finished", "node": node, "what": self.what, **asdict(done)})
        return done


def failure_of(error: HpcRegistryError) -> Outcome:
    return Outcome("unreachable" if isinstance(error, Unreachable) else "failed", message=str(error))
