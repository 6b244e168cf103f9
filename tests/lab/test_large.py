"""Images as large as real ones: 5 GB, and 17 GB as its next version, are deployed, read back and rolled back.

`pytest -m large tests/lab/test_large.py`: on a lab of one node, as every machine takes 22 GB. The files are sparse, so
they are made in no time; what is sent and hashed is all of their bytes.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from pytest_hpcregistry import lab
from pytest_hpcregistry.core.digest import hash_file
from pytest_hpcregistry.testing.sif import DATA_OFFSET, Sif, system_partition

from .conftest import Cli
from .machines import Machines

pytestmark = pytest.mark.large
LAB = "tests-large"
GB = 10**9
NAME = "ml-frameworks/large.sif"
LONG = 3600.0
Record = Callable[[str, object], None]


@pytest.fixture(scope="session")
def running_lab() -> Iterator[lab.LabState]:
    lab.down(LAB)
    yield lab.up(LAB, 1, on_step=lambda *_: None)
    lab.down(LAB)


def make_sif(directory: Path, size: int) -> Path:
    """A SIF whose system partition has *size* bytes, most of them a hole."""
    directory.mkdir()
    path = directory / "large.sif"
    partition = system_partition(content=os.urandom(1000))
    before = len(Sif((partition,)).to_bytes()) - len(partition.data)
    path.write_bytes(Sif((replace(partition, size=size),), data_size=before - DATA_OFFSET + size).to_bytes())
    os.truncate(path, before + size)
    return path


def test_a_large_image_and_a_larger_one(
    running_lab: lab.LabState, cli: Cli, tmp_path: Path, record_property: Record
) -> None:
    machines = Machines(running_lab)
    cli("registry", "setup", timeout=LONG).check()
    small, large = make_sif(tmp_path / "small", 5 * GB), make_sif(tmp_path / "large", 17 * GB)
    for path in (small, large):
        deployed = cli("deploy", "single", "-s", "-v", path, timeout=LONG).check()
        record_property(f"seconds {path.stat().st_size}", round(deployed.seconds))
        assert machines.digests(NAME) == {hash_file(path)}
        assert cli("verify", "large.sif", timeout=LONG).exit_code == 0
    back = cli("rollback", "large.sif", timeout=LONG).check()
    record_property("seconds rollback", round(back.seconds))
    assert machines.digests(NAME) == {hash_file(small)}
    assert "synced, no image moved, in" in back.stdout, "no byte of it moves"
