"""5,000 images with two older versions each. Needs no lab, but the real programs and 30,000 files: a minute in all."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from pytest_hpcregistry import agent
from pytest_hpcregistry.cluster.client import ControllerClient
from pytest_hpcregistry.core import facts
from pytest_hpcregistry.core.catalog import Catalog, Entry, Version
from pytest_hpcregistry.core.events import CatalogPart, Event
from pytest_hpcregistry.core.machine import FactsRequest, Question
from pytest_hpcregistry.core.model import Cluster, Controller, Registry
from pytest_hpcregistry.core.records import plain
from pytest_hpcregistry.core.wire import from_line
from pytest_hpcregistry.testing.sif import Sif
from pytest_hpcregistry.transports.local import LocalTransport
from tests.fakes.nodes import FakeNodes, send
from tests.fakes.settings import change, config_text

pytestmark = pytest.mark.large
IMAGES, NEW = 5000, "base-images/new.sif"
LABELS = {"org.label-schema.usage.singularity.deffile.from": "pytorch/pytorch:2.4.0", "a": "x" * 600}


@pytest.fixture
def nodes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeNodes:
    found = FakeNodes(tmp_path, "c1")
    found.use(monkeypatch)
    images: dict[str, Entry] = {}
    for number in range(IMAGES):
        versions = [
            Version(f"{3 * number + age:064x}", 1, "2026-11-27T01:02:47Z", "me@x", "amd64", labels=LABELS)
            for age in range(3)
        ]
        name = f"ml-frameworks/image-{number:05}.sif"
        images[name] = Entry(**vars(versions[0]), versions=tuple(versions[1:]))
        for top in (found.registry, tmp_path / "c1/registry"):
            for one in versions:
                (top / agent.OBJECTS / one.digest).write_text("x")
            (top / name).hardlink_to(top / agent.OBJECTS / versions[0].digest)
    (found.registry / agent.CATALOG).write_text(Catalog(images).to_text())
    (tmp_path / "config.yaml").write_text(config_text(change(found.settings, timeout=300)))
    return found


def controller(nodes: FakeNodes, *words: str, stdin: str = "") -> list[Event]:
    """What the controller program answers. That it is done in time is asked of no test."""
    argv = [sys.executable, "-m", "pytest_hpcregistry.controller", "--config", str(nodes.root / "config.yaml")]
    done = subprocess.run([*argv, "--json", *words], input=stdin, capture_output=True, text=True, check=False)
    assert done.returncode == 0, (done.stdout[-2000:], done.stderr)
    return [event for event in map(from_line, done.stdout.splitlines()) if event]


def look(nodes: FakeNodes, **more: Any) -> facts.Facts:
    question = Question(str(nodes.registry), ["ml-frameworks", "base-images"], **more)
    request = FactsRequest(["c1"], 8, 2, 300, question)
    told = controller(nodes, "facts", json.dumps(plain(request)))
    assert len([one for one in told if isinstance(one, CatalogPart)]) > 1
    return facts.read(told, str(nodes.registry))


def test_what_5000_images_are_asked_and_told(nodes: FakeNodes) -> None:
    data = Sif().to_bytes()
    request = {"name": NEW, "digest": send(nodes.registry, data), "size": len(data), "by": "me@x"}
    controller(nodes, "publish", stdin=json.dumps({**request, "architecture": "amd64", "source": "", "labels": LABELS}))
    states = look(nodes, brief=True).matrix()
    assert states.pop(NEW) == {"controller": "present", "c1": "missing"}
    assert list(states.values()) == [{"controller": "present", "c1": "present"}] * IMAGES
    controller(nodes, "sync")
    found = look(nodes, content=True)
    assert found.machines["c1"].facts.catalog_digest == found.controller.facts.catalog_digest
    assert len(found.catalog.digests()) == 3 * IMAGES + 1 == len(found.machines["c1"].facts.objects)
    assert found.row(NEW) == {"controller": "present", "c1": "present"}
    ended = controller(nodes, "gc", "--dry-run", "--grace", "0", "--by", "me@x")[-1]
    assert {name: (one["state"], one["objects"]) for name, one in plain(ended)["machines"].items()} == {
        "controller": ("freed", []),
        "c1": ("freed", []),
    }
    registry = Registry(path=str(nodes.registry))
    client = ControllerClient(Cluster(Controller("here", "localhost"), registry=registry), LocalTransport())
    assert client.catalog() == found.catalog
