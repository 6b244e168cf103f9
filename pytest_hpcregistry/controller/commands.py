"""The commands that change the registry: each is noted in the history, and what it did is its exit code."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterable, Mapping
from contextlib import nullcontext, suppress
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

from ..core.errors import ConfigError
from ..core.events import NOT_COUNTED, BytesMissing, ImageRestored, Listener, Noticed, Planned, Published, RolledBack
from ..core.history import now
from ..core.layout import check_digest
from ..core.names import check_directory, image_name
from .arguments import sender
from .log import json_lines, listener_of, logged, plain_lines, report_differences

# Each command imports what it needs, as in __main__.py.
if TYPE_CHECKING:
    from ..core.catalog import Catalog
    from ..core.machine import SlurmFacts
    from ..core.settings import Settings
    from .outcome import Outcome


def run_publish(arguments: argparse.Namespace) -> int:
    from . import attachments, history, publish, settings

    config = settings.load(arguments.config)
    request: Mapping[str, Any] = json.loads(sys.stdin.read())
    name, command = request["name"], "sign" if request.get("sign_again") else "deploy"
    told = listener_of(arguments, config)
    before, by = request.get("seconds", 0.0), arguments.by
    with history.noted(config.registry, told, command, claimed=by, images=[name], before=before) as listener:
        try:
            version, changed, before = publish.publish(config, request)
        except publish.BytesMissing:
            listener(BytesMissing(digest=request["digest"]))
            return 0
        attached, lost = attachments.attach(config.registry.path, request)
        for sentence in lost:
            listener(Noticed(sentence))
        address = history.address()
        who = sender(arguments) + (f" from {address}" if address else "")
        listener(Published(name, version.digest, changed, attached, before, who))
    return 0


def run_rollback(arguments: argparse.Namespace) -> int:
    from . import history, publish
    from .sync import plan, sync

    config, listener = begun(arguments)
    name = image_name(arguments.name, config.registry.path, config.registry.directories)
    # Wrong use is reported before anything is noted, here and below.
    before, now, after = publish.plan_rollback(config, name, arguments.to)
    config, slurm = with_nodes(arguments, config)
    if arguments.dry_run:
        listener(Planned(f"{name} would mean version {now.digest[:12]} of {now.published}, not {before.digest[:12]}"))
        return exit_code_of(plan(config, None, [name], listener, after=after, slurm=slurm))
    noted = history.noted(config.registry, listener, "rollback", claimed=arguments.by, images=[name])
    # The name changes within the turn, too: what only waits changes nothing.
    with noted as command, command.turn(arguments.no_wait):
        before, now = publish.rollback(config, name, arguments.to, arguments.signature)
        who = {"by": sender(arguments), "published": now.published}
        command(RolledBack(name=name, digest=now.digest, before=before.digest, **who))
        return exit_code_of(
            logged(config, lambda: sync(config, None, [name], command, turn=nullcontext(), slurm=slurm))
        )


def run_gc(arguments: argparse.Namespace) -> int:
    from . import gc, history
    from .nodes import ask_slurm

    config, listener = begun(arguments)
    keep = config.registry.keep if arguments.keep is None else arguments.keep
    grace = gc.GRACE if arguments.grace is None else arguments.grace
    detail = f"keep {keep}, grace {grace} s"
    collect = partial(gc.collect, config, keep=keep, grace=grace, by=sender(arguments), slurm=ask_slurm())
    if arguments.dry_run:
        machines = collect(listener, dry_run=True)
    else:
        with history.noted(config.registry, listener, "gc", claimed=arguments.by, detail=detail) as command:
            machines = collect(command, turn=command.turn(arguments.no_wait))
    return worst(machine.state for machine in machines.values())


def run_sync(arguments: argparse.Namespace) -> int:
    from . import history
    from .sync import plan, sync

    config, listener = begun(arguments)
    how = config.sync
    rate = how.limit_rate if arguments.limit_rate is None else arguments.limit_rate
    config = replace(config, sync=replace(how, method=arguments.engine or how.method, limit_rate=rate))
    where, which, by, repair = arguments.subdirectory, arguments.name or (), arguments.by, arguments.repair
    if arguments.dry_run:
        config, slurm = with_nodes(arguments, config)
        after = assumed(config, arguments.assume) if arguments.assume else None
        return exit_code_of(plan(config, where, which, listener, after=after, slurm=slurm))
    config, slurm = logged(config, lambda: check_use(arguments, config))
    name, chosen = "repair" if repair else "sync", bool(arguments.nodes or arguments.exclude)
    with history.noted(config.registry, listener, name, claimed=by, images=which, detail=where or "") as command:
        turn = command.turn(arguments.no_wait)
        return exit_code_of(
            logged(
                config,
                lambda: sync(config, where, which, command, turn=turn, repair=repair, chosen=chosen, slurm=slurm),
            )
        )


def run_remove(arguments: argparse.Namespace) -> int:
    from . import history, remove
    from .catalog import read_catalog
    from .sync import plan, sync

    config, listener = begun(arguments)
    by, registry = sender(arguments), config.registry
    names = [image_name(name, registry.path, registry.directories) for name in dict.fromkeys(arguments.names)]
    after = remove.without(read_catalog(registry.path), names, after=arguments.after, by=by)
    config, slurm = with_nodes(arguments, config)
    if arguments.dry_run:
        kept = f"the bytes kept until {after.removed[names[0]].until}"
        listener(Planned(f"{', '.join(names)} would go out of the catalog and from the controller, {kept}"))
        return exit_code_of(plan(config, None, names, listener, after=after, users=True, slurm=slurm))
    noted = history.noted(registry, listener, "remove", claimed=arguments.by, images=names)
    with noted as command, command.turn(arguments.no_wait):
        remove.remove(config, names, after=arguments.after, by=by, listener=command)
        synced = partial(sync, config, None, names, command, turn=nullcontext(), users=True, slurm=slurm)
        return exit_code_of(logged(config, synced))


def run_restore(arguments: argparse.Namespace) -> int:
    from . import history, remove
    from .catalog import read_catalog
    from .sync import plan, sync

    config, listener = begun(arguments)
    name = image_name(arguments.name, config.registry.path, config.registry.directories)
    config, slurm = with_nodes(arguments, config)
    catalog = read_catalog(config.registry.path)
    chosen = remove.choose(catalog, name, arguments.to)
    if arguments.dry_run:
        after = remove.restored(catalog, name, chosen)
        listener(Planned(f"{name} would be in the catalog and on the controller again, version {chosen.digest[:12]}"))
        return exit_code_of(plan(config, None, [name], listener, after=after, slurm=slurm))
    noted = history.noted(config.registry, listener, "restore", claimed=arguments.by, images=[name])
    with noted as command, command.turn(arguments.no_wait):
        chosen = remove.restore(config, name, arguments.to, arguments.signature)
        command(ImageRestored(name, chosen.digest, sender(arguments)))
        return exit_code_of(
            logged(config, lambda: sync(config, None, [name], command, turn=nullcontext(), slurm=slurm))
        )


def check_use(arguments: argparse.Namespace, config: Settings) -> tuple[Settings, SlurmFacts]:
    """As with_nodes; raises UsageError for a directory, images or an engine that there is not, too: nothing of it is
    noted then."""
    from .catalog import read_catalog
    from .engines import check_method
    from .sync import choose_images

    check_method(config.sync.method)
    if arguments.subdirectory is not None:
        check_directory(arguments.subdirectory, config.registry.directories)
    with suppress(ConfigError):  # a broken catalog is a failure of the sync
        choose_images(read_catalog(config.registry.path), config, arguments.subdirectory, arguments.name)
    return with_nodes(arguments, config)


def assumed(config: Settings, images: Mapping[str, Any]) -> Catalog:
    """The catalog after *images* (name -> `digest` and `size`) would be published. Raises UsageError."""
    from ..core.catalog import Version
    from .catalog import read_catalog

    catalog = read_catalog(config.registry.path)
    for given, image in images.items():
        name = image_name(given, config.registry.path, config.registry.directories)
        version = Version(check_digest(image["digest"]), int(image["size"]), now(), "", "")
        catalog = catalog.with_version(name, version, config.registry.keep)
    return catalog


def begun(arguments: argparse.Namespace) -> tuple[Settings, Listener]:
    """The settings, and who gets the events: a dry run writes nothing into the log either. Raises CommandFailed where
    another command is at work and must not be waited for."""
    from . import settings
    from .command import refuse_to_wait

    config = settings.load(arguments.config)
    if arguments.dry_run:
        listener = json_lines(sys.stdout) if arguments.json else plain_lines(sys.stdout)
    else:
        listener = listener_of(arguments, config)
        if arguments.no_wait:
            refuse_to_wait(config.registry.path)
    report_differences(arguments, config, listener)
    return config, listener


def with_nodes(arguments: argparse.Namespace, config: Settings) -> tuple[Settings, SlurmFacts]:
    """The *config* with the nodes that are meant: those of the cluster file of whoever asks, where it names any, and of
    these the chosen ones; and Slurm's view of them. Raises UsageError, and as list_nodes.
    """
    from ..core.nodeset import Choice, expand
    from .nodes import ask_slurm, choose_nodes

    slurm = ask_slurm()
    theirs, choice = (arguments.settings or {}).get("nodes"), Choice(arguments.nodes, arguments.exclude)
    if theirs is None and choice == Choice():
        return config, slurm
    configured = config.nodes if theirs is None else None if theirs == "slurm" else expand(str(theirs))
    return replace(config, nodes=tuple(choose_nodes(configured, choice, slurm))), slurm


def exit_code_of(outcomes: Mapping[str, Outcome]) -> int:
    return worst(outcome.state for outcome in outcomes.values())


def worst(of: Iterable[str]) -> int:
    """0 all done and proven, 4 the work failed somewhere, 3 a node could not be asked, or no node counts."""
    states = set(of)
    if "failed" in states:
        return 4
    return 3 if "unreachable" in states or states == {NOT_COUNTED} else 0
