"""SBOMs on their way to the registry and back, by the real controller program."""

from __future__ import annotations

import json
import os
import shutil
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from pytest_hpcregistry import agent
from pytest_hpcregistry.cluster import deploy
from pytest_hpcregistry.cluster.attachments import fetch_sboms
from pytest_hpcregistry.cluster.client import ControllerClient
from pytest_hpcregistry.controller import publish as controller_registry
from pytest_hpcregistry.core import attachments
from pytest_hpcregistry.core.errors import CheckFailed, Undetermined, UsageError
from pytest_hpcregistry.core.events import Event, ImageSent, Looked, Noticed, Published
from pytest_hpcregistry.core.model import Cluster, Controller, Registry
from pytest_hpcregistry.core.scan import Scan
from pytest_hpcregistry.images.inventory.sbom import make_sbom
from pytest_hpcregistry.transports import Command, CommandResult, Transport
from pytest_hpcregistry.transports.process import run_command
from tests.fakes.image import DEBIAN, debian, lay, pack
from tests.fakes.nodes import FakeNodes
from tests.fakes.settings import config_text

NAME = "ml-frameworks/x.sif"
PATH = "ml-frameworks/x.sif"
REPORT = {"bomFormat": "CycloneDX", "components": [{"name": "tar"}, {"name": "libc6"}]}
SCANNER = (sys.executable, "-c", f"print({json.dumps(REPORT)!r})", "{sbom}")


class Here(Transport):
    """The controller is this machine: its program is the one of this checkout, with the settings of *nodes*."""

    def __init__(self, nodes: FakeNodes) -> None:
        self.config = nodes.root / "config.yaml"
        self.config.write_text(config_text(nodes.settings))
        self.requests: list[dict[str, Any]] = []

    def execute(self, command: Command) -> CommandResult:
        argv: Sequence[str] = command.argv
        if argv[0] == "python3":
            words = argv[argv.index("--json") :]
            argv = [sys.executable, "-m", "pytest_hpcregistry.controller", "--config", str(self.config), *words]
        if "publish" in argv:
            assert isinstance(command.stdin, bytes)
            self.requests.append(json.loads(command.stdin))
        return run_command("hpc", replace(command, argv=argv))


@pytest.fixture
def nodes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeNodes:
    found = FakeNodes(tmp_path, "c1")
    found.use(monkeypatch)
    monkeypatch.setattr("pytest_hpcregistry.core.sif.runs_on", lambda image, machine: True)
    return found


@pytest.fixture
def client(nodes: FakeNodes) -> ControllerClient:
    registry = Registry(path=str(nodes.registry), directories=nodes.settings.registry.directories)
    return ControllerClient(Cluster(Controller("hpc", "hpc"), registry=registry), Here(nodes))


def other(**more: Any) -> dict[str, Any]:
    """A Debian with another version of a package."""
    return {"var/lib/dpkg/status": DEBIAN["var/lib/dpkg/status"].replace("2.36-9", "2.41-1"), **more}


def deployed(client: ControllerClient, path: Path, **how: Any) -> list[Event]:
    events: list[Event] = []
    deploy.deploy([deploy.check(path, NAME, client)], client, events.append, any_architecture=True, **how)
    return events


def notes(events: Sequence[Event]) -> list[str]:
    return [event.message for event in events if isinstance(event, Noticed)]


def sent(client: ControllerClient) -> list[str]:
    """What went along with the last publish."""
    assert isinstance(client.transport, Here)
    return list(client.transport.requests[-1]["attachments"])


def kept(nodes: FakeNodes, place: str = agent.SBOMS) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in (nodes.registry / place).glob("*")}


def anybodys(event: Event) -> Published:
    """As if nobody in particular had published."""
    assert isinstance(event, Published)
    return replace(event, by=None)


def test_a_deploy_keeps_the_sbom_beside_the_image(nodes: FakeNodes, client: ControllerClient, tmp_path: Path) -> None:
    path = debian(tmp_path / "a")
    made = make_sbom(path)
    events = deployed(client, path)
    assert notes(events) == []
    assert anybodys(events[-1]) == Published(NAME, made.digest, True, ["sbom"])
    assert kept(nodes) == {f"{made.digest}.json": made.text.encode()}
    assert kept(nodes, agent.SCANS) == {}
    assert fetch_sboms(client, NAME, None) == [made]
    again = deployed(client, path)
    assert anybodys(again[-1]) == Published(NAME, made.digest, False, before=made.digest)
    assert sent(client) == [], "it is there with the same bytes"
    (nodes.registry / agent.SBOMS / f"{made.digest}.json").write_text("{}")
    deployed(client, path)
    assert kept(nodes) == {f"{made.digest}.json": made.text.encode()}


def test_the_report_of_a_scan_goes_along(nodes: FakeNodes, client: ControllerClient, tmp_path: Path) -> None:
    client.cluster = replace(client.cluster, scan=Scan(command=SCANNER))
    path = debian(tmp_path / "a")
    published = deployed(client, path)[-1]
    assert isinstance(published, Published)
    assert published.attached == ["sbom", "scan"]
    (report,) = kept(nodes, agent.SCANS).values()
    assert report == (tmp_path / "a" / "debian.sif.scan.json").read_bytes()
    deployed(client, path, no_scan=True)
    assert sent(client) == []
    assert kept(nodes, agent.SCANS), "a deploy without a scan takes away none"


def test_versions_are_had_by_their_digests(nodes: FakeNodes, client: ControllerClient, tmp_path: Path) -> None:
    old, new = debian(tmp_path / "old"), debian(tmp_path / "new", **other())
    for path in (old, new):
        deployed(client, path)
    one, two = make_sbom(old), make_sbom(new)
    assert fetch_sboms(client, NAME, one.digest[:6], two.digest.upper()) == [one, two]
    assert fetch_sboms(client, "x.sif", None) == [two], "the current one"
    controller_registry.rollback(nodes.settings, NAME, None)
    assert fetch_sboms(client, NAME, None) == [one], "a rollback has it too"
    with pytest.raises(UsageError, match=f"{NAME}: no version begins with 'ffffff'") as caught:
        fetch_sboms(client, NAME, one.digest[:6], "ffffff")
    assert two.digest[:12] in caught.value.hint
    with pytest.raises(UsageError, match="not in the catalog"):
        fetch_sboms(client, "y.sif", None)


def test_a_version_without_one_says_what_to_do(nodes: FakeNodes, client: ControllerClient, tmp_path: Path) -> None:
    digest = nodes.publish(NAME)
    with pytest.raises(Undetermined) as caught:
        fetch_sboms(client, NAME, None)
    assert str(caught.value) == f"{NAME}, version {digest[:12]}: the registry has no SBOM of it"
    assert f"scp hpc:{nodes.registry}/{agent.OBJECTS}/{digest} {digest[:12]}.sif" in caught.value.hint


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "it is not JSON"),
        ("[1, 2", "it is not JSON"),
        ('{"bomFormat": "CycloneDX", "components": []}', "it is not that of this image"),
        ("OTHER", "it is not that of this image"),
        ("NO PACKAGE", "no package is in it"),
        ("NO PURL", "it is not what a CycloneDX SBOM may be"),
    ],
)
def test_what_the_controller_has_there_is_looked_at(
    nodes: FakeNodes, client: ControllerClient, tmp_path: Path, text: str, why: str
) -> None:
    path = debian(tmp_path / "a")
    deployed(client, path)
    made = make_sbom(path)
    data = json.loads(made.text)
    text = {
        "OTHER": make_sbom(debian(tmp_path / "b", **other())).text,
        "NO PACKAGE": json.dumps({**data, "components": []}),
        "NO PURL": json.dumps({**data, "components": [{"purl": "none"}]}),
    }.get(text, text)
    (nodes.registry / agent.SBOMS / f"{made.digest}.json").write_text(text)
    with pytest.raises(Undetermined) as caught:
        fetch_sboms(client, NAME, None)
    assert str(caught.value).startswith(f"{NAME}, version {made.digest[:12]}: ")
    assert why in str(caught.value)


def test_an_image_without_packages_is_deployed_and_has_none(
    nodes: FakeNodes, client: ControllerClient, tmp_path: Path
) -> None:
    events = deployed(client, pack(lay(tmp_path / "root", {"bin/app": "x"}), tmp_path / "x.sif"))
    (note,) = notes(events)
    assert note.startswith(f"{NAME}: no SBOM is kept in the registry: no package was found in it, by dpkg, rpm")
    assert anybodys(events[-1]) == Published(NAME, nodes.catalog().images[NAME].digest, True)
    assert kept(nodes) == {}


def test_without_unsquashfs_an_image_is_deployed(
    nodes: FakeNodes, client: ControllerClient, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = debian(tmp_path / "a")
    real = shutil.which
    monkeypatch.setattr(shutil, "which", lambda name, *more: None if name == "unsquashfs" else real(name, *more))
    events = deployed(client, path)
    (note,) = notes(events)
    assert note.startswith(f"{NAME}: no SBOM is kept in the registry: unsquashfs is needed to look into an image")
    assert note.endswith("install the package squashfs-tools")
    assert isinstance(events[-1], Published)


def test_one_that_is_too_large_is_not_sent(
    nodes: FakeNodes, client: ControllerClient, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(attachments, "MOST_BYTES", 1000)
    events = deployed(client, debian(tmp_path / "a"))
    assert notes(events) == [f"{NAME}: its SBOM is not kept in the registry: it is larger than 0 MiB"]
    assert sent(client) == []
    assert isinstance(events[-1], Published)


def test_one_that_the_controller_cannot_keep_undoes_nothing(
    nodes: FakeNodes, client: ControllerClient, tmp_path: Path
) -> None:
    (nodes.registry / agent.SBOMS).write_text("")
    events = deployed(client, debian(tmp_path / "a"))
    assert notes(events) == [f"{NAME}: its SBOM is not kept in the registry: Not a directory"]
    assert anybodys(events[-1]) == Published(NAME, nodes.catalog().images[NAME].digest, True)


def test_it_can_be_left_out(nodes: FakeNodes, client: ControllerClient, tmp_path: Path) -> None:
    registry = replace(client.cluster.registry, sbom=False)
    client.cluster = replace(client.cluster, registry=registry, scan=Scan(command=SCANNER))
    assert notes(deployed(client, debian(tmp_path / "a"))) == []
    assert (kept(nodes), kept(nodes, agent.SCANS)) == ({}, {})


@pytest.mark.parametrize("kind", ["fifo", "directory", "link", "large"])
def test_what_lies_in_an_sboms_place_is_not_read_for_one(
    nodes: FakeNodes, client: ControllerClient, tmp_path: Path, kind: str
) -> None:
    """Nor waited for, as a FIFO would have it."""
    deployed(client, debian(tmp_path / "a"))
    (path,) = (nodes.registry / agent.SBOMS).iterdir()
    path.unlink()
    if kind == "fifo":
        os.mkfifo(path)
    elif kind == "directory":
        path.mkdir()
    elif kind == "link":
        path.symlink_to("/dev/zero")
    else:
        path.write_bytes(b" " * (attachments.MOST_BYTES + 1))
    with pytest.raises(Undetermined, match="the SBOM in the registry cannot be used: it is not JSON"):
        fetch_sboms(client, NAME, None)


def test_a_controller_of_the_version_before_gets_none(
    nodes: FakeNodes, client: ControllerClient, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It says nothing of what it keeps, and its publish would pass over what it is sent."""
    monkeypatch.setattr(client, "look", lambda digest, size: Looked(False, ["x86_64"]))
    events = deployed(client, debian(tmp_path / "a"))
    (note,) = notes(events)
    assert note.startswith(f"{NAME}: no SBOM is kept in the registry: the controller's program is of a version")
    assert "registry setup" in note
    assert sent(client) == []


def test_an_image_that_changes_meanwhile_gets_no_sbom_of_another(
    nodes: FakeNodes, client: ControllerClient, tmp_path: Path
) -> None:
    path = debian(tmp_path / "a")
    deployed(client, path)
    image = deploy.check(path, NAME, client)
    shutil.copy(debian(tmp_path / "b", **other()), path)
    (nodes.registry / agent.SBOMS / f"{image.digest}.json").unlink()
    events: list[Event] = []
    deploy.deploy([image], client, events.append, any_architecture=True)
    assert ImageSent(NAME, 0) in events
    assert notes(events) == [f"{NAME}: no SBOM is kept in the registry: the file has changed meanwhile"]
    assert kept(nodes) == {}


def test_nothing_is_made_of_an_image_that_is_refused(
    nodes: FakeNodes, client: ControllerClient, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pytest_hpcregistry.core.sif.runs_on", lambda image, machine: False)
    image = deploy.check(debian(tmp_path / "a"), NAME, client)
    with pytest.raises(CheckFailed, match="is made for"):
        deploy.deploy([image], client, lambda _: None)
    assert (kept(nodes), list((nodes.registry / agent.OBJECTS).iterdir())) == ({}, [])
