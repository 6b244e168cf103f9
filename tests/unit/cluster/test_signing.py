"""Signatures on the workstation: made with the operator's key, verified with the cluster file's signers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from pytest_hpcregistry.cluster import signing
from pytest_hpcregistry.cluster.client import ControllerClient
from pytest_hpcregistry.core.catalog import Catalog, Entry, Version
from pytest_hpcregistry.core.errors import CheckFailed, CommandFailed, UsageError
from pytest_hpcregistry.core.events import Event, Listener, Noticed, Published
from pytest_hpcregistry.core.model import Cluster, Controller, Registry
from pytest_hpcregistry.core.signatures import statement
from pytest_hpcregistry.testing.facts import DIGEST, NAME, OTHER, entry
from tests.fakes.signer import Signer


def registry(signer: Signer, policy: str = "require", **more: Any) -> Registry:
    return Registry(signatures=policy, signers=(signer.line,), signing_key=signer.key, **more)


def signed_as(made: dict[str, str]) -> Entry:
    return replace(entry(), signed=made["signed"], signature=made["signature"])


def signed_entry(signer: Signer, name: str = NAME, digest: str = DIGEST) -> Entry:
    made = signer.for_image(name, digest, 10)
    return replace(entry(digest), signed=made["signed"], signature=made["signature"])


class Client(ControllerClient):
    """A controller with a catalog of *images*, which takes whatever is published."""

    def __init__(self, registry: Registry, **images: Entry) -> None:
        self.cluster = Cluster(Controller("hpc", "hpc"), registry=registry)
        self.images = {f"ml-frameworks/{name}.sif": one for name, one in images.items()}
        self.published: list[Any] = []

    def catalog(self) -> Catalog:
        return Catalog(self.images)

    def publish(self, request: Any, listener: Listener = lambda _: None) -> Event:
        self.published.append(request)
        return Published(request["name"], request["digest"], True)


def test_what_is_signed_is_verified(alice: Signer) -> None:
    made = signing.sign(registry(alice), NAME, DIGEST, 10)
    assert signing.check(registry(alice), NAME, signed_as(made)) == "alice@site"
    assert signing.failures(registry(alice), {NAME: signed_as(made)}, no_event) == []


def no_event(event: Event) -> None:
    raise AssertionError(event)


WRONG: dict[str, Callable[[Entry], Entry]] = {
    "unsigned": lambda one: replace(one, signature=""),
    "other bytes": lambda one: replace(one, digest=OTHER),
    "another size": lambda one: replace(one, size=11),
    "another time": lambda one: replace(one, signed="2999-01-01T00:00:00.000000Z"),
    "altered": lambda one: replace(one, signature=one.signature.replace(one.signature[200:204], "AAAA")),
    "not Unicode": lambda one: replace(one, signature="\ud800"),
    "no signature": lambda one: replace(one, signature="\x1b[31m-f /etc/shadow"),
}


@pytest.mark.parametrize("what", WRONG)
def test_a_wrong_signature_fails_where_one_is_required(alice: Signer, what: str) -> None:
    (error,) = signing.failures(registry(alice), {NAME: WRONG[what](signed_entry(alice))}, no_event)
    assert isinstance(error, CheckFailed)
    assert (error.where, "sign" in error.hint) == (NAME, True)
    assert error.what.isprintable()


def test_the_signature_of_another_name_fails(alice: Signer) -> None:
    assert signing.failures(registry(alice), {"ml-frameworks/y.sif": signed_entry(alice)}, no_event)


def test_somebody_else_is_no_signer(alice: Signer, mallory: Signer) -> None:
    (error,) = signing.failures(registry(alice), {NAME: signed_entry(mallory)}, no_event)
    assert "is signed by none of registry.signers" in error.what


def test_it_is_a_warning_where_the_site_says_so_and_nothing_where_it_does_not(alice: Signer) -> None:
    heard = list[Event]()
    assert signing.failures(registry(alice, "warn"), {NAME: entry()}, heard.append) == []
    assert heard == [Noticed(f"{NAME}: is not signed")]
    assert signing.failures(registry(alice, "off"), {NAME: entry()}, no_event) == []


def test_without_a_key_nothing_is_signed_and_where_it_must_be_that_is_an_error(alice: Signer) -> None:
    for policy in ("off", "warn"):
        assert signing.sign(replace(registry(alice, policy), signing_key=None), NAME, DIGEST, 10) == {}
    with pytest.raises(UsageError, match=f"^{NAME}: is not signed, and registry.signatures is require") as caught:
        signing.sign(replace(registry(alice), signing_key=None), NAME, DIGEST, 10)
    assert "registry.signing_key" in caught.value.hint


def test_a_key_that_is_no_signers_is_refused_before_it_signs_anything(alice: Signer, mallory: Signer) -> None:
    with pytest.raises(UsageError, match=r"^your key .* is signed by none of registry\.signers"):
        signing.sign(replace(registry(alice), signing_key=mallory.key), NAME, DIGEST, 10)
    assert signing.sign(replace(registry(alice, "off"), signing_key=mallory.key), NAME, DIGEST, 10)


@pytest.mark.parametrize("content", ["no key", ""])
def test_a_key_that_cannot_be_read(alice: Signer, tmp_path: Path, content: str) -> None:
    (tmp_path / "key").write_text(content)
    with pytest.raises(CommandFailed, match=r"^workstation: ml-frameworks/x\.sif could not be signed: ") as caught:
        signing.sign(replace(registry(alice), signing_key=tmp_path / "key"), NAME, DIGEST, 10)
    assert "ssh-add" in caught.value.hint


def test_signing_again_takes_the_place_of_a_key_that_is_withdrawn(alice: Signer, mallory: Signer) -> None:
    both = Registry(signatures="require", signers=(mallory.line, alice.line), signing_key=alice.key)
    client, heard = Client(both, x=signed_entry(mallory)), list[Event]()
    signing.sign_again(client, [NAME], unsigned=False, listener=heard.append)
    (request,) = client.published
    assert (request["digest"], request["size"], request["by"]) == (DIGEST, 10, "me@laptop")
    now = replace(entry(), signed=request["signed"], signature=request["signature"])
    assert signing.check(registry(alice), NAME, now) == "alice@site"
    assert heard == [Noticed(f"{NAME}: signed, sha256 {DIGEST[:12]}…")]


def test_what_has_no_valid_signature_is_signed_only_on_demand(alice: Signer) -> None:
    client = Client(registry(alice), x=signed_entry(alice), y=entry(OTHER))
    names = list(client.images)
    with pytest.raises(CheckFailed, match=r"^ml-frameworks/y\.sif: is not signed"):
        signing.sign_again(client, names, unsigned=False, listener=no_event)
    assert client.published == []
    signing.sign_again(client, names, unsigned=True, listener=lambda _: None)
    assert [request["name"] for request in client.published] == names


def test_signing_what_is_not_there(alice: Signer) -> None:
    with pytest.raises(UsageError, match="is not in the catalog"):
        signing.sign_again(Client(registry(alice)), [NAME], unsigned=True, listener=no_event)
    keyless = Client(replace(registry(alice), signing_key=None), x=entry())
    with pytest.raises(UsageError, match="no key to sign with"):
        signing.sign_again(keyless, [NAME], unsigned=True, listener=no_event)


def test_a_rollback_is_signed_for_the_version_that_it_goes_to(alice: Signer) -> None:
    older = Version(OTHER, 7, "2025-10-01T12:00:00Z", "x", "amd64")
    client = Client(registry(alice), x=replace(entry(), versions=(older,)))
    for to in (None, OTHER[:8]):
        version, made = signing.for_rollback(client, NAME, to)
        text = statement(NAME, OTHER, 7, made["signed"]).encode()
        assert (version, signing.signer_of([alice.line], text, made["signature"])) == (OTHER, "alice@site")
    with pytest.raises(UsageError, match="no version begins with"):
        signing.for_rollback(client, NAME, "c" * 8)
    with pytest.raises(UsageError, match="is not in the catalog"):
        signing.for_rollback(client, "ml-frameworks/z.sif", None)


def test_a_rollback_without_signatures_asks_for_nothing() -> None:
    client = Client(Registry())
    client.catalog = None  # type: ignore[assignment,method-assign]
    assert signing.for_rollback(client, NAME, "abcdef") == ("abcdef", {})
