"""A machine that dies at each call that changes something: what is left is whole, and gc takes the rest."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pytest_hpcregistry import agent
from pytest_hpcregistry.agent import gc
from tests.fakes.registry import NAME, NEW, OLD, digest, make_registry, names_in, publish, request, stage

CALLS = ("open", "mkdir", "write", "rename", "link", "unlink", "fsync", "fchown", "fchmod")
CATALOGS = {OLD: "the old catalog", NEW: "the new catalog"}


@pytest.fixture
def registry(tmp_path: Path) -> Path:
    return make_registry(tmp_path / "registry")


def want(data: bytes) -> dict[str, Any]:
    return request(data, catalog=CATALOGS[data], objects=[digest(data)])


def killed_at(number: int, work: Callable[[], object]) -> bool:
    """Have a child do the work, and die before the call with this number; False if it came to its end before."""
    child = os.fork()
    if child == 0:
        left = [number]

        def dying(real: Callable[..., Any]) -> Callable[..., Any]:
            def call(*arguments: Any, **more: Any) -> Any:
                left[0] -= 1
                if left[0] < 0:
                    os.kill(os.getpid(), signal.SIGKILL)
                return real(*arguments, **more)

            return call

        for name in CALLS:
            setattr(os, name, dying(getattr(os, name)))
        try:
            work()
        finally:
            os._exit(0)
    return os.WIFSIGNALED(os.waitpid(child, 0)[1])


def collect(registry: Path, data: bytes) -> None:
    keep = {"keep": [digest(OLD), digest(NEW)], "names": [NAME], "objects": [digest(data)], "spare": []}
    gc.collect(str(registry), {"catalog": CATALOGS[data], "shared": False, "grace": 0, "dry_run": False, **keep})


def leftovers(registry: Path) -> list[str]:
    places = ("ml-frameworks", ".registry", agent.STAGING, agent.BASES)
    hidden = [name for place in places[:2] for name in names_in(registry / place) if name.startswith(".")]
    return hidden + [name for place in places[2:] if (registry / place).exists() for name in names_in(registry / place)]


def test_publish(registry: Path) -> None:
    publish(registry, OLD, catalog=CATALOGS[OLD], objects=[digest(OLD)])
    points, left = 0, 0
    while True:
        agent.publish(str(registry), want(OLD))
        (registry / agent.OBJECTS / digest(NEW)).unlink(missing_ok=True)
        stage(registry, NEW)
        if not killed_at(points, lambda: agent.publish(str(registry), want(NEW))):
            break
        points += 1
        found = (registry / NAME).read_bytes()
        catalog = (registry / agent.CATALOG).read_text()
        assert found in (OLD, NEW)
        assert catalog == CATALOGS[OLD] or (catalog, found) == (CATALOGS[NEW], NEW), "the catalog is the last to change"
        left += bool(leftovers(registry))
        collect(registry, OLD if catalog == CATALOGS[OLD] else NEW)
        assert leftovers(registry) == []
        if not (registry / agent.OBJECTS / digest(NEW)).exists():
            stage(registry, NEW)
        assert agent.publish(str(registry), want(NEW))["catalog"] == "written"
        assert (registry / NAME).read_bytes() == NEW
        assert (registry / agent.CATALOG).read_text() == CATALOGS[NEW]
        assert leftovers(registry) == []
    assert points > 20
    assert left > 5, "gc had something to do"


def test_gc(registry: Path) -> None:
    points = 0
    while True:
        publish(registry, OLD)
        publish(registry, NEW)
        stage(registry, b"half", name="a" * 64)
        request_for = {"keep": [digest(NEW)], "names": [NAME], "objects": [digest(NEW)], "spare": []}
        asked = {"catalog": CATALOGS[NEW], "shared": False, "grace": 0, "dry_run": False, **request_for}
        (registry / agent.CATALOG).unlink(missing_ok=True)
        died = killed_at(points, lambda asked=asked: gc.collect(str(registry), asked))  # type: ignore[misc]
        assert (registry / NAME).read_bytes() == NEW
        gc.collect(str(registry), asked)
        assert names_in(registry / agent.OBJECTS) == [digest(NEW)]
        assert leftovers(registry) == []
        if not died:
            break
        points += 1
    assert points > 10
