"""Asking the cluster, once in a session and one login for each node: by the main process where `-m` names a phase, else
when the first test asks; and by one of xdist's workers for all of them.

While tests are collected only the controller is asked, which nodes and images there are; `--collect-only` takes these
names from pytest's cache where an earlier session left them.
"""

from __future__ import annotations

import fcntl
import json
import shutil
import tempfile
import threading
from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from ..checks.waivers import unused
from ..cluster import starts, verify
from ..cluster.client import open_client
from ..cluster.outcomes import raise_worst
from ..core import facts
from ..core.coverage import Required, read_required, shortfall
from ..core.errors import HpcRegistryError, Unreachable, UsageError
from ..core.events import Event, Failed, Noticed, UnderWay
from ..core.facts import Facts
from ..core.fields import nearest_image, perhaps
from ..core.listeners import throttled
from ..core.messages import context, count
from ..core.names import printable, visible
from ..core.nodeset import Choice
from ..core.wire import from_line, to_line
from . import questions
from .session import (
    choice,
    chosen,
    is_image,
    is_worker,
    load,
    option,
    phases_of,
    selected_phases,
    wanted_image,
    worker_input,
)

TELL_EVERY = 10  # seconds between two lines of progress
FACTS = pytest.StashKey[Facts]()
NAMES = pytest.StashKey["Names"]()
PROBLEM = pytest.StashKey[HpcRegistryError]()
"""Why the cluster could not be asked: it is not tried again in this session."""
SHARED = pytest.StashKey[Path]()
CACHED = "hpc/names"
READ_IMAGES = {"deployment", "e2e"}
"""Phases whose tests need every byte of every image read."""
RUN_JOBS = {"deployment", "e2e"}
START_IMAGES = {"e2e"}
"""Phases whose tests want each image started on each node."""
NO_USER = "no image is started but by a job: slurm.run_as names no ordinary user"
LONG = 3.0
"""Seconds without an answer, after which it is said who is asked."""


@dataclass(frozen=True)
class Names:
    """Nodes and images that there are, in order."""

    nodes: tuple[str, ...] = ()
    images: tuple[str, ...] = ()

    @classmethod
    def of(cls, nodes: Iterable[str], images: Iterable[str]) -> Names:
        return cls(tuple(sorted(set(nodes))), tuple(sorted(set(images))))


def prepare(config: pytest.Config) -> None:
    """Before the tests are collected: ask where it is certain that tests will need it. Ends the session with the
    library's exit code when the cluster can't be asked.

    The error then also goes as an event into --hpc-error-file, for the program that has started this session.
    """
    phases = selected_phases(config)
    if not phases or is_worker(config) or config.option.collectonly or choice(config, "gather") == "never":
        return
    try:
        config.stash[FACTS] = found = gather(config, phases)
        require_image(config, () if found.catalog_problem else found.catalog.images)
    except HpcRegistryError as error:
        if path := config.getoption("hpc_error_file"):
            Path(path).write_text(to_line(Failed.of(error)), encoding="utf-8")
        refuse_choice(config, error)
        pytest.exit(printable(with_hint(error)), returncode=error.exit_code)


def require_image(config: pytest.Config, images: Collection[str]) -> None:
    """Raise UsageError where the image that was asked for is none of the catalog's *images*; of an empty catalog, or
    one that cannot be read, tests say more."""
    wanted = wanted_image(config)
    if wanted and images and not any(is_image(name, wanted) for name in images):
        near = perhaps(nearest_image(wanted, images))
        what = f'no image "{visible(wanted)}" in the catalog (it has {len(images)}).{near}'
        raise UsageError(what.removesuffix("."), hint="hpc-container-manager catalog list")


def refuse_choice(config: pytest.Config, error: HpcRegistryError | None) -> None:
    """End the session by pytest.UsageError where nodes or an image were chosen that are not there."""
    if isinstance(error, UsageError) and (wanted_image(config) or chosen(config) != Choice()):
        raise pytest.UsageError(printable(with_hint(error)))


def with_hint(error: HpcRegistryError) -> str:
    return f"{error}\nhint: {error.hint}" if error.hint else str(error)


def get_names(config: pytest.Config) -> Names:
    """What the tests' cases are made of; nothing where that is not to be had, and PROBLEM says why."""
    if NAMES not in config.stash:
        try:
            config.stash[NAMES] = find_names(config)
        except HpcRegistryError as error:
            config.stash[PROBLEM], config.stash[NAMES] = error, Names()
    return config.stash[NAMES]


def find_names(config: pytest.Config) -> Names:
    if FACTS in config.stash or (is_worker(config) and selected_phases(config)):
        found = get_facts(config, ())
        return Names.of(found.nodes, found.catalog.images)
    known = read_cache(config) if config.option.collectonly else None
    if not known:
        refuse_never(config)
        known = Names.of(**json.loads(once(config, "names", lambda: json.dumps(list_names(config)))))
    require_image(config, known.images)
    return known


def list_names(config: pytest.Config) -> dict[str, list[str]]:
    """Ask the controller alone, and no node."""
    with announced(config), open_client(load(config), chosen(config)) as client:
        nodes, images = client.list_nodes(), []
        with suppress(HpcRegistryError):  # the facts say what is wrong with the catalog, and tests of it fail by that
            images = list(client.catalog().images)
    write_cache(config, nodes, images)
    return {"nodes": nodes, "images": images}


def get_facts(config: pytest.Config, items: Iterable[pytest.Item]) -> Facts:
    """The cluster's facts, as they are needed by *items*. Raises HpcRegistryError when it could not be asked."""
    if PROBLEM in config.stash:
        raise config.stash[PROBLEM]
    if FACTS not in config.stash:
        try:
            config.stash[FACTS] = find_facts(config, phases_of(items))
        except HpcRegistryError as error:
            config.stash[PROBLEM] = error
            raise
    return config.stash[FACTS]


def find_facts(config: pytest.Config, phases: Collection[str]) -> Facts:
    refuse_never(config)
    if shared(config):
        text = once(config, "facts", lambda: to_text(gather(config, phases)))
        found = facts.read(filter(None, map(from_line, text.splitlines())), load(config).registry.path)
    else:
        found = gather(config, phases)
    collected = config.stash.get(NAMES, None)
    if collected and collected != Names.of(found.nodes, found.catalog.images):
        raise Unreachable("nodes or images changed while the tests were collected", hint="run the tests again")
    return found


def known_facts(config: pytest.Config) -> Facts | None:
    """The facts, where somebody has asked for them: for the main process also those of its workers."""
    directory = shared(config)
    if FACTS not in config.stash and directory and (directory / "facts").exists():
        with suppress(HpcRegistryError):
            config.stash[FACTS] = find_facts(config, ())
    return config.stash.get(FACTS, None)


def unused_waivers(config: pytest.Config) -> list[str]:
    """What is to be said of waivers that nothing needs, where that can be known: all nodes were asked for all, and
    every image was read. Of the three phases the second says it."""
    found, phases = known_facts(config), selected_phases(config)
    if not found or chosen(config) != Choice() or (phases and "deployment" not in phases):
        return []
    asked = [one.facts for one in found.machines.values() if one.unreachable is None]
    was_read = any(image.sha256 for facts in asked for image in facts.images)
    return unused(found, load(config)) if was_read and all(facts.host for facts in asked) else []


def describe(config: pytest.Config) -> list[str]:
    """What of the cluster the collected tests will not see; nothing, when all of it is known."""
    found = config.stash.get(FACTS, None)
    if found:
        answered = f"{len(found.asked)} of {count(len(found.nodes), 'node')} answered"
        silent = f", {len(found.unreachable)} could not be asked" if found.unreachable else ""
        lines = [answered + silent] if len(found.asked) < len(found.nodes) else []  # else each has its test
        lines += context(found)
        if RUN_JOBS.intersection(selected_phases(config)):
            lines.append(f"jobs wait for an idle node {load(config).slurm.max_wait} s at most (slurm.max_wait)")
        if START_IMAGES.intersection(selected_phases(config)) and starts.ordinary_user(load(config)) is None:
            lines.append(NO_USER)
        return [f"hpc: {line}" for line in lines]
    if PROBLEM in config.stash:
        return [printable(f"hpc: nodes and images are not known: {config.stash[PROBLEM]}")]
    return []


def to_text(found: Facts) -> str:
    return "\n".join(map(to_line, found.events))


def refuse_never(config: pytest.Config) -> None:
    if choice(config, "gather") == "never":
        raise UsageError("hpc_gather is never: the cluster was not asked", hint="give --hpc-gather=auto")


def gather(config: pytest.Config, phases: Collection[str]) -> Facts:
    """One login for each node, for all that tests of these *phases* look at."""
    read_images = bool(READ_IMAGES.intersection(phases))
    listener = throttled(TELL_EVERY, lambda event: say(config, event))
    with announced(config), open_client(load(config), chosen(config)) as client:
        question = questions.add_to(config, client.question(content=read_images, inspect=read_images, host=True))
        if START_IMAGES.intersection(phases):
            question = starts.add_to(question, client.cluster, wanted_image(config))
        if read_images:
            reading = verify.read_back(client, listener, question=question)
            if reading.unsettled and not reading.damaged:
                raise Unreachable("syncs went on all the while", hint="run the tests again when no sync is under way")
            found = reading.facts
        else:
            found = client.facts(question, listener)
    facts.require_nodes(found)
    raise_worst(shortfall(required(config), found.nodes, found.asked, found.not_counted, what="could be asked"))
    write_cache(config, found.nodes, found.catalog.images)
    return found


def required(config: pytest.Config) -> Required | None:
    """How many nodes must be asked; what tests find on these fails by itself. Raises UsageError."""
    text = option(config, "require")
    try:
        return read_required(text) if text else None
    except ValueError as error:
        raise UsageError(f"hpc_require: {error}") from None


def say(config: pytest.Config, event: Event) -> None:
    """What is waited for, and how far it is; of a worker nobody sees the terminal."""
    terminal: Any = config.pluginmanager.get_plugin("terminalreporter")
    if terminal and isinstance(event, (Noticed, UnderWay)):
        terminal.write_line(printable(event.message if isinstance(event, Noticed) else f"hpc: {event.text}"))


@contextmanager
def announced(config: pytest.Config) -> Iterator[None]:
    """Say who is asked, when the answer is long in coming: nothing else is on the terminal until then."""
    terminal: Any = config.pluginmanager.get_plugin("terminalreporter")

    def announce() -> None:
        terminal.ensure_newline()
        terminal.write_line(f"hpc: asking {visible(load(config).controller.name)}")

    timer = threading.Timer(LONG, announce)
    timer.daemon = True
    if terminal and not is_worker(config):
        timer.start()
    try:
        yield
    finally:
        timer.cancel()


# --- between processes


def share(config: pytest.Config) -> str:
    """The main process: make, once, the directory by which its workers share answers; its own are put there."""
    if SHARED not in config.stash:
        config.stash[SHARED] = directory = Path(tempfile.mkdtemp(prefix="hpcreg-"))
        config.add_cleanup(lambda: shutil.rmtree(directory, ignore_errors=True))
        if FACTS in config.stash:
            (directory / "facts").write_text(to_text(config.stash[FACTS]), encoding="utf-8")
    return str(config.stash[SHARED])


def shared(config: pytest.Config) -> Path | None:
    handed = worker_input(config).get("hpc_shared")
    return Path(handed) if handed else config.stash.get(SHARED, None)


def once(config: pytest.Config, what: str, ask: Callable[[], str]) -> str:
    """What *ask* returns. Of xdist's workers the first asks, and the others wait and read its answer, or its error."""
    directory = shared(config)
    if directory is None:
        return ask()
    answer = directory / what
    with (directory / f"{what}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not answer.exists():
            try:
                text = ask()
            except HpcRegistryError as error:
                text = to_line(Failed.of(error))
            answer.write_text(text, encoding="utf-8")
    text = answer.read_text(encoding="utf-8")
    failed = from_line(text) if "\n" not in text else None
    if isinstance(failed, Failed):
        raise failed.error()
    return text


# --- between sessions


def read_cache(config: pytest.Config) -> Names | None:
    """What an earlier session found of this cluster; None if there is no such session."""
    cache = getattr(config, "cache", None)
    known = cache.get(CACHED, None) if cache else None
    try:
        return Names.of(known["nodes"], known["images"]) if known and known["cluster"] == identity(config) else None
    except (KeyError, TypeError):
        return None  # written by something else


def write_cache(config: pytest.Config, nodes: Iterable[str], images: Iterable[str]) -> None:
    cache = getattr(config, "cache", None)
    if cache:
        cache.set(CACHED, {"cluster": identity(config), "nodes": list(nodes), "images": list(images)})


def identity(config: pytest.Config) -> str:
    cluster, nodes = load(config), chosen(config)
    which = f" {nodes.only} but {nodes.exclude}" if nodes != Choice() else ""
    return f"{cluster.controller.host}:{cluster.controller.port}{cluster.registry.path}{which}"
