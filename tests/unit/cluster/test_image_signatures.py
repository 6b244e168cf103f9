"""Signatures that images carry themselves, on the workstation: before a deploy, and in what verify reports."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from pytest_hpcregistry.cluster import deploy, image_signatures
from pytest_hpcregistry.cluster.client import ControllerClient
from pytest_hpcregistry.core.errors import CheckFailed, HpcRegistryError, Undetermined
from pytest_hpcregistry.core.events import Event, Failed, ImageSignatures, Looked, Noticed
from pytest_hpcregistry.core.model import Cluster, Controller, Registry
from pytest_hpcregistry.testing.facts import NAME, entry
from pytest_hpcregistry.transports import apptainer

KEYS = ("a key",)
OTHER_NAME = "ml-frameworks/other.sif"


class Client(ControllerClient):
    """A controller whose Apptainer says *found*, and which keeps what it was asked."""

    def __init__(self, policy: str, found: ImageSignatures | None = None, keys: tuple[str, ...] = KEYS) -> None:
        self.cluster = Cluster(Controller("hpc", "hpc"), registry=Registry(signatures=policy, image_keys=keys))
        self.found, self.asked = found, list[tuple[Mapping[str, int], Sequence[str]]]()

    def look(self, digest: str, size: int) -> Looked:
        return Looked(False, ["x86_64"])

    def image_signatures(self, sizes: Mapping[str, int], keys: Sequence[str]) -> ImageSignatures:
        self.asked.append((sizes, keys))
        assert self.found
        return self.found


def refuse(monkeypatch: pytest.MonkeyPatch, error: HpcRegistryError | None = None) -> None:
    def verify(path: Path, keys: Any, where: str) -> None:
        assert (keys, where) == (KEYS, "workstation")
        raise error or CheckFailed("is refused", hint="sign it")

    monkeypatch.setattr(apptainer, "verify", verify)


def look(policy: str, keys: tuple[str, ...] = KEYS) -> list[str]:
    events: list[Event] = []
    image_signatures.look(Path("x.sif"), NAME, Registry(signatures=policy, image_keys=keys), events.append)
    return [event.message for event in events if isinstance(event, Noticed)]


def test_what_is_refused_stops_a_deploy_where_it_is_required(monkeypatch: pytest.MonkeyPatch) -> None:
    refuse(monkeypatch)
    with pytest.raises(CheckFailed) as caught:
        look("require")
    assert (str(caught.value), caught.value.hint) == (f"{NAME}: is refused", "sign it")
    assert look("warn") == [f"{NAME}: is refused"]
    assert look("require", keys=()) == []


def test_nothing_is_sent_of_it(monkeypatch: pytest.MonkeyPatch) -> None:
    refuse(monkeypatch)
    image = deploy.Image(Path("x.sif"), NAME, "a" * 64, 1, "amd64", {})
    events: list[Event] = []
    with pytest.raises(CheckFailed, match="is refused"):
        deploy.deploy([image], Client("require"), events.append)  # one that is sent anything has no transport
    assert [type(event) for event in events] == [Failed]


@pytest.mark.parametrize(("policy", "who"), [("require", "the controller does"), ("warn", "verify does later")])
def test_without_apptainer_the_notice_says_who_verifies(monkeypatch: pytest.MonkeyPatch, policy: str, who: str) -> None:
    refuse(monkeypatch, Undetermined("there is no Apptainer", where="workstation"))
    (notice,) = look(policy)
    assert "its own signature is not verified here (there is no Apptainer): " in notice
    assert who in notice


def failures(policy: str, found: ImageSignatures) -> tuple[list[HpcRegistryError], list[str]]:
    client, events = Client(policy, found), list[Event]()
    errors = image_signatures.failures(client, {NAME: entry(), OTHER_NAME: entry()}, events.append)
    assert client.asked == [({NAME: entry().size, OTHER_NAME: entry().size}, KEYS)]
    return list(errors), [event.message for event in events if isinstance(event, Noticed)]


def test_verify_reports_what_the_controllers_apptainer_said() -> None:
    errors, notices = failures("require", ImageSignatures({NAME: "is refused"}, {OTHER_NAME: "no answer"}))
    assert [(type(one), str(one)) for one in errors] == [
        (CheckFailed, f"{NAME}: is refused"),
        (Undetermined, f"{OTHER_NAME}: no answer"),
    ]
    assert notices == []


def test_a_warning_is_no_error() -> None:
    errors, notices = failures("warn", ImageSignatures({NAME: "is refused"}, {}))
    assert (errors, notices) == ([], [f"{NAME}: is refused"])


def test_what_was_not_asked_for_is_passed_over() -> None:
    """A controller says what it likes."""
    assert failures("require", ImageSignatures({"ml-frameworks/x\x1b.sif": "is refused"}, {})) == ([], [])


def test_without_keys_or_images_nobody_is_asked() -> None:
    client = Client("require", keys=())
    assert image_signatures.failures(client, {NAME: entry()}, lambda _: None) == []
    assert image_signatures.failures(Client("require"), {}, lambda _: None) == []
    assert client.asked == []
