"""What Slurm's states of a node mean: the one home of sinfo(1), NODE STATE CODES.

A state is a word, such as `drained*`, or several as in `IDLE+DRAIN+NOT_RESPONDING`, with signs after each. What is not
known here says nothing: a later Slurm may have more.
"""

from __future__ import annotations

import re

from .machine import SlurmFacts
from .names import excerpt

# sinfo(1) leaves out nodes that are in no partition; what it says of the others is read last, and wins. Slurm 22.05 has
# no --future.
SLURM_SCRIPT = """\
scontrol --oneliner show nodes 2>/dev/null | awk '
    $1 ~ /^NodeName=/ {
        for (i = 2; i <= NF; i++) if ($i ~ /^State=/) { print substr($1, 10), substr($i, 7), "none||none"; break }
    }'
future=$(sinfo --help 2>/dev/null | grep -o -m 1 -e --future)
exec sinfo $future -N -h -o '%N %T %u|%H|%E'
"""
ASK_SLURM = ("sh", "-c", SLURM_SCRIPT)
"""What gives a view of all nodes; see read_slurm."""
# A reason may have several lines: what has another form is one of those. sinfo says "none" of none, and "Unknown".
SLURM_LINE = re.compile(
    r"(?P<node>\S+) +(?P<state>\S+) +(?:Unknown|(?P<user>[^|]*))\|(?:(?P<since>[-0-9]{10})T)?[^|]*\|(?P<reason>.*)"
)
LONGEST_SLURM_REASON = 80  # characters
USABLE = ("idle", "mixed", "allocated", "completing", "planned", "reserved")
FUTURE = "future"
OUT_OF_SERVICE = {
    "drained": "drained",
    "drain": "drained",
    "draining": "draining",
    "fail": "expected to fail",
    "failing": "expected to fail",
    "down": "down",
    "powered_down": "powered down",
    "powering_down": "powering down",
    "power_down": "about to be powered down",
    "powering_up": "powering up",
    "reboot": "rebooting",
    "reboot_issued": "rebooting",
    "reboot_requested": "about to reboot",
    "maint": "reserved for maintenance",
    "maintenance": "reserved for maintenance",
    FUTURE: "of the future",
    "not_responding": "not responding",
    "no_respond": "not responding",
}
SIGNS = {
    "*": "not responding",
    "~": "powered down",
    "#": "powering up",
    "!": "about to be powered down",
    "%": "powering down",
    "$": "reserved for maintenance",
    "@": "about to reboot",
    "^": "rebooting",
    "-": "",  # planned by the backfill scheduler
    "+": "",  # other jobs are completing
}


def flags(state: str) -> list[str]:
    """`IDLE*+DRAIN` -> idle, drain, without the signs."""
    return [word.rstrip("".join(SIGNS)) for word in state.lower().rstrip("+").split("+")]


def is_usable(state: str) -> bool:
    """Whether jobs run on such a node, or could."""
    return flags(state)[0] in USABLE and not describe(state)


def describe(state: str) -> str:
    """Why Slurm does not count on a node of this *state*, in words; "" if it does."""
    words = [OUT_OF_SERVICE.get(flag, "") for flag in flags(state)] + [SIGNS.get(sign, "") for sign in state]
    return ", ".join(dict.fromkeys(filter(None, words)))


def out_of_service(slurm: SlurmFacts | None) -> dict[str, str]:
    """Each node that Slurm does not count on now -> why, with the reason that it was given:
    `drained "disk swap" (root, since 2026-01-30)`. None, where Slurm gave no view."""
    found = {node: describe(state) for node, state in slurm.nodes.items()} if slurm else {}
    reasons = slurm.reasons if slurm else {}
    return {node: " ".join(filter(None, [words, reasons.get(node, "")])) for node, words in found.items() if words}


def read_slurm(text: str) -> SlurmFacts:
    """What ASK_SLURM has printed."""
    lines = [found for line in text.splitlines() if (found := SLURM_LINE.match(line))]
    return SlurmFacts(
        nodes={found["node"]: found["state"] for found in lines},
        reasons={found["node"]: reason_of(found) for found in lines if found["reason"] not in ("", "none")},
    )


def reason_of(found: re.Match[str]) -> str:
    """`"disk swap" (root, since 2026-01-30)`: of a day, so that nodes which were drained together are one line."""
    when = f"since {found['since']}" if found["since"] else ""
    who = ", ".join(filter(None, [excerpt(found["user"] or "", 32), when]))
    return f'"{excerpt(found["reason"], LONGEST_SLURM_REASON)}"' + (f" ({who})" if who else "")
