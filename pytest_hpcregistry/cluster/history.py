"""The controller's history: asked for what it says, and told what was done without the controller program."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from ..core.errors import ConfigError, HpcRegistryError, UsageError
from ..core.events import Event, Happened, HistoryEnded, Listener, Noticed
from ..core.history import FAILED, OK, Record
from ..core.names import full_name
from ..images.running.outcomes import FAILED as CHECK_FAILED
from ..images.running.outcomes import PASSED, SKIPPED, UNKNOWN, Outcome
from .arguments import operator, option
from .client import QUICK, READING, ControllerClient
from .remote import last_of


@dataclass(frozen=True)
class History:
    """What was asked for, the newest last; `unreadable` lines are none of ours, and `odd` is not even a file."""

    records: list[Record]
    unreadable: int
    odd: list[str] = field(default_factory=list)


def read(client: ControllerClient, *, since: str | None, image: str | None, last: int | None) -> History:
    """What the controller's history says *since* then (see core/history.py), of *image*, the *last* records of it.

    Raises UsageError where phase 1 of this version has not been run, and for an image of which neither the history nor
    the catalog says anything; Unreachable.
    """
    registry = client.cluster.registry
    name = None if image is None else full_name(image, registry.path, registry.directories)
    found = ask(client, since, name, last)
    if name and not found.records and not is_known(client, name):
        where = f"in the catalog or the history of {client.cluster.controller.name}"
        raise UsageError(f"no image {name} {where}", hint="see: hpc-container-manager catalog list")
    return found


def ask(client: ControllerClient, since: str | None, name: str | None, last: int | None) -> History:
    words = ["history", *option("--since", since), *option("--image", name), *option("--last", last)]
    records: list[Record] = []

    def listen(event: Event) -> None:
        if isinstance(event, Happened):
            records.append(event.record)

    program = client.program
    end = last_of(program.run(program.installed(*words), timeout=READING, listener=listen, keep=False))
    if not isinstance(end, HistoryEnded):
        raise program.unanswered("history")
    return History(records, end.unreadable, end.odd)


def is_known(client: ControllerClient, name: str) -> bool:
    """Whether the history of any time, or the catalog, has this image."""
    if ask(client, None, name, 1).records:
        return True
    try:
        return name in client.catalog().images
    except ConfigError:
        return True  # it is broken: nobody knows what is in it
    except UsageError:
        return False


def note(client: ControllerClient, listener: Listener, command: str, **fields: Any) -> None:
    """Have the controller note a *command* with these fields of a record. What keeps it from that is a warning."""
    record, words = json.dumps({"command": command, **fields}).encode(), ["note", "--by", operator()]
    try:
        client.program.ask(Happened, words, stdin=record, timeout=QUICK, listener=listener)
    except HpcRegistryError as error:
        listener(Noticed(f"not in the history: {error}"))


def note_test(
    client: ControllerClient, listener: Listener, name: str, outcome: Outcome, *, where: Sequence[str], detail: str = ""
) -> None:
    """Have the controller note what became of the checks of the image *name* on these machines."""
    reason = ""
    try:
        outcome.check()
    except HpcRegistryError as error:
        reason = str(error)
    note(
        client,
        listener,
        "test",
        images=[name],
        after=outcome.digest,
        state=FAILED if reason else OK,
        **{"failed" if reason else "done": ",".join(where)},
        checks={state: outcome.count(state) for state in (PASSED, CHECK_FAILED, SKIPPED, UNKNOWN)},
        seconds=round(sum(one.seconds for one in outcome.ended), 1),
        detail=detail,
        reason=reason,
    )
