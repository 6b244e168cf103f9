"""How many files this program may have open, and so how many nodes it can have in hand at once."""

from __future__ import annotations

import resource
import sys
from contextlib import suppress
from dataclasses import dataclass

from ..core.errors import UsageError

# Descriptors. BASE is what there is once: standard streams, locks, the log, the catalog, a relay's own link, and the
# start of a program, which takes five more for a moment (transports/process.py lets one start at a time).
BASE = 32
SESSION = 2  # a socket and a pipe, transports/conversation.py
RSYNC = 2  # the pipes of what it says
FACTS = 3  # the pipes of an ssh that is sent a program, too
FEWEST = 8  # nodes; with fewer at once, a sync of many takes so long that it is better to say so
HINT = "allow more open files: ulimit -n, LimitNOFILE= in a systemd unit, or nofile in /etc/security/limits.conf"


@dataclass(frozen=True)
class Room:
    """So many `nodes` may be in hand at once, a `window` of them worked on; `note` says if that is less than asked."""

    nodes: int
    window: int
    note: str = ""


def raise_limit() -> None:
    """Ask for as many open files as may be had without asking anybody: the soft limit becomes the hard one."""
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    with suppress(ValueError, OSError):  # then it stays as it is, and is reckoned with
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def open_files() -> int:
    """How many files this program may have open."""
    soft = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    return sys.maxsize if soft == resource.RLIM_INFINITY else soft


def make_room(nodes: int, window: int, *, held: int, each: int, files: int = 0) -> Room:
    """Reckon how many of so many *nodes* can be had in hand at once, and a *window* for them, before anything begins.

    A node takes *held* descriptors from its first word to its last, and *each* more while it is worked on; *files* are
    open whatever the number of nodes. Where all of it is too much, the window is made smaller first, as all nodes
    together are what a relay needs; if that is not enough, the nodes come in groups.

    Raises UsageError when not even FEWEST nodes can be had at once; then nothing has been done.
    """
    window = min(window, nodes)
    own, limit = BASE + files, open_files()
    free = limit - own
    needed = own + held * nodes + each * window
    if needed <= limit:
        return Room(nodes, window)
    fewest = min(FEWEST, window)
    if free < fewest * (held + each):
        least = own + fewest * (held + each)
        star = ", and so does the engine star, which opens no image" if files else ""
        raise UsageError(
            f"{nodes} nodes need {needed} open files, {least} at the least, and {limit} are allowed",
            where="controller",
            hint=f"{HINT}; a smaller sync.window needs fewer{star}",
        )
    note = f"{nodes} nodes need {needed} open files, and {limit} are allowed: "
    narrow = min(window, (free - held * nodes) // each)
    if narrow >= fewest:
        return Room(nodes, narrow, f"{note}the window is {narrow} instead of {window} ({HINT})")
    window = min(window, free // (held + each))
    at_once = (free - each * window) // held
    return Room(at_once, window, f"{note}{at_once} nodes come at a time ({HINT})")
