"""Signed images on real machines: what nobody signed is refused at the deploy and on the node, and verify says so."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pytest_hpcregistry.agent import SIGNED, SIGNERS
from pytest_hpcregistry.core.signatures import allowed_signers
from tests.fakes.signer import Signer

from .conftest import Cli
from .machines import CATALOG, CONTROLLER, REGISTRY, Machines, edit_cluster
from .test_stolen_key import SSH

pytestmark = pytest.mark.lab
NODE = "c001"
NAME = "ml-frameworks/signed.sif"


@pytest.fixture(scope="module")
def signing(edited: Callable[..., Path], alice: Signer) -> Path:
    """The cluster file of an operator who signs, where all must be signed."""
    return edited(registry={"signatures": "require", "signers": [alice.line], "signing_key": str(alice.key)})


@pytest.fixture(scope="module")
def keyless(signing: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """That of one who does not."""
    target = tmp_path_factory.mktemp("cluster") / "cluster.yaml"
    return edit_cluster(signing, target, registry={"signing_key": ""})


@pytest.fixture(scope="module")
def two_versions(cli: Cli, signing: Path, sif: Callable[..., Path]) -> list[dict[str, Any]]:
    """The catalog's entries of an image that was deployed twice: the older version, and the current one."""
    cli("registry", "setup", cluster=signing).check()
    for _ in range(2):
        cli("deploy", "single", "-s", "-v", sif("signed"), cluster=signing).check()
    shown = json.loads(cli("catalog", "show", NAME, "--json", cluster=signing).check().stdout)
    return [*shown["versions"], shown]


def ask(machines: Machines, *images: dict[str, Any], **more: Any) -> dict[str, Any]:
    """What the node answers to a publish by whoever has the sync key."""
    lines = [{"nonce": "n", "seconds": 20}, {"do": "publish", "id": 1, "images": list(images), **more}]
    text = "\n".join(map(json.dumps, lines))
    said = machines.tell(CONTROLLER, f"{SSH} root@{NODE} session <<'END'\n{text}\nEND")
    answer: dict[str, Any] = json.loads(said.partition("hpcregistry n ")[2])
    return answer


def image_of(version: dict[str, Any], **other: Any) -> dict[str, Any]:
    return {"name": NAME, **{key: version[key] for key in ("digest", "size", "signed", "signature")}, **other}


def test_a_signed_image_is_on_every_machine(
    two_versions: list[dict[str, Any]], machines: Machines, cli: Cli, signing: Path
) -> None:
    assert machines.digests(NAME) == {two_versions[1]["digest"]}
    assert cli("verify", cluster=signing).exit_code == 0
    taken = machines.everywhere(f"cat {REGISTRY}/{SIGNED}")
    assert {json.loads(text)[NAME] for text in taken.values()} == {two_versions[1]["signed"]}


def test_an_unsigned_one_is_refused_before_a_byte_moves(
    two_versions: list[dict[str, Any]], machines: Machines, cli: Cli, keyless: Path, sif: Callable[..., Path]
) -> None:
    before = machines.trees()
    refused = cli("deploy", "single", "-s", sif("unsigned"), cluster=keyless)
    assert refused.exit_code == 2
    assert "unsigned.sif: is not signed, and registry.signatures is require" in refused.stdout + refused.stderr
    assert "registry.signing_key" in refused.stderr
    assert machines.trees() == before


@pytest.mark.parametrize(
    ("stolen", "reason"),
    [
        ({"signed": "", "signature": ""}, "malformed or not signed"),
        ({}, "does not bring it back"),
        ({"name": "ml-frameworks/other.sif"}, "is signed by no signer that phase 1 has allowed here"),
        ({"signed": "2999-01-01T00:00:00.000000Z"}, "is signed by no signer that phase 1 has allowed here"),
    ],
)
def test_a_thief_of_the_sync_key_gives_no_name_to_other_bytes(
    two_versions: list[dict[str, Any]], machines: Machines, stolen: dict[str, str], reason: str
) -> None:
    image = image_of(two_versions[0], **stolen)
    if not image["signature"]:
        del image["signed"], image["signature"]
        reason = "is not signed, and registry.signatures is require here"
    assert reason in ask(machines, image)["error"]
    assert machines.digest(NODE, NAME) == two_versions[1]["digest"]


def test_a_controller_in_other_hands_brings_no_node_its_own_catalog(
    two_versions: list[dict[str, Any]], machines: Machines, cli: Cli, signing: Path
) -> None:
    """The catalog is edited there: the older version's bytes, with the signature of the current one."""
    old, new = two_versions
    machines.tell(
        CONTROLLER, f"cp -p {CATALOG} /root/catalog && sed -i '0,/{new['digest']}/s//{old['digest']}/' {CATALOG}"
    )
    try:
        synced = cli("sync", cluster=signing)
        assert synced.exit_code == 4
        assert f"c[001-00{len(machines.state.machines) - 1}]" in synced.stdout
        assert "is signed by no signer" in synced.stdout
        verified = cli("verify", cluster=signing)
        assert verified.exit_code == 1
        assert "is signed by none of registry.signers" in verified.stdout + verified.stderr
        nodes = set(machines.state.machines) - {CONTROLLER}
        assert {machines.digest(node, NAME) for node in nodes} == {new["digest"]}
    finally:
        machines.tell(CONTROLLER, f"cp -p /root/catalog {CATALOG}")


def test_a_rollback_is_signed_as_well(
    two_versions: list[dict[str, Any]], machines: Machines, cli: Cli, signing: Path, keyless: Path
) -> None:
    assert cli("rollback", NAME, cluster=keyless).exit_code == 2
    assert machines.digests(NAME) == {two_versions[1]["digest"]}
    cli("rollback", NAME, cluster=signing).check()
    assert machines.digests(NAME) == {two_versions[0]["digest"]}
    assert cli("verify", cluster=signing).exit_code == 0


def allow(machines: Machines, *signers: Signer) -> None:
    """What a registry setup with these signers would write."""
    text = allowed_signers([signer.line for signer in signers])
    machines.everywhere(f"cat > {REGISTRY}/{SIGNERS} <<'END'\n{text}END")


def test_a_key_is_changed_without_a_stop(
    two_versions: list[dict[str, Any]],
    machines: Machines,
    cli: Cli,
    signing: Path,
    alice: Signer,
    tmp_path: Path,
) -> None:
    bob = Signer(tmp_path, "bob@site")
    both = edit_cluster(
        signing, tmp_path / "both.yaml", registry={"signers": [alice.line, bob.line], "signing_key": str(bob.key)}
    )
    bobs = edit_cluster(both, tmp_path / "bobs.yaml", registry={"signers": [bob.line]})
    allow(machines, alice, bob)
    assert cli("verify", cluster=bobs).exit_code == 1, "alice has signed"
    cli("sign", "--all", cluster=both).check()
    cli("sync", cluster=both).check()
    allow(machines, bob)
    assert cli("verify", cluster=bobs).exit_code == 0
    machines.tell(NODE, f"rm {REGISTRY}/ml-frameworks/signed.sif")
    cli("sync", cluster=bobs).check()
    assert len(machines.digests(NAME)) == 1
