"""What a check found."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

from ..core.errors import RUN_SETUP
from ..core.facts import Machine
from ..core.machine import File
from ..core.nodeset import fold_machines


@dataclass(frozen=True)
class Finding:
    """Something that is not as it should be.

    `id` is the check's, as structure.modes; `where` a machine, or several, folded; `what` a path, an image or a
    program, or nothing for the machine itself; `found` is what it is like, and `expected` what it should be. `hint` is
    what to do, and `waiver` what a waiver says of it, one that holds or one that has expired.
    """

    id: str
    where: str
    what: str
    found: str
    expected: str = ""
    hint: str = RUN_SETUP
    waiver: str = ""

    def __str__(self) -> str:
        what = f"{self.what}: " if self.what else ""
        expected = f", should be {self.expected}" if self.expected else ""
        return f"{self.where}: {what}{self.found}{expected}" + (f"; {self.waiver}" if self.waiver else "")


def compare(check: str, machine: Machine, path: str, expected: str) -> Iterator[Finding]:
    """A path that is not as *expected*, which is said as `describe` does, with or without the group."""
    found = describe(machine.path(path), with_group=":" in expected)
    if found != expected:
        yield Finding(check, machine.name, path, found, expected)


def describe(file: File | None, with_group: bool = True) -> str:
    """`directory 0755 root:slurm`, or without the group `directory 0755 root`."""
    if file is None:
        return "does not exist"
    return f"{file.type} {file.mode} {file.owner}" + (f":{file.group}" if with_group else "")


def fold_findings(findings: Iterable[Finding]) -> list[Finding]:
    """One finding for all machines on which the same was found."""
    machines: dict[Finding, list[str]] = {}
    for one in findings:
        machines.setdefault(replace(one, where=""), []).append(one.where)
    return [replace(one, where=fold_machines(where)) for one, where in machines.items()]
