"""The ways of bringing one file to all nodes that are compared: this project's engines, and what sites use today."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from pytest_hpcregistry.core.model import SYNC_METHODS
from pytest_hpcregistry.core.nodeset import fold

WINDOW = 64  # nodes at once, for those that ask; this project's default is the same


@dataclass(frozen=True)
class Copy:
    """A file of the controller, and its path on each of the nodes."""

    source: str
    target: str
    nodes: tuple[str, ...]

    @property
    def count(self) -> str:
        return str(len(self.nodes))


@dataclass(frozen=True)
class Way:
    """`floors` says about how long it takes for so many nodes, in units of size ÷ bandwidth: to plan by, never printed.

    `argv` is the command on the controller; an engine of this project has none, it is `sync --engine NAME`.
    """

    name: str
    floors: Callable[[int], float]
    argv: Callable[[Copy], list[str]] | None = None


def star(nodes: int) -> float:
    """The controller sends everything to everybody."""
    return float(nodes)


def tree(nodes: int) -> float:
    """Each sends to two others (sbcast -F2)."""
    return 2 * math.log2(nodes + 1)


def flat(nodes: int) -> float:
    """Nodes pass on what they have not yet got whole."""
    return 2.0


def on_each(rsync: str) -> Callable[[Copy], list[str]]:
    """A loop of the shell over all nodes. *rsync* is what it does for one."""
    script = f'source=$1 target=$2\nshift 2\nfor node in "$@"; do\n{rsync}\ndone\nwait'
    return lambda copy: ["sh", "-c", script, "sh", copy.source, copy.target, *copy.nodes]


def sbcast(*options: str) -> Callable[[Copy], list[str]]:
    def argv(copy: Copy) -> list[str]:
        allocation = ["salloc", "--quiet", f"--nodelist={fold(copy.nodes)}", f"--nodes={copy.count}"]
        return [*allocation, "sbcast", "--force", *options, copy.source, copy.target]

    return argv


def clush(copy: Copy) -> list[str]:
    where = ["-f", str(WINDOW), "-w", fold(copy.nodes)]
    return ["clush", *where, "--copy", copy.source, "--dest", copy.target]


def pdcp(copy: Copy) -> list[str]:
    return ["pdcp", "-R", "ssh", "-f", str(WINDOW), "-w", fold(copy.nodes), copy.source, copy.target]


OWN = tuple(Way(name, star if name == "star" else flat) for name in SYNC_METHODS if name not in ("auto", "shared"))
FOREIGN = (
    Way("rsync -avz in turn", star, on_each('rsync -avz "$source" "root@$node:$target"')),
    Way("rsync -a at once", star, on_each('rsync -a "$source" "root@$node:$target" &')),
    Way("clush --copy", star, clush),
    Way("pdcp", star, pdcp),
    Way("sbcast", star, sbcast()),
    Way("sbcast -F2", tree, sbcast("--fanout=2")),
)


def choose(word: str) -> Sequence[Way]:
    """The ways whose name contains *word*; all for an empty one."""
    return [way for way in (*OWN, *FOREIGN) if word in way.name]
