"""Signatures of images: made with the operator's SSH key, and verified, by ssh-keygen(1) -Y on this workstation."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from ..core import signatures
from ..core.catalog import Entry, Version, unknown_image
from ..core.errors import CheckFailed, CommandFailed, HpcRegistryError, UsageError
from ..core.events import Listener, Noticed
from ..core.model import Registry
from ..transports.process import run_process
from .client import ControllerClient

WHERE = "workstation"
PATIENCE = 60.0  # seconds: a key on a token waits for a finger
HOW = "set registry.signing_key in the cluster file to your SSH key, which registry.signers must name"


def sign(registry: Registry, name: str, digest: str, size: int) -> dict[str, str]:
    """`signed` and `signature` for *name* to mean these bytes; empty where no key is set.

    Raises UsageError when there is no key and one is required, or when it is no signer's; CommandFailed when ssh-keygen
    cannot sign.
    """
    if registry.signing_key is None:
        if registry.signatures == "require":
            raise UsageError("is not signed, and registry.signatures is require", where=name, hint=HOW)
        return {}
    signed = signatures.now()
    text = signatures.statement(name, digest, size, signed).encode()
    argv = ["ssh-keygen", "-Y", "sign", "-f", str(registry.signing_key), "-n", signatures.NAMESPACE]
    result = run_process(WHERE, argv, timeout=PATIENCE, stdin=text)
    if result.exit_code != 0:
        hint = "if the key has a passphrase: ssh-add it, and set registry.signing_key to its public half"
        raise CommandFailed(
            f"{name} could not be signed: {result.last_words('no reason given')}", where=WHERE, hint=hint
        )
    if registry.signatures != "off":
        try:
            signer_of(registry.signers, text, result.stdout)
        except CheckFailed as error:
            raise UsageError(f"your key {registry.signing_key} {error.what}", hint=HOW) from None
    return {"signed": signed, "signature": result.stdout}


def signer_of(signers: Sequence[str], text: bytes, signature: str) -> str:
    """The principal, one of *signers*, whose *signature* for *text* this is. Raises CheckFailed when it is nobody's."""
    with tempfile.TemporaryDirectory(prefix="hpc-signature-") as directory:
        allowed, made = Path(directory, "allowed_signers"), Path(directory, "signature")
        allowed.write_text(signatures.allowed_signers(signers))
        made.write_bytes(signature.encode(errors="replace"))
        argv = ["ssh-keygen", "-Y", "find-principals", "-s", str(made), "-f", str(allowed)]
        found = run_process(WHERE, argv, timeout=PATIENCE)
        for principal in found.stdout.splitlines():
            argv = ["ssh-keygen", "-Y", "verify", "-f", str(allowed), "-I", principal, "-n", signatures.NAMESPACE]
            found = run_process(WHERE, [*argv, "-s", str(made)], timeout=PATIENCE, stdin=text)
            if found.exit_code == 0:
                return principal
    raise CheckFailed(f"is signed by none of registry.signers (ssh-keygen: {found.last_words('no reason given')})")


def check(registry: Registry, name: str, version: Version) -> str:
    """The principal who has signed for *name* to mean *version*. Raises CheckFailed when nobody has."""
    hint = (
        f"if you know that these are the right bytes, hpc-container-manager sign --unsigned {name}; or deploy it again"
    )
    if not version.signature:
        raise CheckFailed("is not signed", where=name, hint=hint)
    text = signatures.statement(name, version.digest, version.size, version.signed).encode()
    try:
        return signer_of(registry.signers, text, version.signature)
    except CheckFailed as error:
        raise CheckFailed(error.what, where=name, hint=hint) from None


def failures(registry: Registry, images: dict[str, Entry], listener: Listener) -> list[HpcRegistryError]:
    """One error for each of *images* that nobody has signed, where that is required; where it is not, a warning."""
    found: list[HpcRegistryError] = []
    for name, entry in images.items() if registry.signatures != "off" else ():
        try:
            check(registry, name, entry)
        except CheckFailed as error:
            found.append(error)
    if registry.signatures == "require":
        return found
    for one in found:
        listener(Noticed(f"{one.where}: {one.what}"))
    return []


def for_rollback(client: ControllerClient, name: str, to: str | None) -> tuple[str | None, dict[str, str]]:
    """The version that a rollback to *to* would choose, and the signature for it; raises as `sign`, and UsageError when
    there is no such image or version. Where nothing is to be signed, the controller chooses.
    """
    registry = client.cluster.registry
    if registry.signing_key is None and registry.signatures != "require":
        return to, {}
    name, entry = client.find_image(name)
    chosen = entry.find(to)
    return chosen.digest, sign(registry, name, chosen.digest, chosen.size)


def for_restore(client: ControllerClient, name: str, to: str | None) -> tuple[str | None, dict[str, str]]:
    """As for_rollback, for a removed image; one that is as it was last has its signature."""
    registry = client.cluster.registry
    if to is None or (registry.signing_key is None and registry.signatures != "require"):
        return to, {}
    gone = client.catalog().removed.get(name)
    if gone is None:
        return to, {}  # the controller says why not
    chosen = gone.entry.find(to)
    return chosen.digest, sign(registry, name, chosen.digest, chosen.size)


def sign_again(client: ControllerClient, names: Sequence[str], *, unsigned: bool, listener: Listener) -> None:
    """Sign the current versions of *names* with this workstation's key, in place of the signatures that they have.

    Raises CheckFailed before anything is signed when one has no valid signature, but for *unsigned*; UsageError when
    there is no key or no such image.
    """
    registry, images = client.cluster.registry, client.catalog().images
    if registry.signing_key is None:
        raise UsageError("no key to sign with", hint=HOW)
    for name in names:
        if name not in images:
            raise unknown_image(name, images)
        if not unsigned:
            check(registry, name, images[name])
    for name in names:
        entry = images[name]
        request: dict[str, Any] = {"name": name, **asdict(entry), **sign(registry, name, entry.digest, entry.size)}
        client.publish({**request, "sign_again": True}, listener)
        listener(Noticed(f"{name}: signed, sha256 {entry.digest[:12]}…"))
