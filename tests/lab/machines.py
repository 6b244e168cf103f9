"""The lab's machines, reached behind ssh's back, so that faults can be caused while ssh is the thing that is broken."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pytest_hpcregistry import lab
from pytest_hpcregistry.core import documents
from pytest_hpcregistry.lab.podman import execute, podman
from pytest_hpcregistry.transports import CommandResult

REGISTRY = "/opt/containers"
OBJECTS = f"{REGISTRY}/.registry/objects/sha256"
STAGING = f"{REGISTRY}/.registry/staging"
CATALOG = f"{REGISTRY}/.registry/catalog.yaml"
CONFIG = f"{REGISTRY}/.registry/config.yaml"
LAUNCHER = "/usr/local/bin/registry-sync-to-nodes.sh"
CONTROLLER = "hpc-controller"
# Files with their digests, all with their modes; locks are opened by everyone who looks, and refusals are noted too.
TREE = (
    f"cd {REGISTRY} && find . -type f ! -name '*lock' ! -name 'history.jsonl*' -printf '%p %m %u %g %T@\\n'"
    " -exec sha256sum {} ';' | sort;"
    " find . ! -type f -printf '%p %M %u %g %l\\n' | sort"
)


class Machines:
    """Shell scripts on the lab's machines, as root."""

    def __init__(self, state: lab.LabState) -> None:
        self.state = state

    def run(self, machine: str, script: str, timeout: float = 120) -> CommandResult:
        """Run a script whatever its exit code."""
        return execute(self.state.container(machine), ["sh", "-c", script], timeout=timeout)

    def put(self, machine: str, source: Path, target: str) -> None:
        """Copy a file of this machine to one of the lab's."""
        podman("cp", str(source), f"{self.state.container(machine)}:{target}").check()

    def tell(self, machine: str, script: str) -> str:
        """What a script prints; raises CommandFailed when it fails."""
        return self.run(machine, script).check().stdout

    @contextmanager
    def in_front_of(self, machine: str, path: str, script: str) -> Iterator[None]:
        """Have a shell script run in place of the program *path*, which it finds as *path*.real."""
        self.tell(
            machine, f"mv {path} {path}.real && cat > {path} <<'END'\n#!/bin/sh\n{script}\nEND\nchmod 0755 {path}"
        )
        try:
            yield
        finally:
            self.tell(machine, f"mv {path}.real {path}")

    def everywhere(self, script: str) -> dict[str, str]:
        """`tell` on all machines at once."""
        with ThreadPoolExecutor() as pool:
            answers = pool.map(lambda machine: self.tell(machine, script), self.state.machines)
            return dict(zip(self.state.machines, answers, strict=True))

    def trees(self) -> dict[str, str]:
        """Everything in every machine's registry."""
        return self.everywhere(TREE)

    def digest(self, machine: str, name: str) -> str:
        """SHA-256 of an image on a machine, read from its disk."""
        return (self.run(machine, f"sha256sum {REGISTRY}/{name}").stdout.split() or ["missing"])[0]

    def digests(self, name: str) -> set[str]:
        """The digests that an image has on all machines: one, when all is well."""
        return {self.digest(machine, name) for machine in self.state.machines}


def edit_cluster(source: Path, target: Path, **sections: Mapping[str, Any]) -> Path:
    """Write a copy of a cluster file with these fields changed."""
    data = documents.load(source.read_text(), str(source))
    assert isinstance(data, dict)
    for section, fields in sections.items():
        data[section] = {**data.get(section, {}), **fields}
    target.write_text(documents.dump(data))
    return target


def refused(result: CommandResult, exit_code: int, *words: str) -> None:
    """The command said no in words for people: with this exit code, no traceback, and all of *words*."""
    said = f"{result.stdout}{result.stderr}"
    assert "Traceback" not in said, said
    assert result.exit_code == exit_code, said
    assert "rror: " in result.stderr, said
    for word in words:
        assert word in said, said
