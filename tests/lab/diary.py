"""A bad day of an administrator, as a diary: what happened, what was typed, how it ended and what it printed.

tests/lab/test_day.py lives through it on a lab; `python -m tests.lab.diary > docs/a-bad-day.md` writes it down.
"""

from __future__ import annotations

import re
import sys
from dataclasses import dataclass
from textwrap import fill

PROGRAM = "hpc-container-manager"
ANYTHING = "…"
INTRODUCTION = """\
# A bad day

What an administrator types when things go wrong, in the order of one day on a cluster of a controller and three nodes,
`c[001-003]`. Each command was typed by a test on a real Slurm (`tests/lab/test_day.py`), which has looked for every
line that is printed here; `…` stands for what differs from day to day, or is left out. Where no exit code is shown, it
is 0; README has the table of them.
"""


@dataclass(frozen=True)
class Entry:
    """`before` is what the test does first, by the name of its function; `typed` the words after the program's name;
    `shows` lines of its output, standard error included, in this order.
    """

    at: str
    happened: str
    typed: str
    shows: tuple[str, ...]
    code: int = 0
    before: str = ""


DAY = (
    Entry(
        "08:10",
        "The night's verify of all images has found something. A disk of c002 has lost a bit: its copy is damaged, "
        "which is more than an older version. The hint is the command that mends it.",
        "verify",
        (
            "✗ ml-frameworks/solver.sif: same bytes on controller,c[001,003], damaged c002",
            "error: c002: ml-frameworks/solver.sif damaged: /opt/containers/.registry/objects/sha256/…",
            "hint: hpc-container-manager sync --repair ml-frameworks/solver.sif",
        ),
        code=1,
        before="flip_a_bit",
    ),
    Entry(
        "08:12",
        "Every machine reads its copies of that image. The bad bytes are kept in `.registry/quarantine` until the next "
        "gc, and good ones are brought and proven.",
        "sync --repair ml-frameworks/solver.sif",
        ("! c002: ml-frameworks/solver.sif damaged (…", "✓ c002: synced, …"),
    ),
    Entry("08:13", "And now?", "verify", ("✓ ml-frameworks/solver.sif: same bytes on controller,c[001-003]",)),
    Entry(
        "09:00",
        "A colleague drains c003 to swap a disk, and takes it off. Slurm does not count on the node, so nothing here "
        "does: that is said, and is no failure.",
        "status",
        ("ml-frameworks/solver.sif  present     present c[001-002]", '! not counted: c003 drained "disk swap" …'),
        before="drain_and_switch_off",
    ),
    Entry(
        "09:20",
        "A new image goes to the nodes that are there.",
        "deploy --sync-nodes --verify images/mesher.sif",
        ("✓ ml-frameworks/mesher.sif: published on the controller…", '! not counted: c003 drained "disk swap" …'),
    ),
    Entry(
        "09:25",
        "For the users of the whole partition that is not enough, and one can insist.",
        "status --require 100%",
        ("error: 3 of 3 nodes (100%) are required, …",),
        code=3,
    ),
    Entry(
        "10:40",
        "The disk is swapped, c003 is back. Until somebody syncs, it lacks what came meanwhile.",
        "status",
        ("…mesher.sif  present     present c[001-002], missing c003", "error: 1 image missing on c003"),
        code=1,
        before="switch_on",
    ),
    Entry("10:41", "The sync that heals it; a timer would have done it, too.", "sync", ("✓ c003: synced, …",)),
    Entry(
        "11:30",
        "c001 is gone, and Slurm has not noticed yet. This time it is a failure, with its own exit code.",
        "status",
        ("unreachable c001: …", "error: c001: unreachable"),
        code=3,
        before="pull_the_plug",
    ),
    Entry(
        "12:15",
        "c001 is back. Somebody has copied a file by hand. The catalog does not know it, so no sync removes it.",
        "status",
        (
            "ml-frameworks/by-hand.sif  -           unmanaged c001",
            "error: 1 image not in the catalog on c001",
            "hint: ml-frameworks/by-hand.sif on c001: no sync removes it; deploy it to keep it, or remove it by hand",
        ),
        code=1,
        before="plug_in_and_copy_by_hand",
    ),
    Entry(
        "13:30",
        "A gc, while a sync of somebody else runs; it waits. On second thought: ctrl-c. What only waits is withdrawn.",
        "gc --grace 0",
        ("  waiting for a sync by …", "withdrawn: nothing was freed"),
        code=130,
        before="sync_slowly",
    ),
    Entry(
        "13:32", "Who is it that syncs?", "running", ("sync  all images  by …(stop it: hpc-container-manager cancel)",)
    ),
    Entry(
        "13:35",
        "Nobody knows why that sync is so slow; it is ended, and nothing half-done is left.",
        "cancel",
        ("✓ …sync…", "hint: …to go on: hpc-container-manager sync"),
    ),
    Entry("13:36", "Then again.", "sync", ("✓ c003: synced, …",), before="sync_as_usual"),
    Entry(
        "14:05",
        "The new solver is deployed.",
        "deploy --sync-nodes images/solver.sif",
        ("✓ ml-frameworks/solver.sif: published on the controller…", "✓ c…: synced, …"),
        before="make_a_new_solver",
    ),
    Entry(
        "14:20",
        "It computes nonsense. Back to the version before, on all nodes; no byte moves, since it is still there.",
        "rollback solver.sif",
        ("✓ ml-frameworks/solver.sif: …",),
    ),
    Entry(
        "16:00",
        "The old mesher is to go. First what that would do.",
        "catalog remove mesher.sif --dry-run",
        ("  c[001-003]: would lose the name ml-frameworks/mesher.sif", "  nothing was changed"),
    ),
    Entry(
        "16:01",
        "Its bytes are kept for two weeks.",
        "catalog remove mesher.sif --after 14d",
        (
            "✓ ml-frameworks/mesher.sif: out of the catalog, and gone from the controller",
            "  gc keeps the bytes until …; undo until then: hpc-container-manager catalog restore …mesher.sif",
        ),
    ),
    Entry(
        "16:20",
        "A user comes in running: he meshes with it. No bytes have to be fetched.",
        "catalog restore mesher.sif",
        ("✓ ml-frameworks/mesher.sif: version … is in the catalog again, and on the controller",),
    ),
    Entry(
        "17:30",
        "What to tell at the end of the day: who changed what, and how it ended.",
        "history --since 1d",
        (
            "…Z  repair    ml-frameworks/solver.sif: ok",
            "    damaged on c002; on c[001-003]; …",
            "…Z  deploy    ml-frameworks/mesher.sif: ok",
            "…Z  sync      all images: interrupted",
            "    on c[001-002]; not on c003; by star; …",
            "    note: cancelled by …",
            "…Z  gc        all images: interrupted",
            "    note: withdrawn while it waited: nothing was changed",
            "…Z  rollback  ml-frameworks/solver.sif: ok",
            "…Z  remove    ml-frameworks/mesher.sif: ok",
            "…Z  restore   ml-frameworks/mesher.sif: ok",
        ),
    ),
    Entry(
        "17:45",
        "All is well, which is looked at and not hoped.",
        "verify",
        (
            "✓ ml-frameworks/mesher.sif: same bytes on controller,c[001-003]",
            "✓ ml-frameworks/solver.sif: same bytes on controller,c[001-003]",
        ),
        before="remove_what_was_copied",
    ),
)


def pattern(line: str) -> re.Pattern[str]:
    """What a line of `shows` looks for; spaces in a table may be more."""
    return re.compile(re.escape(line).replace(re.escape(ANYTHING), ".*").replace(r"\ \ ", r"\s\s+"))


def find_missing(shows: tuple[str, ...], said: str) -> list[str]:
    """Those of `shows` that are not in *said*, in this order."""
    lines = iter(said.splitlines())
    return [wanted for wanted in shows if not any(pattern(wanted).fullmatch(line) for line in lines)]


def render() -> str:
    """The diary in Markdown."""
    parts = [INTRODUCTION]
    for entry in DAY:
        shown = [f"$ {PROGRAM} {entry.typed}", *entry.shows]
        shown += [f"$ echo $?\n{entry.code}"] if entry.code else []
        text = fill(entry.happened, 120, break_long_words=False, break_on_hyphens=False)
        parts.append(f"## {entry.at}\n\n{text}\n\n```console\n" + "\n".join(shown) + "\n```\n")
    return "\n".join(parts)


if __name__ == "__main__":
    sys.stdout.write(render())
