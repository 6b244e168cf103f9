"""Slurm can execute each image."""

from __future__ import annotations

import pytest

from pytest_hpcregistry.cluster.jobs import Slurm
from pytest_hpcregistry.core.catalog import Entry
from pytest_hpcregistry.core.model import Registry

pytestmark = pytest.mark.hpc_deployment


def test_slurm_can_execute_it(slurm: Slurm, sif: tuple[str, Entry], registry: Registry) -> None:
    path = f"{registry.path}/{sif[0]}"
    words = slurm.in_image(path, ["/bin/sh", "-c", "echo in $SINGULARITY_CONTAINER"])
    result = slurm.srun(*words).check()
    assert result.stdout.strip() == f"in {path}"
