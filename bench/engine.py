"""This project's own engines, by the command line that users have."""

from __future__ import annotations

from pytest_hpcregistry.naming import object_path

from .measure import Measured, Plan, Target, measure
from .testbed import REGISTRY, Testbed

WRONG_USE = 2  # the exit code for an engine that does not exist


class NotAvailable(Exception):
    """This version does not have what was to be measured; the text says why."""


def sync_words(bed: Testbed, name: str) -> list[str]:
    """`sync` by the engine *name*. Without an option to choose one, sync is star. Raises NotAvailable."""
    if bed.offers("sync", "--engine"):
        return ["sync", "--engine", name]
    if name != "star":
        raise NotAvailable("not available: sync has no --engine")
    return ["sync"]


def forget(bed: Testbed, target: Target) -> None:
    """Take an image off the nodes in use, so that all of it must come again."""
    for node in bed.nodes:
        for path in (target.path, object_path(REGISTRY, target.digest)):
            bed.path(node, path).unlink(missing_ok=True)


def bring(bed: Testbed, name: str, target: Target, *, timeout: float, at: Plan = ()) -> Measured:
    """Bring a deployed image to the nodes in use, which have nothing of it. Raises NotAvailable."""
    words = sync_words(bed, name)
    forget(bed, target)
    done = measure(bed, bed.tool_argv(*words), target, timeout=timeout, at=at)
    if done.exit_code == WRONG_USE:
        raise NotAvailable(f"not available: {(done.output.strip().splitlines() or ['exit code 2'])[0]}")
    return done
