"""Deploy: nothing is sent that is wrong, one failure does not stop the others, and the worst of all is the result."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Any

import pytest

from pytest_hpcregistry.cluster import deploy
from pytest_hpcregistry.cluster.arguments import SyncOptions
from pytest_hpcregistry.cluster.client import ControllerClient, Wait
from pytest_hpcregistry.cluster.deploy import Image
from pytest_hpcregistry.core.digest import hash_file
from pytest_hpcregistry.core.errors import (
    CheckFailed,
    CommandFailed,
    HpcRegistryError,
    Unreachable,
    UsageError,
)
from pytest_hpcregistry.core.events import (
    NOT_COUNTED,
    BytesMissing,
    CheckEnded,
    Event,
    Failed,
    ImageChecked,
    ImageProgress,
    ImageScanned,
    ImageSent,
    Listener,
    Looked,
    NodeFinished,
    Noticed,
    Published,
    Runs,
    UnderWay,
    Verified,
)
from pytest_hpcregistry.core.facts import Facts
from pytest_hpcregistry.core.machine import Question, SlurmFacts
from pytest_hpcregistry.core.model import Cluster, Controller, Registry
from pytest_hpcregistry.core.scan import Scan, Waiver
from pytest_hpcregistry.images.definitions.checks import LABEL, Check, to_label
from pytest_hpcregistry.testing.facts import DIGEST, NAME, gathered, image, machine
from pytest_hpcregistry.testing.sif import Sif, label_object, system_partition
from tests.fakes.image import debian, lay, pack


class Program:
    """The controller program, which is asked for no more than to note what was done."""

    def __init__(self) -> None:
        self.noted: list[Any] = []

    def ask(self, kind: object, words: Sequence[str], *, stdin: bytes, **how: object) -> None:
        assert words[0] == "note"
        self.noted.append(json.loads(stdin))


class FakeClient(ControllerClient):
    """A controller that has *present* digests, fails for *broken* names, and answers with *data*."""

    def __init__(self, *, present: Sequence[str] = (), broken: dict[str, HpcRegistryError] | None = None) -> None:
        self.cluster = Cluster(controller=Controller(name="hpc", host="hpc"), registry=Registry(sbom=False))
        self.present, self.broken = present, broken or {}
        self.sent: list[str] = []
        self.published: list[dict[str, Any]] = []
        self.synced: list[list[str]] = []
        self.finished: dict[str, NodeFinished] = {}
        self.data = gathered({"c1": machine(image())})
        self.asked: list[dict[str, Any]] = []
        self.machines = ["x86_64"]
        self.program: Any = Program()
        self.runs = Runs([])
        self.freed = 0  # how often the bytes are gone when they shall be published

    def look(self, digest: str, size: int) -> Looked:
        return Looked(digest in self.present, self.machines)

    def running(self) -> Runs:
        return self.runs

    def send(self, path: Path, digest: str, size: int, on_sent: Callable[[int], None]) -> None:
        on_sent(size // 2)
        self.sent.append(digest)

    def publish(self, request: Any, listener: Listener = lambda _: None) -> Event:
        if request["name"] in self.broken:
            raise self.broken[request["name"]]
        if self.freed:
            self.freed -= 1
            return BytesMissing(request["digest"])
        self.published.append(request)
        return Published(request["name"], request["digest"], True)

    def sync(
        self, listener: Listener, *options: Any, names: Sequence[str] = (), **more: Any
    ) -> dict[str, NodeFinished]:
        self.synced.append(list(names))
        return self.finished

    def facts(self, question: Question | None = None, listener: Any = None, wait: Wait | None = None) -> Facts:
        assert question
        self.asked.append({"content": question.content, "names": question.names})
        return self.data


def one(name: str = NAME, digest: str = DIGEST) -> Image:
    return Image(Path("x.sif"), name, digest, 10, "amd64", {deploy.FROM_LABEL: "docker://x", "b": "c"})


def failed(message: str, state: str = "failed", hint: str = "") -> NodeFinished:
    return NodeFinished("c", "x", state, message=message, hint=hint)


# --- check


def test_check_reads_everything_from_the_file(tmp_path: Path) -> None:
    path = tmp_path / "x.sif"
    path.write_bytes(Sif(parts=(system_partition("04"), label_object({"a": "b"})), architecture="04").to_bytes())
    found = deploy.check(path, "/opt/containers/base-images/y.sif", FakeClient())
    assert (found.name, found.architecture, found.labels["a"]) == ("base-images/y.sif", "arm64", "b")
    assert found.size == path.stat().st_size
    assert found.digest == hash_file(path)


@pytest.mark.parametrize("target", ["/opt/containers/x.sif", "/etc/x.sif", "base-images/-x.sif", "gone/x.sif"])
def test_check_refuses_a_wrong_target(tmp_path: Path, target: str) -> None:
    path = tmp_path / "x.sif"
    path.write_bytes(Sif().to_bytes())
    with pytest.raises(UsageError):
        deploy.check(path, target, FakeClient())


@pytest.mark.parametrize("data", [b"", b"no SIF", Sif().to_bytes()[:-1]])
def test_check_refuses_a_wrong_file(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "x.sif"
    path.write_bytes(data)
    with pytest.raises(UsageError):
        deploy.check(path, NAME, FakeClient())


# --- deploy


@pytest.mark.parametrize(("machines", "refused"), [(["aarch64"], True), (["aarch64", "x86_64"], False), ([], True)])
def test_an_image_that_no_node_runs_is_refused_before_a_byte_moves(machines: list[str], refused: bool) -> None:
    client, events = FakeClient(), list[Event]()
    client.machines = machines
    with pytest.raises(CheckFailed) if refused else nullcontext() as caught:
        deploy.deploy([one()], client, events.append, sync_nodes=True)
    assert (client.sent == [], client.synced == []) == (refused, refused)
    if caught:
        assert str(caught.value) == f"{NAME}: is made for amd64, and the nodes are {', '.join(machines)}"
        assert "--any-architecture" in caught.value.hint
        told = events[-1]
        assert isinstance(told, Failed)
        assert told.text == str(caught.value), "the name is said once"
    deploy.deploy([one()], client, events.append, any_architecture=True)
    assert client.published[-1]["name"] == NAME


@pytest.fixture
def images(apptainer: Path, tmp_path: Path) -> list[Image]:
    """Two: the second one's check fails while there is a file `broken`."""
    check = Check(run=("test", "!", "-e", str(tmp_path / "broken")))
    found = []
    for name, one in (("a", Check(run=("true",))), ("b", check)):
        path = tmp_path / f"{name}.sif"
        path.write_bytes(Sif(parts=(label_object({LABEL: to_label([one])}), system_partition())).to_bytes())
        found.append(deploy.check(path, f"ml-frameworks/{name}.sif", FakeClient()))
    return found


def test_images_are_tested_before_a_byte_moves(images: list[Image], tmp_path: Path) -> None:
    client, events = FakeClient(), list[Event]()
    (tmp_path / "broken").touch()
    with pytest.raises(CheckFailed, match=r"b\.sif: 1 of its checks failed: test '!' -e"):
        deploy.deploy(images, client, events.append, sync_nodes=True, test=True)
    assert (client.sent, client.published, client.synced) == ([], [], [])
    noted = [(one["images"], one["after"], one["state"], one["detail"]) for one in client.program.noted]
    assert noted == [
        ([image.name], image.digest, state, "on the workstation, to deploy it")
        for image, state in zip(images, ("ok", "failed"), strict=True)
    ]
    states = [(one.name, one.state) for one in events if isinstance(one, CheckEnded)]
    assert states == [("a.sif", "passed")] * 2 + [("b.sif", "passed"), ("b.sif", "failed")]
    (tmp_path / "broken").unlink()
    deploy.deploy(images, client, events.append, test=True)
    assert [one["name"] for one in client.published] == ["ml-frameworks/a.sif", "ml-frameworks/b.sif"]


def test_an_image_that_nothing_tests_is_not_deployed_as_tested(images: list[Image], tmp_path: Path) -> None:
    client = FakeClient()
    images[0].path.write_bytes(Sif().to_bytes())
    with pytest.raises(UsageError, match=r"a\.sif has no checks"):
        deploy.deploy(images, client, lambda event: None, test=True)
    images[0].path.write_bytes(images[1].path.read_bytes())
    with pytest.raises(UsageError, match="has changed since it was looked at"):
        deploy.deploy(images, client, lambda event: None, test=True)
    assert client.published == []


def test_images_are_not_tested_unless_asked_for(images: list[Image], apptainer: Path) -> None:
    deploy.deploy(images, FakeClient(), lambda event: None)
    assert not (apptainer / "asked").exists()


def test_what_is_odd_about_a_good_image_is_said() -> None:
    events: list[Event] = []
    deploy.deploy([replace(one(), warnings=("its labels cannot be read",))], FakeClient(), events.append)
    assert events[0] == Noticed(f"{NAME}: its labels cannot be read")


def test_labels_that_the_catalog_does_not_take_are_named() -> None:
    events: list[Event] = []
    deploy.deploy([replace(one(), labels={"a": "b", "long": "x" * 5000})], FakeClient(), events.append)
    assert events[0] == Noticed(f"{NAME}: the catalog takes 4096 bytes of labels of an image, and so not long")


def test_deploy_only_publishes_unless_asked_for_more() -> None:
    client, events = FakeClient(), list[Event]()
    deploy.deploy([one()], client, events.append)
    assert (client.sent, client.synced, client.asked) == ([DIGEST], [], [])
    assert client.published[0]["source"] == "docker://x"
    assert client.published[0]["labels"]["b"] == "c"
    assert "@" in client.published[0]["by"]
    assert 0 <= client.published[0]["seconds"] < 60, "what it took until then, for the history"
    assert list(map(type, events)) == [ImageChecked, ImageProgress, ImageSent, Published]
    assert events[1:3] == [ImageProgress(NAME, 10, 5), ImageSent(NAME, 10)]


def test_bytes_that_are_there_are_not_sent_again() -> None:
    client, events = FakeClient(present=[DIGEST]), list[Event]()
    deploy.deploy([one()], client, events.append)
    assert client.sent == []
    assert events[1] == ImageSent(NAME, 0)


def test_bytes_that_were_freed_meanwhile_are_sent_again() -> None:
    client = FakeClient(present=[DIGEST])
    client.freed = 1
    deploy.deploy([one()], client, lambda _: None)
    assert (client.sent, len(client.published)) == ([DIGEST], 1)
    client.freed = 2
    with pytest.raises(CommandFailed, match="was removed twice while it was being published"):
        deploy.deploy([one()], client, lambda _: None)


def test_sync_and_verify_are_for_the_images_that_were_published() -> None:
    client = FakeClient(broken={"base-images/y.sif": CheckFailed("controller: no sound SIF")})
    with pytest.raises(CheckFailed, match="no sound SIF"):
        deploy.deploy([one("base-images/y.sif"), one()], client, lambda _: None, sync_nodes=True, verify=True)
    assert client.synced == [[NAME]]
    assert client.asked == [{"content": True, "names": [NAME]}]


def test_who_would_have_to_wait_sends_nothing() -> None:
    client = FakeClient()
    client.runs = Runs([], locked=True)
    with pytest.raises(CommandFailed, match="nothing was deployed, by --no-wait: another command"):
        deploy.deploy([one()], client, lambda _: None, sync_nodes=True, options=SyncOptions(no_wait=True))
    assert (client.sent, client.published) == ([], [])
    deploy.deploy([one()], client, lambda _: None, options=SyncOptions(no_wait=True))
    client.runs = Runs([])
    deploy.deploy([one()], client, lambda _: None, sync_nodes=True, options=SyncOptions(no_wait=True))
    assert client.synced == [[NAME]]


def test_nothing_published_is_nothing_synced() -> None:
    client = FakeClient(broken={NAME: CheckFailed("bad")})
    with pytest.raises(CheckFailed):
        deploy.deploy([one()], client, lambda _: None, sync_nodes=True, verify=True)
    assert (client.synced, client.asked) == ([], [])


def test_many_at_once() -> None:
    client = FakeClient()
    images = [one(f"base-images/{number}.sif") for number in range(20)]
    deploy.deploy(images, client, lambda _: None, sync_nodes=True, parallel=4)
    assert {request["name"] for request in client.published} == {image.name for image in images}
    assert client.synced[0] == [image.name for image in images]


def test_no_image_is_wrong_use() -> None:
    with pytest.raises(UsageError, match="no image"):
        deploy.deploy([], FakeClient(), lambda _: None)


def test_a_controller_that_is_gone_ends_it() -> None:
    client = FakeClient(broken={NAME: Unreachable("hpc: no route")})
    with pytest.raises(Unreachable, match="no route"):
        deploy.deploy([one()], client, lambda _: None, sync_nodes=True)
    assert client.synced == []


def test_a_node_that_failed_does_not_keep_the_others_from_being_verified() -> None:
    client = FakeClient()
    client.finished = {"c2": failed("disk full")}
    client.data = gathered({"c1": machine(image(sha256=DIGEST)), "c2": machine()})
    events: list[Event] = []
    with pytest.raises(CommandFailed) as caught:
        deploy.deploy([one()], client, events.append, sync_nodes=True, verify=True)
    assert str(caught.value) == f"c2: disk full\nc2: {NAME} missing"
    assert events[-1] == Verified(NAME, {"controller": "present", "c1": "present", "c2": "missing"})


def test_a_node_that_is_not_counted_is_said_once() -> None:
    client = FakeClient()
    slurm = SlurmFacts(nodes={"c1": "idle", "c2": "drained", "c3": "down"})
    client.data = gathered({"c1": machine(image(sha256=DIGEST)), "c2": "no route", "c3": "no route"}, slurm=slurm)
    client.finished = {"c1": NodeFinished("c1", NAME, "synced"), "c2": failed("drained", NOT_COUNTED)}
    events: list[Event] = []
    deploy.deploy([one()], client, events.append, sync_nodes=True, verify=True)
    assert [event.message for event in events if isinstance(event, Noticed)] == ["not counted: c3 down"], "c2 was said"


def test_verify_without_sync_looks_at_the_controller_only() -> None:
    client = FakeClient()
    client.data = gathered({"c1": machine()})
    deploy.deploy([one()], client, lambda _: None, verify=True)


# --- scan


class Scanning(FakeClient):
    """A cluster whose scanner reports *faults*; a scanner that is None is none."""

    def __init__(self, faults: Sequence[str] | None = (), **settings: Any) -> None:
        super().__init__()
        found = {
            "bomFormat": "CycloneDX",
            "components": [{"name": "tar"}, {"name": "libc6"}],
            "vulnerabilities": [{"id": one} for one in faults or ()],
        }
        command = (sys.executable, "-c", f"print({json.dumps(found)!r})", "{sbom}") if faults is not None else ()
        self.cluster = replace(self.cluster, scan=Scan(command=command, **settings))


def deployed(client: FakeClient, path: Path, **how: Any) -> list[Event]:
    events: list[Event] = []
    deploy.deploy([deploy.check(path, "ml-frameworks/x.sif", client)], client, events.append, **how)
    return events


def test_a_fault_keeps_an_image_from_the_controller(tmp_path: Path) -> None:
    client = Scanning(["CVE-1"])
    with pytest.raises(CheckFailed, match=r"the scanner found 1 vulnerability that blocks it: CVE-1 \(unknown\)"):
        deployed(client, debian(tmp_path), sync_nodes=True, verify=True)
    assert (client.sent, client.published, client.synced, client.asked) == ([], [], [], [])


def test_what_is_scanned_is_said_before_it_is_sent(tmp_path: Path) -> None:
    waivers = (Waiver("CVE-1", date(9999, 1, 1), "x"), Waiver("CVE-2", date(9999, 1, 1), "x"))
    client = Scanning(["CVE-1"], waivers=waivers)
    events = deployed(client, debian(tmp_path))
    begun, note, scanned, *rest = events
    assert begun == UnderWay("ml-frameworks/x.sif", f"is scanned by {sys.executable}")
    assert note == Noticed("ml-frameworks/x.sif: the waiver of CVE-2 matches no finding: is it still needed?")
    assert scanned == ImageScanned("ml-frameworks/x.sif", components=2, findings=1, waived=1)
    assert isinstance(rest[0], ImageChecked)
    assert len(client.published) == 1
    assert (tmp_path / "debian.sif.scan.json").is_file()


def test_one_that_is_blocked_keeps_no_other_back(tmp_path: Path) -> None:
    client = Scanning(["CVE-1"], timeout=60)
    good, bad = debian(tmp_path / "good"), pack(lay(tmp_path / "root", {"a": ""}), tmp_path / "bad.sif")
    waivers = (Waiver("CVE-1", date(9999, 1, 1), "x"),)
    client.cluster = replace(client.cluster, scan=replace(client.cluster.scan, waivers=waivers))
    images = [deploy.check(path, f"ml-frameworks/{path.name}", client) for path in (bad, good)]
    events: list[Event] = []
    with pytest.raises(HpcRegistryError, match="no package was found") as caught:
        deploy.deploy(images, client, events.append)
    assert caught.value.exit_code == 3
    assert [one["name"] for one in client.published] == ["ml-frameworks/debian.sif"]
    assert [event.name for event in events if isinstance(event, Failed)] == ["ml-frameworks/bad.sif"]


def test_no_scan_is_said(tmp_path: Path) -> None:
    client = Scanning(["CVE-1"])
    events = deployed(client, debian(tmp_path), no_scan=True)
    assert events[0] == Noticed("ml-frameworks/x.sif: not scanned, by --no-scan")
    assert len(client.published) == 1
    assert not (tmp_path / "debian.sif.scan.json").exists()


def test_without_a_scanner_nothing_is_scanned(tmp_path: Path) -> None:
    client = Scanning(None)
    assert isinstance(deployed(client, debian(tmp_path))[0], ImageChecked)
    assert {one.name for one in tmp_path.iterdir()} == {"debian.sif", "root"}


def test_an_image_that_is_changed_after_it_was_checked_is_not_sent(tmp_path: Path) -> None:
    client = Scanning()
    path = debian(tmp_path)
    image = deploy.check(path, "ml-frameworks/x.sif", client)
    debian(tmp_path, more="x")
    with pytest.raises(CommandFailed, match="the file changed while it was looked at"):
        deploy.deploy([image], client, lambda event: None)
    assert client.sent == []


@pytest.mark.parametrize(("in_force", "refused"), [("require", False), (None, False), ("warn", True), ("off", True)])
def test_a_file_that_requires_signatures_is_not_in_force_yet(in_force: str | None, refused: bool) -> None:
    """The controller would take an image that nobody has signed; what a program of before has, it does not say."""
    client = FakeClient()
    client.cluster = replace(client.cluster, registry=replace(client.cluster.registry, signatures="require"))
    client.look = lambda digest, size: Looked(True, ["x86_64"], signatures=in_force)  # type: ignore[method-assign]
    with pytest.raises(UsageError, match=f"and {in_force} on the controller") if refused else nullcontext():
        deploy.look(one(), client)


def test_an_image_that_is_refused_is_not_scanned(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    client, scans = Scanning(), []
    client.machines = ["aarch64"]
    monkeypatch.setattr(deploy, "scan", lambda *_: scans.append("scanned"))
    image = deploy.check(debian(tmp_path), "ml-frameworks/x.sif", client)
    with pytest.raises(CheckFailed, match="is made for amd64"):
        deploy.deploy([image], client, lambda event: None)
    assert scans == []
