"""The commands that change the registry: each is noted in the history, and what it did is its exit code."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterable, Mapping
from contextlib import nullcontext
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from ..core.events import BytesMissing, ImageRestored, Listener, Noticed, Planned, Published, RolledBack
from ..core.history import now
from ..core.layout import check_digest
from ..core.names import image_name
from .arguments import sender
from .log import json_lines, listener_of, logged, plain_lines, report_differences

# Each command imports what it needs, as in __main__.py.
if TYPE_CHECKING:
    from ..core.catalog import Catalog
    from ..core.settings import Settings
    from .outcome import Outcome


def run_publish(arguments: argparse.Namespace) -> int:
    from . import attachments, history, publish, settings

    config = settings.load(arguments.config)
    request: Mapping[str, Any] = json.loads(sys.stdin.read())
    name, command = request["name"], "sign" if request.get("sign_again") else "deploy"
    told = listener_of(arguments, config)
    with history.noted(config.registry, told, command, claimed=arguments.by, images=[name]) as listener:
        try:
            version, changed, before = publish.publish(config, request)
        except publish.BytesMissing:
            listener(BytesMissing(digest=request["digest"]))
            return 0
        attached, lost = attachments.attach(config.registry.path, request)
        for sentence in lost:
            listener(Noticed(sentence))
        listener(Published(name, version.digest, changed, attached, before))
    return 0


def run_rollback(arguments: argparse.Namespace) -> int:
    from . import history, publish
    from .sync import plan, sync

    config, listener = begun(arguments)
    name = image_name(arguments.name, config.registry.path, config.registry.directories)
    if arguments.dry_run:
        before, now, after = publish.plan_rollback(config, name, arguments.to)
        config = with_nodes(arguments, config)
        listener(Planned(f"{name} would mean version {now.digest[:12]} of {now.published}, not {before.digest[:12]}"))
        return exit_code_of(plan(config, None, [name], listener, after=after))
    with history.noted(config.registry, listener, "rollback", claimed=arguments.by, images=[name]) as listener:
        config = with_nodes(arguments, config)
        before, now = publish.rollback(config, name, arguments.to, arguments.signature)
        who = {"by": sender(arguments), "published": now.published}
        listener(RolledBack(name=name, digest=now.digest, before=before.digest, **who))
        return exit_code_of(logged(config, lambda: sync(config, None, [name], listener)))


def run_gc(arguments: argparse.Namespace) -> int:
    from . import gc, history

    config, listener = begun(arguments)
    keep = config.registry.keep if arguments.keep is None else arguments.keep
    grace = gc.GRACE if arguments.grace is None else arguments.grace
    how = f"keep {keep}, grace {grace} s"
    noted = history.noted(config.registry, listener, "gc", claimed=arguments.by, detail=how)
    with nullcontext(listener) if arguments.dry_run else noted as listener:
        by = sender(arguments)
        machines = gc.collect(config, listener, keep=keep, grace=grace, by=by, dry_run=arguments.dry_run)
    return worst(machine.state for machine in machines.values())


def run_sync(arguments: argparse.Namespace) -> int:
    from . import history
    from .sync import plan, sync

    config, listener = begun(arguments)
    how = config.sync
    rate = how.limit_rate if arguments.limit_rate is None else arguments.limit_rate
    config = replace(config, sync=replace(how, method=arguments.engine or how.method, limit_rate=rate))
    if arguments.dry_run:
        config = with_nodes(arguments, config)
        after = assumed(config, arguments.assume) if arguments.assume else None
        return exit_code_of(plan(config, arguments.subdirectory, arguments.name, listener, after=after))
    where, which, by = arguments.subdirectory, arguments.name or (), arguments.by
    command = "repair" if arguments.repair else "sync"
    with history.noted(config.registry, listener, command, claimed=by, images=which, detail=where or "") as listener:
        config, repair = logged(config, lambda: with_nodes(arguments, config)), arguments.repair
        return exit_code_of(logged(config, lambda: sync(config, where, arguments.name, listener, repair=repair)))


def run_remove(arguments: argparse.Namespace) -> int:
    from . import history, remove
    from .catalog import read_catalog
    from .sync import plan, sync

    config, listener = begun(arguments)
    by, registry = sender(arguments), config.registry
    names = [image_name(name, registry.path, registry.directories) for name in dict.fromkeys(arguments.names)]
    if arguments.dry_run:
        config = with_nodes(arguments, config)
        after = remove.without(read_catalog(registry.path), names, after=arguments.after, by=by)
        kept = f"the bytes kept until {after.removed[names[0]].until}"
        listener(Planned(f"{', '.join(names)} would go out of the catalog and from the controller, {kept}"))
        return exit_code_of(plan(config, None, names, listener, after=after, users=True))
    with history.noted(registry, listener, "remove", claimed=arguments.by, images=names) as listener:
        config = with_nodes(arguments, config)
        remove.remove(config, names, after=arguments.after, by=by, listener=listener)
        return exit_code_of(logged(config, lambda: sync(config, None, names, listener, users=True)))


def run_restore(arguments: argparse.Namespace) -> int:
    from . import history, remove
    from .catalog import read_catalog
    from .sync import plan, sync

    config, listener = begun(arguments)
    name = image_name(arguments.name, config.registry.path, config.registry.directories)
    if arguments.dry_run:
        config, catalog = with_nodes(arguments, config), read_catalog(config.registry.path)
        chosen = remove.choose(catalog, name, arguments.to)
        after = remove.restored(catalog, name, chosen)
        listener(Planned(f"{name} would be in the catalog and on the controller again, version {chosen.digest[:12]}"))
        return exit_code_of(plan(config, None, [name], listener, after=after))
    with history.noted(config.registry, listener, "restore", claimed=arguments.by, images=[name]) as listener:
        config = with_nodes(arguments, config)
        chosen = remove.restore(config, name, arguments.to, arguments.signature)
        listener(ImageRestored(name, chosen.digest, sender(arguments)))
        return exit_code_of(logged(config, lambda: sync(config, None, [name], listener)))


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
    """The settings, and who gets the events: a dry run writes nothing into the log either."""
    from . import settings

    config = settings.load(arguments.config)
    if arguments.dry_run:
        listener = json_lines(sys.stdout) if arguments.json else plain_lines(sys.stdout)
    else:
        listener = listener_of(arguments, config)
    report_differences(arguments, config, listener)
    return config, listener


def with_nodes(arguments: argparse.Namespace, config: Settings) -> Settings:
    """The *config* with the nodes that are meant: those of the cluster file of whoever asks, where it names any, and of
    these the chosen ones. Raises UsageError, and as list_nodes.
    """
    from ..core.nodeset import Choice, expand
    from .nodes import choose_nodes

    theirs, choice = (arguments.settings or {}).get("nodes"), Choice(arguments.nodes, arguments.exclude)
    if theirs is None and choice == Choice():
        return config
    configured = config.nodes if theirs is None else None if theirs == "slurm" else expand(str(theirs))
    return replace(config, nodes=tuple(choose_nodes(configured, choice)))


def exit_code_of(outcomes: Mapping[str, Outcome]) -> int:
    return worst(outcome.state for outcome in outcomes.values())


def worst(of: Iterable[str]) -> int:
    """0 all done and proven, 4 the work failed somewhere, 3 a node could not be asked."""
    states = set(of)
    if "failed" in states:
        return 4
    return 3 if "unreachable" in states else 0
