"""A job keeps the version of its image that it began with, whatever is deployed or rolled back meanwhile."""

from __future__ import annotations

import shlex
import time
from pathlib import Path

import pytest

from pytest_hpcregistry.core.digest import hash_file

from .conftest import Cli
from .machines import REGISTRY, Machines
from .test_container_run import ALICE

pytestmark = pytest.mark.lab
NODE = "c001"
NAME = "ml-frameworks/demo.sif"
# The versions that processes of the node have open, read through their own descriptors. A name that was given to
# another version since is shown as deleted.
OPEN = f"""
for link in /proc/[0-9]*/fd/*; do
    case $(readlink $link) in {REGISTRY}/*.sif*) sha256sum < $link ;; esac
done | cut -d ' ' -f 1 | sort -u
"""


class Jobs:
    """Jobs on one node from one image, each of which reads its image when it is told to end."""

    def __init__(self, on: Cli, machines: Machines) -> None:
        self.on, self.machines = on, machines

    def begin(self, name: str) -> None:
        script = (
            f"touch /tmp/{name}.began; until [ -e /tmp/{name}.end ]; do sleep 0.2; done; cat /usr/bin/python3.* | wc -c"
        )
        words = [
            "sbatch",
            "-J",
            name,
            "-w",
            NODE,
            "-o",
            f"{name}.out",
            f"--container={REGISTRY}/{NAME}",
            "--wrap",
            script,
        ]
        self.on(ALICE, f"cd ~ && rm -f {name}.out && {shlex.join(words)}").check()
        self.wait(NODE, f"test -e /tmp/{name}.began")

    def end(self, name: str) -> str:
        """What the job printed at its end."""
        self.on(NODE, f"touch /tmp/{name}.end").check()
        self.wait(ALICE, f'test -z "$(squeue -h -n {name})"')
        self.on(NODE, f"rm -f /tmp/{name}.began /tmp/{name}.end").check()
        return self.on(ALICE, f"cat ~/{name}.out").check().stdout

    def wait(self, machine: str, condition: str) -> None:
        deadline = time.monotonic() + 60
        while self.on(machine, condition).exit_code != 0:
            assert time.monotonic() < deadline, condition
            time.sleep(0.2)

    def versions(self) -> set[str]:
        """What the running jobs have open."""
        return set(self.machines.tell(NODE, OPEN).split())


def test_an_update_and_a_rollback_under_way(
    cli: Cli, on: Cli, machines: Machines, demo_sif: Path, tmp_path: Path
) -> None:
    newer = tmp_path / demo_sif.name
    newer.write_bytes(demo_sif.read_bytes())
    with newer.open("r+b") as file:
        file.seek(48)  # a SIF's UUID: with another one it is another image, and as sound
        file.write(b"another version.")
    first, second = hash_file(demo_sif), hash_file(newer)
    jobs = Jobs(on, machines)

    cli("deploy", "single", "-s", demo_sif).check()
    jobs.begin("one")
    assert jobs.versions() == {first}

    cli("deploy", "single", "-s", "-v", newer).check()
    assert machines.digests(NAME) == {second}
    assert jobs.versions() == {first}
    jobs.begin("two")
    assert jobs.versions() == {first, second}
    read = jobs.end("one")
    assert int(read) > 1_000_000
    assert jobs.versions() == {second}

    cli("rollback", "demo.sif").check()
    assert machines.digests(NAME) == {first}
    assert jobs.versions() == {second}
    jobs.begin("three")
    assert jobs.versions() == {first, second}
    assert jobs.end("two") == read
    assert jobs.versions() == {first}
    assert jobs.end("three") == read
    assert jobs.versions() == set()
