"""An operator's SSH key, and signatures by it: ssh-keygen itself, in a directory of the test."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from pytest_hpcregistry.core.signatures import NAMESPACE, now, statement

REQUIRE = 'registry:\n  signatures: "require"\n'


class Signer:
    """*name* with a new key; `line` is what registry.signers has of it."""

    def __init__(self, directory: Path, name: str, kind: str = "ed25519") -> None:
        self.key = directory / f"key-of-{name}"
        argv = ["ssh-keygen", "-q", "-t", kind, "-N", "", "-C", name, "-f", str(self.key)]
        subprocess.run(argv, check=True, stdin=subprocess.DEVNULL)
        self.line = f"{name} {' '.join(self.key.with_suffix('.pub').read_text().split()[:2])}"

    def sign(self, text: str, namespace: str = NAMESPACE) -> str:
        argv = ["ssh-keygen", "-q", "-Y", "sign", "-f", str(self.key), "-n", namespace]
        return subprocess.run(argv, check=True, input=text, capture_output=True, text=True).stdout

    def for_image(self, name: str, digest: str, size: int, signed: str | None = None) -> dict[str, str]:
        """What an image carries that this one has signed."""
        signed = signed or now()
        return {"signed": signed, "signature": self.sign(statement(name, digest, size, signed))}


@pytest.fixture(scope="session")
def alice(tmp_path_factory: pytest.TempPathFactory) -> Signer:
    """Who may sign."""
    return Signer(tmp_path_factory.mktemp("alice"), "alice@site")


@pytest.fixture(scope="session")
def mallory(tmp_path_factory: pytest.TempPathFactory) -> Signer:
    """Who may not."""
    return Signer(tmp_path_factory.mktemp("mallory"), "mallory")
