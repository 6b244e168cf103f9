"""What ansible-playbook says, read line by line: which task failed where and why, and the recap of each host."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from ..core.names import LONGEST_REASON, excerpt

TASK = re.compile(r"(?:TASK|RUNNING HANDLER) \[(?:container_registry : )?(.*?)\] \**$")
TROUBLE = re.compile(
    r"(?:fatal|failed): \[(?P<host>[^]\s]+)(?: -> [^]]*)?\]"
    r"(?:: FAILED!|: UNREACHABLE!| \(item=.*?\)) => (?P<result>.*)$"
)
COUNTS = re.compile(r"(\S+)\s+: ok=(\d+)\s+changed=(\d+)\s+unreachable=(\d+)\s+failed=(\d+)")


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


@dataclass
class Transcript:
    """Everything that is worth keeping of a run's output; `take` is given each line as it comes."""

    hosts: dict[str, HostRecap] = field(default_factory=dict)
    troubles: dict[str, Trouble] = field(default_factory=dict)
    task: str = ""
    host: str = ""
    result: list[str] = field(default_factory=list)

    def take(self, line: str) -> None:
        if self.result:
            self._go_on(line)
        elif found := TASK.match(line):
            self.task = found[1]
        elif found := TROUBLE.match(line):
            self.host = found["host"]
            self._go_on(found["result"])
        elif found := COUNTS.match(line):
            self.hosts[found[1]] = HostRecap(*(int(count) for count in found.groups()[1:]))

    def _go_on(self, line: str) -> None:
        """A result is JSON on one line, or, of `assert` and `debug`, from a line `{` to a line `}`."""
        self.result.append(line)
        if self.result[0] != "{" or line == "}":
            # The first trouble of a host is the cause of those that come after it.
            self.troubles.setdefault(self.host, Trouble(self.task, message("\n".join(self.result))))
            self.result.clear()


def message(result: str) -> str:
    """The words in a task's result, which is JSON; the text itself if it is not. On one line: a machine wrote them."""
    try:
        data = json.loads(result)
    except ValueError:
        return excerpt(result, 200)
    words = str(data.get("msg", result)) if isinstance(data, dict) else result
    stderr = str(data.get("stderr", "")).strip() if isinstance(data, dict) else ""
    if stderr and "non-zero return code" in words:
        words = f"{words}: {stderr.splitlines()[-1]}"
    return excerpt(words, LONGEST_REASON)
