"""The controller program: run the command of its arguments, report events, turn errors into exit codes."""

from __future__ import annotations

import argparse
import errno
import json
import os
import re
import sys
from pathlib import Path

from .. import __version__
from ..core import layout
from ..core.errors import RUN_SETUP, CommandFailed, HpcRegistryError, UsageError
from ..core.events import (
    Chosen,
    Failed,
    Happened,
    HistoryEnded,
    Looked,
    Received,
    Tried,
)
from ..core.listeners import to_all
from ..core.machine import FactsRequest
from ..core.names import CONTROLLER, printable, visible
from ..core.records import build
from ..core.terminal import never_fail_to_encode
from . import commands, ending, limits
from .arguments import parse
from .ending import Interrupted
from .log import json_lines

# Each command imports what it needs: out of an archive all is compiled anew each time, PyYAML and ClusterShell too.


def main() -> int:
    """Parse, call one function, turn errors into exit codes."""
    never_fail_to_encode(sys.stdout, sys.stderr)
    os.environ["PATH"] = f"{os.environ.get('PATH', os.defpath)}:{layout.MORE_PATH}"  # cron's, and sudo's, are short
    arguments = parse()
    ending.handle_signals()
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
    except KeyboardInterrupt as interrupt:
        hint = interrupt.hint if isinstance(interrupt, Interrupted) else ""
        report(CommandFailed(str(interrupt) or "interrupted", where=CONTROLLER, hint=hint), arguments.json)
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
    from contextlib import nullcontext

    from ..core.fanout import fan_out
    from . import settings
    from .nodes import list_nodes
    from .probe import probing
    from .session import try_sync_key

    config = settings.load(arguments.config)
    nodes = list_nodes(arguments.nodes or config.nodes)
    room = limits.make_room(len(nodes), config.sync.window, held=0, each=limits.SESSION)
    with probing(config.registry.path) if config.sync.method == "shared" else nullcontext() as probe:
        tried = fan_out(nodes, lambda node: try_sync_key(node, config, probe), window=room.window)
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


def run_running(arguments: argparse.Namespace) -> int:
    from . import settings
    from .cancel import look

    json_lines(sys.stdout)(look(settings.load(arguments.config).registry.path))
    return 0


def run_cancel(arguments: argparse.Namespace) -> int:
    from . import settings
    from .cancel import cancel

    json_lines(sys.stdout)(cancel(settings.load(arguments.config).registry.path, arguments.id, arguments.by))
    return 0


def run_note(arguments: argparse.Namespace) -> int:
    from . import history, settings

    config, listener = settings.load(arguments.config), json_lines(sys.stdout)
    listener(Happened(history.note(config.registry, sys.stdin.read(), arguments.by, listener)))
    return 0


def run_history(arguments: argparse.Namespace) -> int:
    from . import settings
    from .recall import odd_files, recall

    registry = settings.load(arguments.config).registry.path
    found, unreadable = recall(registry, since=arguments.since or "", image=arguments.image, last=arguments.last)
    listener = json_lines(sys.stdout)
    for record in found:
        listener(Happened(record))
    listener(HistoryEnded(unreadable, odd_files(registry)))
    return 0


COMMANDS = {
    "sync": commands.run_sync,
    "rollback": commands.run_rollback,
    "gc": commands.run_gc,
    "remove": commands.run_remove,
    "restore": commands.run_restore,
    "facts": run_facts,
    "has": run_has,
    "receive": run_receive,
    "publish": commands.run_publish,
    "note": run_note,
    "history": run_history,
    "running": run_running,
    "cancel": run_cancel,
    "signatures": run_signatures,
    "try-key": run_try_key,
    "nodes": run_nodes,
    "unpack": run_unpack,
}

if __name__ == "__main__":
    sys.exit(main())
