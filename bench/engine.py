"""This project's own engines, by the command line that users have."""

from __future__ import annotations

from pytest_hpcregistry.core.layout import object_path

from .measure import Measured, Plan, Target, measure
from .testbed import REGISTRY, Testbed


def forget(bed: Testbed, target: Target) -> None:
    """Take an image off the nodes in use, so that all of it must come again."""
    for node in bed.nodes:
        for path in (target.path, object_path(REGISTRY, target.digest)):
            bed.path(node, path).unlink(missing_ok=True)


def bring(bed: Testbed, name: str, target: Target, *, timeout: float, at: Plan = ()) -> Measured:
    """Bring a deployed image to the nodes in use, which have nothing of it, by the engine *name*."""
    forget(bed, target)
    return measure(bed, bed.tool_argv("sync", "--engine", name), target, timeout=timeout, at=at)
