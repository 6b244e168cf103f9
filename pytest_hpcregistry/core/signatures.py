"""What is signed of an image, and by whom: the form that workstation, controller and nodes agree on.

The agent has its own copy of the statement (agent/signatures.py), as it imports nothing; a test holds the two together.
"""

from __future__ import annotations

import time
from collections.abc import Sequence

NAMESPACE = "hpcregistry"
"""Of the signatures, ssh-keygen(1): one that a key made for anything else does not count here."""


def statement(name: str, digest: str, size: int, signed: str) -> str:
    """The text that is signed: *name* means these bytes, said at the time *signed*."""
    return f"{NAMESPACE} image 1\nname {name}\ndigest {digest}\nsize {size}\nsigned {signed}\n"


def now() -> str:
    """The time of a signature: UTC, so that the texts are in the order of the times."""
    seconds, rest = divmod(time.time_ns(), 10**9)
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds)) + f".{rest // 1000:06d}Z"


def allowed_signers(signers: Sequence[str]) -> str:
    """The file of this name, ssh-keygen(1), from `PRINCIPAL TYPE KEY` each, as phase 1 writes it."""
    lines = []
    for signer in signers:
        principal, key = signer.split(" ", 1)
        lines.append(f'{principal} namespaces="{NAMESPACE}" {key}\n')
    return "".join(lines)
