"""Each image does on a node what its own checks say: those in its label, in one job of Slurm."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from pytest_hpcregistry.checks.finding import Finding
from pytest_hpcregistry.cluster.image_checks import check_by_slurm, refuse_root
from pytest_hpcregistry.cluster.jobs import Slurm
from pytest_hpcregistry.core.catalog import Entry
from pytest_hpcregistry.core.errors import UsageError
from pytest_hpcregistry.images.definitions.checks import from_version
from pytest_hpcregistry.images.running.outcomes import FAILED, PASSED, SKIPPED, UNKNOWN

pytestmark = pytest.mark.hpc_e2e
HINT = "build the image again, and deploy it; or mend its checks in image.yaml"


def test_image_passes_its_own_checks(
    slurm: Slurm, sif: tuple[str, Entry], hpc_property: Callable[[str, object], None]
) -> None:
    name, entry = sif
    checks = from_version(entry, name)
    if not checks:
        pytest.skip(f"{name} has no checks: they are in its image.yaml")
    try:
        refuse_root(slurm.client.cluster)
    except UsageError as error:
        pytest.skip(f"{error}: {error.hint}")
    outcome = check_by_slurm(slurm, name, entry, checks, lambda event: None)
    hpc_property("where", outcome.where)
    for one in outcome.ended:
        hpc_property("check", f"{one.check}: {one.state}")
    wrong = [one for one in outcome.ended if one.state in (FAILED, UNKNOWN)]
    findings = [Finding("images.checks", outcome.where, f"{name}: {one.check}", one.detail, hint=HINT) for one in wrong]
    assert findings == []
    if outcome.count(PASSED) == 0:
        pytest.skip(f"{name}: all of its {outcome.count(SKIPPED)} checks were skipped: no GPU on {outcome.where}")
