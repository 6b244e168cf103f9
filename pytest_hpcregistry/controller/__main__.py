"""The controller program: run the command of its arguments, report events, turn errors into exit codes."""

from __future__ import annotations

import argparse
import errno
import json
import os
import re
import signal
import sys
from collections.abc import Iterable, Mapping
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .. import __version__
from ..core.errors import RUN_SETUP, HpcRegistryError, UsageError
from ..core.events import (
    BytesMissing,
    Chosen,
    Failed,
    Happened,
    HistoryEnded,
    Looked,
    Noticed,
    Published,
    Received,
    RolledBack,
    Tried,
)
from ..core.listeners import to_all
from ..core.machine import FactsRequest
from ..core.names import image_name, printable, visible
from ..core.records import build
from . import limits
from .arguments import parse, sender
from .log import json_lines, listener_of, logged, plain_lines, report_differences

# Each command imports what it needs: out of an archive all is compiled anew each time, PyYAML and ClusterShell too.
if TYPE_CHECKING:
    from ..core.settings import Settings
    from .rollout import Outcome


def main() -> int:
    """Parse, call one function, turn errors into exit codes."""
    arguments = parse()
    # The workstation may go away at any time (a closed laptop): what was started is brought to its end.
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # leave nothing behind, as after Ctrl-C
    os.umask(0o077)
    limits.raise_limit()
    try:
        return run(arguments)
    finally:
        let_go_of_output()


def let_go_of_output() -> None:
    """If standard output is closed, drop what is buffered, so that Python does not exit with 120 (docs, `signal`)."""
    try:
        sys.stdout.flush()
    except (OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def run(arguments: argparse.Namespace) -> int:
    try:
        check_version(arguments.expect)
        return COMMANDS[arguments.command](arguments)
    except HpcRegistryError as error:
        report(error, arguments.json)
        return error.exit_code
    except OSError as error:
        report(in_words(error), arguments.json)
        return HpcRegistryError.exit_code
    except KeyboardInterrupt:
        sys.stderr.write("interrupted\n")
        return 130


def check_version(expected: str | None) -> None:
    """Raise UsageError when whoever asks counts on another version of this program."""
    if expected not in (None, __version__):
        newer = numbers(__version__) > numbers(str(expected))
        hint = f"install version {__version__} on this workstation" if newer else RUN_SETUP
        raise UsageError(f"the controller has version {__version__}, this is {expected}", hint=hint)


def numbers(version: str) -> list[int]:
    return [int(number) for number in re.findall(r"[0-9]{1,9}", version)]


def report(error: HpcRegistryError, as_json: bool) -> None:
    if as_json:
        json_lines(sys.stdout)(Failed.of(error))
    else:
        sys.stderr.write(printable(f"error: {error}" + (f"\nhint: {error.hint}" if error.hint else "")) + "\n")


def in_words(error: OSError) -> HpcRegistryError:
    """What the system said, and of which file if it is one's."""
    said = error.strerror or str(error) or type(error).__name__
    file = "" if error.filename is None else f": {visible(str(error.filename))}"
    hint = limits.HINT if error.errno == errno.EMFILE else ""
    return HpcRegistryError(f"{said}{file}", where="controller", hint=hint)


def run_facts(arguments: argparse.Namespace) -> int:
    from .facts import gather

    listener = to_all(json_lines(sys.stdout))  # from many threads, and each line whole
    try:
        request = build(FactsRequest, json.loads(arguments.request), "the request")
    except ValueError as error:
        raise UsageError(str(error)) from None
    listener(gather(request, listener))
    return 0


def run_has(arguments: argparse.Namespace) -> int:
    from . import attachments, publish, settings
    from .nodes import machines

    config = settings.load(arguments.config)
    present = publish.has_object(config.registry.path, arguments.digest, arguments.size)
    beside = attachments.digests(config.registry.path, arguments.digest)
    json_lines(sys.stdout)(Looked(present, machines(config.nodes), beside, config.registry.signatures))
    return 0


def run_receive(arguments: argparse.Namespace) -> int:
    from . import publish, settings

    config = settings.load(arguments.config)
    publish.receive(config.registry.path, arguments.digest, arguments.size, sys.stdin.buffer)
    json_lines(sys.stdout)(Received(digest=arguments.digest))
    return 0


def run_signatures(arguments: argparse.Namespace) -> int:
    from . import image_signatures, settings

    config = settings.load(arguments.config)
    json_lines(sys.stdout)(image_signatures.answer(config.registry.path, sys.stdin.read()))
    return 0


def run_try_key(arguments: argparse.Namespace) -> int:
    from ..core.fanout import fan_out
    from . import settings
    from .nodes import list_nodes
    from .session import try_sync_key

    config = settings.load(arguments.config)
    nodes = list_nodes(arguments.nodes or config.nodes)
    room = limits.make_room(len(nodes), config.sync.window, held=0, each=limits.SESSION)
    tried = fan_out(nodes, lambda node: try_sync_key(node, config), window=room.window)
    json_lines(sys.stdout)(
        Tried(
            nodes={
                node: result.reason(node) if isinstance(result, HpcRegistryError) else result
                for node, result in tried.items()
            }
        )
    )
    return 0


def run_nodes(arguments: argparse.Namespace) -> int:
    from ..core.nodeset import Choice, expand
    from .nodes import choose_nodes

    configured = expand(arguments.configured) if arguments.configured else None
    json_lines(sys.stdout)(Chosen(choose_nodes(configured, Choice(arguments.nodes, arguments.exclude))))
    return 0


def run_unpack(arguments: argparse.Namespace) -> int:
    from .unpack import unpack

    os.umask(0o022)  # readable for everybody, like the archive
    sys.stdout.write("unpacked\n" if unpack(Path(sys.argv[0])) else "already unpacked\n")
    return 0


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
    from . import history, publish, settings
    from .sync import sync

    config = settings.load(arguments.config)
    listener = listener_of(arguments, config)
    report_differences(arguments, config, listener)
    name = image_name(arguments.name, config.registry.path, config.registry.directories)
    with history.noted(config.registry, listener, "rollback", claimed=arguments.by, images=[name]) as listener:
        config = with_nodes(arguments, config)
        before, now = publish.rollback(config, name, arguments.to, arguments.signature)
        who = {"by": sender(arguments), "published": now.published}
        listener(RolledBack(name=name, digest=now.digest, before=before.digest, **who))
        return exit_code_of(logged(config, lambda: sync(config, None, [name], listener)))


def run_gc(arguments: argparse.Namespace) -> int:
    from . import gc, history, settings

    config = settings.load(arguments.config)
    listener = listener_of(arguments, config)
    if arguments.dry_run:
        listener = json_lines(sys.stdout) if arguments.json else plain_lines(sys.stdout)
    report_differences(arguments, config, listener)
    keep = config.registry.keep if arguments.keep is None else arguments.keep
    grace = gc.GRACE if arguments.grace is None else arguments.grace
    how = f"keep {keep}, grace {grace} s"
    noted = history.noted(config.registry, listener, "gc", claimed=arguments.by, detail=how)
    with nullcontext(listener) if arguments.dry_run else noted as listener:
        by = sender(arguments)
        machines = gc.collect(config, listener, keep=keep, grace=grace, by=by, dry_run=arguments.dry_run)
    return worst(machine.state for machine in machines.values())


def run_sync(arguments: argparse.Namespace) -> int:
    from . import history, settings
    from .sync import sync

    config = settings.load(arguments.config)
    listener = listener_of(arguments, config)
    report_differences(arguments, config, listener)
    how = config.sync
    rate = how.limit_rate if arguments.limit_rate is None else arguments.limit_rate
    config = replace(config, sync=replace(how, method=arguments.engine or how.method, limit_rate=rate))
    where, which, by = arguments.subdirectory, arguments.name or (), arguments.by
    command = "repair" if arguments.repair else "sync"
    with history.noted(config.registry, listener, command, claimed=by, images=which, detail=where or "") as listener:
        config, repair = logged(config, lambda: with_nodes(arguments, config)), arguments.repair
        return exit_code_of(logged(config, lambda: sync(config, where, arguments.name, listener, repair=repair)))


def run_note(arguments: argparse.Namespace) -> int:
    from . import history, settings

    config, listener = settings.load(arguments.config), json_lines(sys.stdout)
    listener(Happened(history.note(config.registry, sys.stdin.read(), arguments.by, listener)))
    return 0


def run_history(arguments: argparse.Namespace) -> int:
    from . import settings
    from .recall import recall

    registry = settings.load(arguments.config).registry.path
    found, unreadable = recall(registry, since=arguments.since or "", image=arguments.image, last=arguments.last)
    listener = json_lines(sys.stdout)
    for record in found:
        listener(Happened(record))
    listener(HistoryEnded(unreadable))
    return 0


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


COMMANDS = {
    "sync": run_sync,
    "rollback": run_rollback,
    "gc": run_gc,
    "facts": run_facts,
    "has": run_has,
    "receive": run_receive,
    "publish": run_publish,
    "note": run_note,
    "history": run_history,
    "signatures": run_signatures,
    "try-key": run_try_key,
    "nodes": run_nodes,
    "unpack": run_unpack,
}

if __name__ == "__main__":
    sys.exit(main())
