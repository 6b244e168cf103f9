"""Where phase 1 asks for signatures, a name changes only to what an allowed signer has signed for it.

So the sync key alone, which whoever takes over the controller has, gives no name to other bytes. What is signed is a
statement of name, digest, size and time; one that is older than the last that was taken here for this name is refused,
or an old version could be played back. ssh-keygen(1) verifies with -Y, OpenSSH 8.2 and later.

Standard library only, Python >= 3.6.
"""

import json
import os
import re
from typing import Dict, List

from .facts import OBJECTS, SIGNERS, Json, Refused, open_regular, read_text, run

REQUIRED = re.compile(r'^  signatures: "?require"?$', re.MULTILINE)  # in config.yaml, as the role renders it
NAMESPACE = "hpcregistry"
SIGNED = ".registry/signed.json"  # when the statement was signed that was taken here last, by name
CONFIG = ".registry/config.yaml"


def are_required(registry: str) -> bool:
    """Whether phase 1 has written down that every name needs a signature here."""
    return bool(REQUIRED.search(read_text(os.path.join(registry, CONFIG)) or ""))


def statement(image: Json) -> str:
    """What is signed; core/signatures.py has the same for the workstation."""
    return (
        f"{NAMESPACE} image 1\nname {image['name']}\ndigest {image['digest']}\nsize {image['size']}\n"
        f"signed {image['signed']}\n"
    )


def accept(root: int, images: List[Json]) -> Dict[str, str]:
    """For a caller who holds the lock of the registry *root*, when each of *images* shall get its name: the times to
    remember, by name. Raises Refused when one is not signed, or signed before what was taken here last.

    A name that means these bytes already needs no signature.
    """
    registry = f"/proc/self/fd/{root}"
    if not are_required(registry):
        return {}
    known = recall(registry)
    for image in images:
        if is_named(root, image):
            continue
        check(registry, image)
        name, signed, before = image["name"], image["signed"], known.get(image["name"], "")
        if signed < before:
            raise Refused(
                f"{name} was signed at {signed}, and what is here later, at {before}: the signature of an older version"
                " does not bring it back",
                "to go back to an older version: hpc-container-manager rollback, which signs it anew",
            )
        known[name] = signed
    return known


def check(registry: str, image: Json) -> None:
    """Raise Refused unless an allowed signer has signed for *image*."""
    import tempfile  # here, as every login loads all anew, and most sites sign nothing

    hint = "sign it: hpc-container-manager sign, or deploy it again, with registry.signing_key in the cluster file"
    if not image.get("signed") or not image.get("signature"):
        raise Refused(f"{image['name']} is not signed, and registry.signatures is require here", hint)
    # By its real name: ssh-keygen is a process of its own, with other descriptors.
    signers = os.path.realpath(os.path.join(registry, SIGNERS))
    with tempfile.NamedTemporaryFile() as file:
        file.write(image["signature"].encode())
        file.flush()
        found = ssh_keygen(["find-principals", "-s", file.name, "-f", signers])
        if found["exit"] == 0:
            words = ["verify", "-f", signers, "-I", found["says"], "-n", NAMESPACE, "-s", file.name]
            found = ssh_keygen(words, statement(image))
    if found["exit"] != 0:
        why = f"signed by no signer that phase 1 has allowed here (ssh-keygen: {found['says']})"
        raise Refused(f"{image['name']} is {why}", hint)


def ssh_keygen(words: List[str], stdin: str = "") -> Json:
    found = run(["ssh-keygen", "-Y", *words], stdin=stdin)
    if found is None:
        raise Refused("signatures cannot be verified here: ssh-keygen is not installed")
    return found


def is_named(root: int, image: Json) -> bool:
    """Whether the name means these very bytes already."""
    try:
        named = os.stat(image["name"], dir_fd=root, follow_symlinks=False)
        return os.path.samestat(
            named, os.stat(os.path.join(OBJECTS, image["digest"]), dir_fd=root, follow_symlinks=False)
        )
    except FileNotFoundError:
        return False


def recall(registry: str) -> Dict[str, str]:
    """When the statement was signed that was taken here last, for each name."""
    try:
        with open(open_regular(os.path.join(registry, SIGNED))) as file:
            found = json.load(file)
        if not isinstance(found, dict) or not all(isinstance(signed, str) for signed in found.values()):
            raise ValueError
    except FileNotFoundError:
        return {}
    except ValueError:
        hint = "remove it: then a name takes any signed version once, also an older one than it had"
        raise Refused(f"{SIGNED} is damaged: it says how new the signatures are that were taken here", hint) from None
    return found
