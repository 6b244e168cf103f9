"""How a run of Ansible ended, as its callback plugin `hpcregistry_events` wrote it down."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..core.names import LONGEST_REASON, excerpt, last_line

SAY_NOTHING = ("non-zero return code", "deserialization failed")
"""What Ansible says where the reason is in what the command, or sudo, or Python printed."""
TOO_NEW_A_WORD = "future feature annotations is not defined"
TOO_OLD_A_PYTHON = (
    "Ansible finds no Python there that is new enough for it (on RHEL 8: dnf install python3.11; /usr/bin/python3 may"
    " stay what it is)"
)


@dataclass(frozen=True)
class HostRecap:
    """How many tasks of one host ended in which way."""

    ok: int
    changed: int
    unreachable: int
    failed: int


@dataclass(frozen=True)
class Trouble:
    """Why one host did not get to the end."""

    task: str
    message: str


@dataclass(frozen=True)
class Recap:
    """How a run ended on each host. `seconds` is wall-clock time."""

    hosts: Mapping[str, HostRecap]
    seconds: float

    @property
    def changed(self) -> int:
        """Changes on all hosts together; in check mode, changes that would be made."""
        return sum(host.changed for host in self.hosts.values())


@dataclass(frozen=True)
class Transcript:
    """What is worth keeping of a run: each host's counts, and each host's first trouble."""

    hosts: dict[str, HostRecap] = field(default_factory=dict)
    troubles: dict[str, Trouble] = field(default_factory=dict)


def read(path: Path) -> Transcript:
    """Read the plugin's file. There is none when Ansible ended before its first event."""
    return parse(path.read_text(encoding="utf-8") if path.exists() else "")


def parse(text: str) -> Transcript:
    """Gather what the plugin's lines say of each host. The last may be cut, where Ansible was killed as it wrote."""
    transcript = Transcript()
    lines = text.split("\n")[:-1]
    for event in map(json.loads, lines):
        if event["event"] == "ended":
            counts = (event["ok"], event["changed"], event["unreachable"], event["failures"])
            transcript.hosts[event["host"]] = HostRecap(*counts)
        else:
            # The first trouble of a host is the cause of those that come after it.
            transcript.troubles.setdefault(event["host"], Trouble(excerpt(event["task"]), message(event)))
    return transcript


def message(event: Mapping[str, Any]) -> str:
    """Why a task failed, on one line: a machine wrote it."""
    words = event["message"].strip() or "Ansible did not say why"
    if TOO_NEW_A_WORD in event["stderr"]:
        return TOO_OLD_A_PYTHON
    if any(said in words for said in SAY_NOTHING) and event["stderr"].strip():
        words = f"{words}: {last_line(event['stderr'], '')}"
    return excerpt(words, LONGEST_REASON)
