"""How bytes reach the nodes: one small interface, one file for each way, one line in ENGINES for each file.

An engine runs on the controller. It is given what each node lacks and brings those objects into the node's staging
directory; as soon as a node has all of its own, it calls `job.arrived(node)`, which publishes there and returns the
node's outcome. An engine's word is never taken for success: publishing hashes the bytes again, on the node.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Generic, Protocol, TypeVar

from ...core.errors import HpcRegistryError, UsageError
from . import relay, shared, star

if TYPE_CHECKING:
    from ...core.settings import Settings
    from ..session import NodeSession

Outcome = TypeVar("Outcome")


@dataclass(frozen=True)
class Job(Generic[Outcome]):
    """What an engine has to do.

    `wanted` is the objects (digests) that each node lacks, which may be none; `sizes` their sizes in bytes; `bases`,
    for each node, which object that it has is the version before one that it lacks. `moved(node, bytes)` is called
    when more has arrived there: how much in all; `sent(node, bytes)` when it cost other than all bytes to bring it;
    `say(text)` when something is odd; `failed(node, error)` as soon as a node has failed; `leave(node)` when the engine
    has no more to do there, so that the node's session can be closed before the others are done. `open_object(digest)`
    is a descriptor of the controller's object, open to the end of the sync. A program that is started for a node holds
    one of `turns` meanwhile: several jobs of one sync share them.
    """

    wanted: Mapping[str, Sequence[str]]
    sizes: Mapping[str, int]
    bases: Mapping[str, Mapping[str, str]]
    sessions: Mapping[str, NodeSession]
    settings: Settings
    arrived: Callable[[str], Outcome]
    moved: Callable[[str, int], None]
    sent: Callable[[str, int], None]
    say: Callable[[str], None]
    leave: Callable[[str], None]
    turns: AbstractContextManager[Any]
    failed: Callable[[str, HpcRegistryError], None]
    open_object: Callable[[str], int]


class Engine(Protocol):
    """What each module in ENGINES offers."""

    def distribute(self, job: Job[Outcome]) -> dict[str, Outcome | HpcRegistryError]:
        """Bring to each node what it lacks; return each node's outcome or its failure."""
        ...


ENGINES: dict[str, Engine] = {"star": star, "relay": relay, "shared": shared}


def check_method(method: str) -> str:
    """Return *method* if it is `auto` or an engine; raise UsageError if not."""
    if method != "auto" and method not in ENGINES:
        raise UsageError(f"there is no engine {method!r}", hint="use auto or one of " + ", ".join(ENGINES))
    return method
