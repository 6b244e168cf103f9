"""Names that the catalog says are removed: what is still there of them, here and on a node, is taken away."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .. import agent
from ..agent.requests import MOST_IMAGES, MOST_VERSIONS
from ..core.catalog import Catalog, Removed
from ..core.events import InUse, Listener, Noticed
from ..core.names import excerpt
from ..core.nodeset import fold_machines

if TYPE_CHECKING:
    from .session import NodeSession

LEFT = "is no version that was removed there: left as it is (to drop it, delete the file)"


@dataclass(frozen=True)
class Use:
    """Somebody who has the bytes of a removed image open on a machine; `job` is what the process says of itself."""

    name: str
    user: str
    job: str | None


def split_names(names: Mapping[str, str | None], gone: Mapping[str, Removed]) -> tuple[list[str], list[str]]:
    """Of a machine's *names* -> digests (None: no object of its registry) those of *gone* images that lead to a version
    of theirs, and those that lead to something else, which is not ours to remove.
    """
    there = [name for name in gone if name in names]
    ours = [name for name in there if names[name] in gone[name].digests()]
    return ours, [name for name in there if name not in ours]


def request_for(names: Sequence[str], gone: Mapping[str, Removed]) -> list[dict[str, Any]]:
    """What the agent is asked to remove."""
    return [{"name": name, "digests": gone[name].digests()[:MOST_VERSIONS]} for name in names]


def remove_from_node(session: NodeSession, names: Sequence[str], gone: Mapping[str, Removed]) -> list[str]:
    """Have a node take these *names* away; returns those that it did."""
    done: list[str] = []
    for start in range(0, len(names), MOST_IMAGES):
        request = request_for(names[start : start + MOST_IMAGES], gone)
        done += session.ask("remove", {"names": request})["removed"]
    return [name for name in done if name in names]


def users_on_node(session: NodeSession, gone: Mapping[str, Removed]) -> set[Use]:
    """Who has bytes of *gone* images open on a node."""
    digests = sorted({digest for one in gone.values() for digest in one.digests()})
    return set(uses(session.ask("users", {"objects": digests})["users"], gone)) if digests else set()


def users_here(registry: str, gone: Mapping[str, Removed]) -> set[Use]:
    """Likewise on the controller."""
    digests = sorted({digest for one in gone.values() for digest in one.digests()})
    return set(uses(agent.list_users(registry, {"objects": digests})["users"], gone))


def uses(users: Sequence[Mapping[str, Any]], gone: Mapping[str, Removed]) -> list[Use]:
    return [
        Use(name, excerpt(one["user"]), one["job"])
        for one in users
        for name, removed in gone.items()
        if one["digest"] in removed.digests()
    ]


def report_users(found: Mapping[str, set[Use]], listener: Listener) -> None:
    """One event for each user and job, of *found* machine -> uses."""
    by_use: dict[Use, list[str]] = {}
    for machine, there in found.items():
        for use in there:
            by_use.setdefault(use, []).append(machine)
    for use, machines in sorted(by_use.items(), key=lambda one: (one[0].name, one[0].user, one[0].job or "")):
        listener(InUse(use.name, machines, use.user, use.job))


def report_foreign(
    names: Mapping[str, Mapping[str, str | None]], gone: Mapping[str, Removed], listener: Listener
) -> None:
    """One line for each file in the place of a removed image; *names* is each machine's, as in split_names."""
    found: dict[str, list[str]] = {}
    for machine, there in names.items():
        for name in split_names(there, gone)[1]:
            found.setdefault(name, []).append(machine)
    for name, machines in sorted(found.items()):
        listener(Noticed(f"{name} on {fold_machines(machines)} {LEFT}"))


def remove_here(root: int, registry: str, catalog: Catalog) -> list[str]:
    """Take the names of removed images away on the controller, for a caller who holds the lock; returns which."""
    there = [name for name in catalog.removed if os.path.lexists(Path(registry, name))]
    return agent.remove_under_lock(root, request_for(there, catalog.removed)) if there else []
