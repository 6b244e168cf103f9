"""A name changes only to what an allowed signer has signed for it, and never back by an old signature."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pytest_hpcregistry import agent
from pytest_hpcregistry.agent import signatures
from pytest_hpcregistry.core.signatures import allowed_signers, now, statement
from tests.fakes.registry import NAME, NEW, OLD, converse, digest, make_program, make_registry, publish, request, stage
from tests.fakes.signer import REQUIRE, Signer


@pytest.fixture
def registry(tmp_path: Path, alice: Signer) -> Path:
    made = make_registry(tmp_path / "registry")
    (made / signatures.CONFIG).write_text(REQUIRE)
    allow(made, alice)
    return made


def allow(registry: Path, *signers: Signer) -> None:
    (registry / agent.SIGNERS).write_text(allowed_signers([one.line for one in signers]))


def signed_request(data: bytes, signer: Signer, signed: str | None = None, name: str = NAME) -> dict[str, Any]:
    found = request(data, name)
    found["images"][0].update(signer.for_image(name, digest(data), len(data), signed))
    return found


def means(registry: Path) -> bytes | None:
    path = registry / NAME
    return path.read_bytes() if path.exists() else None


def publish_signed(registry: Path, data: bytes, signer: Signer, signed: str | None = None) -> None:
    stage(registry, data)
    agent.publish(str(registry), signed_request(data, signer, signed))


def refused(registry: Path, asked: dict[str, Any]) -> str:
    """Why a request is refused; the name means what it meant."""
    before, known = means(registry), signatures.recall(str(registry))
    with pytest.raises(agent.Refused) as caught:
        agent.publish(str(registry), asked)
    assert (means(registry), signatures.recall(str(registry))) == (before, known)
    assert caught.value.hint
    return str(caught.value)


def test_the_statement_is_the_workstations() -> None:
    signed = now()
    image = {"name": NAME, "digest": "a" * 64, "size": 5, "signed": signed}
    assert signatures.statement(image) == statement(NAME, "a" * 64, 5, signed)
    assert signed < now()


@pytest.mark.parametrize("kind", ["ed25519", "ecdsa", "rsa"])
def test_what_a_signer_has_signed_gets_its_name(registry: Path, tmp_path: Path, kind: str) -> None:
    signer = Signer(tmp_path, "bob", kind)
    allow(registry, signer)
    publish_signed(registry, NEW, signer)
    assert means(registry) == NEW


@pytest.mark.parametrize("more", [{}, {"signed": "", "signature": ""}, {"signed": "2026-01-01T00:00:00.000000Z"}])
def test_what_nobody_has_signed_does_not(registry: Path, more: dict[str, str]) -> None:
    stage(registry, NEW)
    asked = request(NEW)
    asked["images"][0].update(more)
    assert refused(registry, asked) == f"{NAME} is not signed, and registry.signatures is require here"


def altered(where: str, change: Callable[[Any], Any]) -> Callable[[dict[str, Any], Signer], None]:
    def alter(image: dict[str, Any], _: Signer) -> None:
        image[where] = change(image[where])

    return alter


def signed_as(**other: Any) -> Callable[[dict[str, Any], Signer], None]:
    def alter(image: dict[str, Any], signer: Signer) -> None:
        said = {key: image[key] for key in ("name", "digest", "size", "signed")}
        image["signature"] = signer.sign(statement(**{**said, **other}))

    return alter


def in_another_namespace(image: dict[str, Any], signer: Signer) -> None:
    image["signature"] = signer.sign(signatures.statement(image), "git")


WRONG = {
    "of another name": signed_as(name="ml-frameworks/y.sif"),
    "of other bytes": signed_as(digest="b" * 64),
    "of another size": signed_as(size=1),
    "of another time": signed_as(signed="2026-01-01T00:00:00.000000Z"),
    "in another namespace": in_another_namespace,
    "altered": altered("signature", lambda text: text.replace(text[200:204], text[204:208])),
    "cut": altered("signature", lambda text: text[:120]),
    "none": altered("signature", lambda text: "no signature"),
    "not ASCII": altered("signature", lambda text: "-----BEGIN SSH SIGNATURE-----\né"),
    "with a later time": altered("signed", lambda text: "2999" + text[4:]),
}


@pytest.mark.parametrize("what", WRONG)
def test_a_wrong_signature_is_refused(registry: Path, alice: Signer, what: str) -> None:
    publish_signed(registry, OLD, alice)
    stage(registry, NEW)
    asked = signed_request(NEW, alice)
    WRONG[what](asked["images"][0], alice)
    assert f"{NAME} is signed by no signer that phase 1 has allowed here" in refused(registry, asked)
    assert means(registry) == OLD


def test_the_signature_of_somebody_else_is_refused(registry: Path, mallory: Signer) -> None:
    stage(registry, NEW)
    assert "signed by no signer" in refused(registry, signed_request(NEW, mallory))


def test_one_unsigned_image_keeps_the_others_of_its_request_from_their_names(registry: Path, alice: Signer) -> None:
    stage(registry, NEW)
    stage(registry, OLD)
    asked = signed_request(NEW, alice)
    asked["images"] += request(OLD, "ml-frameworks/y.sif")["images"]
    assert "ml-frameworks/y.sif is not signed" in refused(registry, asked)


def test_an_old_version_is_not_played_back(registry: Path, alice: Signer) -> None:
    stage(registry, OLD)
    first = signed_request(OLD, alice)
    agent.publish(str(registry), first)
    publish_signed(registry, NEW, alice)
    assert "does not bring it back" in refused(registry, first)
    publish_signed(registry, OLD, alice)  # a rollback
    assert means(registry) == OLD
    assert agent.publish(str(registry), first)["changed"] == []  # nothing is changed by it


def test_the_time_of_one_name_is_not_that_of_another(registry: Path, alice: Signer) -> None:
    early = now()
    publish_signed(registry, NEW, alice)
    stage(registry, OLD)
    other = signed_request(OLD, alice, early, "ml-frameworks/y.sif")
    assert agent.publish(str(registry), other)["changed"] == ["ml-frameworks/y.sif"]


def test_what_has_its_name_already_stays_when_signatures_are_asked_for_later(registry: Path) -> None:
    (registry / signatures.CONFIG).write_text(REQUIRE.replace("require", "warn"))
    publish(registry, NEW)
    (registry / signatures.CONFIG).write_text(REQUIRE)
    assert agent.publish(str(registry), request(NEW))["changed"] == []
    (registry / NAME).unlink()
    assert "is not signed" in refused(registry, request(NEW))


@pytest.mark.parametrize("policy", ["off", "warn"])
def test_where_none_is_required_none_is_looked_at(registry: Path, policy: str) -> None:
    (registry / signatures.CONFIG).write_text(REQUIRE.replace("require", policy))
    publish(registry, NEW)
    assert means(registry) == NEW
    assert not (registry / signatures.SIGNED).exists()


def test_keys_change_without_a_stop(registry: Path, alice: Signer, mallory: Signer) -> None:
    publish_signed(registry, OLD, alice)
    allow(registry, alice, mallory)
    publish_signed(registry, NEW, mallory)
    allow(registry, mallory)
    publish_signed(registry, OLD, mallory)
    assert "signed by no signer" in refused(registry, signed_request(NEW, alice))


@pytest.mark.parametrize("text", ["{", "[]", '{"x": 5}', ""])
def test_a_damaged_memory_lets_nothing_in(registry: Path, alice: Signer, text: str) -> None:
    (registry / signatures.SIGNED).write_text(text)
    stage(registry, NEW)
    with pytest.raises(agent.Refused, match=r"signed.json is damaged") as caught:
        agent.publish(str(registry), signed_request(NEW, alice))
    assert caught.value.hint.startswith("remove it")
    assert means(registry) is None


def test_without_ssh_keygen_nothing_gets_a_name(
    registry: Path, alice: Signer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stage(registry, NEW)
    asked = signed_request(NEW, alice)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(agent.Refused, match="ssh-keygen is not installed"):
        agent.publish(str(registry), asked)
    assert means(registry) is None


def test_the_holder_of_the_sync_key_gives_no_name_to_bytes_of_its_own(
    registry: Path, tmp_path: Path, alice: Signer, mallory: Signer
) -> None:
    program = make_program(tmp_path)
    stage(registry, NEW)
    ask = {"do": "publish", "id": 1}
    unsigned, foreign, sound = request(NEW), signed_request(NEW, mallory), signed_request(NEW, alice)
    misshapen = json.loads(json.dumps(sound))
    misshapen["images"][0]["signed"] = "9999"
    answers = converse(program, registry, *({**ask, **asked} for asked in (unsigned, foreign, misshapen, sound)))
    assert ["error" in answer for answer in answers] == [True, True, True, False]
    assert "a request to publish that this agent does not take: signed" in answers[2]["error"]
    assert answers[0]["hint"].startswith("sign it: hpc-container-manager sign")
    assert means(registry) == NEW


def test_one_that_has_its_name_already_lets_no_other_in(registry: Path, alice: Signer) -> None:
    publish_signed(registry, NEW, alice)
    stage(registry, OLD)
    asked = request(NEW)
    asked["images"] += request(OLD, "ml-frameworks/y.sif")["images"]
    assert "ml-frameworks/y.sif is not signed" in refused(registry, asked)
    assert not (registry / "ml-frameworks/y.sif").exists()


def test_a_name_that_was_lost_is_given_again_by_the_same_signature(registry: Path, alice: Signer) -> None:
    stage(registry, NEW)
    asked = signed_request(NEW, alice)
    agent.publish(str(registry), asked)
    (registry / NAME).unlink()
    assert agent.publish(str(registry), asked)["changed"] == [NAME]


def test_a_link_to_the_bytes_is_not_their_name(registry: Path, alice: Signer) -> None:
    publish_signed(registry, NEW, alice)
    (registry / NAME).unlink()
    (registry / NAME).symlink_to(registry / agent.OBJECTS / digest(NEW))
    assert "is not signed" in refused(registry, request(NEW))


def test_a_signature_without_its_time_is_none(registry: Path, alice: Signer) -> None:
    stage(registry, NEW)
    asked = signed_request(NEW, alice)
    del asked["images"][0]["signed"]
    assert "is not signed" in refused(registry, asked)


def test_without_a_configuration_nothing_is_required(registry: Path) -> None:
    """Before phase 1 has ended nobody syncs to a node."""
    (registry / signatures.CONFIG).unlink()
    publish(registry, NEW)
    assert means(registry) == NEW
