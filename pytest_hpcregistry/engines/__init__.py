"""How bytes reach the nodes: one small interface, one file for each way, one line in ENGINES for each file.

An engine runs on the controller. It is given what each node lacks and brings those objects into the node's staging
directory; as soon as a node has all of its own, it calls `arrived(node)`, which publishes there and returns the node's
outcome. An engine's word is never taken for success: publishing hashes the bytes again, on the node.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Protocol, TypeVar

from ..errors import HpcRegistryError, UsageError
from . import star

if TYPE_CHECKING:
    from ..controller.settings import Settings

Outcome = TypeVar("Outcome")


class Engine(Protocol):
    """What each module in ENGINES offers."""

    def distribute(
        self, wanted: Mapping[str, Sequence[str]], settings: Settings, arrived: Callable[[str], Outcome]
    ) -> dict[str, Outcome | HpcRegistryError]:
        """Bring to each node the objects (digests) that it lacks; return each node's outcome or its failure."""
        ...


ENGINES: dict[str, Engine] = {"star": star}


def choose(method: str) -> tuple[str, Engine]:
    """The engine called *method*; `auto` is star until there is another to choose from."""
    name = "star" if method == "auto" else method
    if name not in ENGINES:
        raise UsageError(f"there is no engine {method!r}", hint="use auto or one of " + ", ".join(ENGINES))
    return name, ENGINES[name]
