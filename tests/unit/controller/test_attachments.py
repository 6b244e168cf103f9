"""What comes with a publish is looked at and kept, and a publish stays done whatever becomes of it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from pytest_hpcregistry import agent
from pytest_hpcregistry.controller import attachments
from pytest_hpcregistry.core.attachments import pack
from pytest_hpcregistry.testing.facts import OTHER
from tests.fakes.nodes import FakeNodes
from tests.fakes.settings import config_text
from tests.unit.core.test_attachments import sbom_of

NAME = "ml-frameworks/x.sif"
REPORT = b'{"bomFormat": "CycloneDX"}'


@pytest.fixture
def nodes(tmp_path: Path) -> FakeNodes:
    return FakeNodes(tmp_path, "c1")


@pytest.fixture
def image(nodes: FakeNodes) -> dict[str, Any]:
    """What a workstation says to publish what is published already."""
    digest = nodes.publish(NAME)
    size = (nodes.registry / NAME).stat().st_size
    return {"name": NAME, "digest": digest, "size": size, "by": "", "architecture": "", "source": "", "labels": {}}


def attach(nodes: FakeNodes, image: dict[str, Any], **given: Any) -> tuple[list[str], list[str]]:
    return attachments.attach(str(nodes.registry), {**image, "attachments": given})


def run(nodes: FakeNodes, *words: str, **request: Any) -> list[dict[str, Any]]:
    """The events of the controller program."""
    config = nodes.root / "config.yaml"
    config.write_text(config_text(nodes.settings))
    argv = [sys.executable, "-m", "pytest_hpcregistry.controller", "--config", str(config), "--json", *words]
    done = subprocess.run(argv, input=json.dumps(request), capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


def beside(nodes: FakeNodes) -> dict[str, bytes]:
    found = [path for place in (agent.SBOMS, agent.SCANS) for path in (nodes.registry / place).glob("*")]
    return {str(path.relative_to(nodes.registry)): path.read_bytes() for path in found}


def test_what_is_kept_is_told_of_before_the_next_publish(nodes: FakeNodes, image: dict[str, Any]) -> None:
    sbom = sbom_of(image["digest"])
    assert attachments.digests(str(nodes.registry), image["digest"]) == {}
    assert attach(nodes, image, sbom=pack(sbom), scan=pack(REPORT)) == (["sbom", "scan"], [])
    assert beside(nodes) == {
        f"{agent.SBOMS}/{image['digest']}.json": sbom,
        f"{agent.SCANS}/{image['digest']}.json": REPORT,
    }
    assert attachments.digests(str(nodes.registry), image["digest"]) == {
        "sbom": agent.hash_file(f"{nodes.registry}/{agent.SBOMS}/{image['digest']}.json"),
        "scan": agent.hash_file(f"{nodes.registry}/{agent.SCANS}/{image['digest']}.json"),
    }


@pytest.mark.parametrize(
    ("given", "why"),
    [
        (pack(sbom_of(OTHER)), "it is not that of this image"),
        (pack(b"[]"), "it is JSON of another kind than CycloneDX"),
        ("", "it did not arrive as a whole"),
        (["x"], "it did not arrive as it was sent"),
    ],
)
def test_what_is_no_sbom_of_it_is_not_kept(nodes: FakeNodes, image: dict[str, Any], given: Any, why: str) -> None:
    kept, lost = attach(nodes, image, sbom=given, scan=pack(REPORT))
    assert kept == ["scan"], "one does not keep the other out"
    assert lost == [f"{NAME}: its SBOM is not kept in the registry: {why}"]
    assert list(beside(nodes)) == [f"{agent.SCANS}/{image['digest']}.json"]


@pytest.mark.parametrize("given", [None, {}, [], "x", {"vex": "of a later version"}])
def test_other_versions_of_the_program_send_other_things(nodes: FakeNodes, image: dict[str, Any], given: Any) -> None:
    assert attachments.attach(str(nodes.registry), {**image, "attachments": given}) == ([], [])
    assert attachments.attach(str(nodes.registry), image) == ([], []), "nor do they say that they send nothing"
    assert beside(nodes) == {}


def test_nothing_is_kept_beside_an_image_that_has_gone(nodes: FakeNodes, image: dict[str, Any]) -> None:
    (nodes.registry / agent.OBJECTS / image["digest"]).unlink()
    kept, lost = attach(nodes, image, sbom=pack(sbom_of(image["digest"])))
    assert (kept, lost) == ([], [f"{NAME}: its SBOM is not kept in the registry: the image was removed meanwhile"])


def test_a_full_disk_is_said(nodes: FakeNodes, image: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*arguments: Any) -> int:
        raise OSError(28, os.strerror(28))

    monkeypatch.setattr(os, "write", full)
    kept, lost = attach(nodes, image, sbom=pack(sbom_of(image["digest"])))
    assert (kept, lost) == ([], [f"{NAME}: its SBOM is not kept in the registry: No space left on device"])


def test_a_file_where_the_directory_belongs_is_said(nodes: FakeNodes, image: dict[str, Any]) -> None:
    (nodes.registry / agent.SBOMS).write_text("")
    kept, lost = attach(nodes, image, sbom=pack(sbom_of(image["digest"])))
    assert (kept, lost) == ([], [f"{NAME}: its SBOM is not kept in the registry: Not a directory"])


def test_the_program_reports_what_is_kept_and_what_is_not(nodes: FakeNodes, image: dict[str, Any]) -> None:
    given = {"sbom": pack(sbom_of(image["digest"])), "scan": pack(b"{}")}
    note, published = run(nodes, "publish", **image, attachments=given)
    why = "its scanner's report is not kept in the registry: it is JSON of another kind than CycloneDX"
    assert note == {"event": "noticed", "message": f"{NAME}: {why}"}
    assert (published["event"], published["attached"]) == ("published", ["sbom"])
    assert f"NOTE: {NAME}: {why}\n" in Path(nodes.settings.sync.log).read_text()
    (looked,) = run(nodes, "has", image["digest"], str(image["size"]))
    assert (looked["present"], list(looked["attachments"])) == (True, ["sbom"])


def test_a_workstation_of_the_version_before_publishes_as_ever(nodes: FakeNodes, image: dict[str, Any]) -> None:
    (published,) = run(nodes, "publish", **image)
    assert (published["event"], published["attached"]) == ("published", [])
    assert beside(nodes) == {}
