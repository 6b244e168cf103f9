"""What Apptainer says of the signatures that a SIF itself carries: by the keys it is given here, and by no others.

`apptainer verify` looks at every object of the file, and refuses it where one is in no signature, or where one
signature is by another key. It goes by the keyring of its user, which is empty here but for these keys, and by that of
the machine (apptainer key import --global), which cannot be left out: so who has signed is read from its answer. With
--local it asks no key server.
"""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ..core import sif
from ..core.errors import CheckFailed, Undetermined
from ..core.image_keys import ImageKey
from ..core.names import excerpt, visible
from ..core.sif_format import SifFile
from ..core.sif_signatures import DSSE, PGP
from . import CommandResult
from .process import run_process

PROGRAM = "apptainer"
QUICK = 60.0  # seconds for what reads no image
SLOWEST = 50_000_000  # bytes/s below which a verification is given up
KIND = {PGP: "pgp", DSSE: "pem"}
HOW = "sign it by one of registry.image_keys (apptainer sign), and deploy that file"


def verify(path: Path, keys: Sequence[str], where: str) -> None:
    """Raise CheckFailed unless all of the SIF *path* is signed by one of *keys*, lines as config.yaml has them.

    *where* is this machine, in messages. Raises Undetermined where Apptainer is not there or gives no answer,
    CommandTimeout, and UsageError for a file that is no SIF.
    """
    found = sif.inspect(path)
    wanted = usable_keys(found, [ImageKey(key) for key in keys])
    if shutil.which(PROGRAM) is None:
        raise Undetermined("there is no Apptainer to verify images by", where=where, hint="install apptainer there")
    # One of PGP's keys is found in the keyring; of the others Apptainer takes one at a time.
    attempts = [wanted] if wanted[0].kind == "pgp" else [[key] for key in wanted]
    reasons: list[str] = []
    for attempt in attempts:
        reason = ask(found, attempt, where)
        if not reason:
            return
        reasons += [reason] if reason not in reasons else []
    raise CheckFailed(f"its own signature does not count (apptainer verify: {excerpt('; '.join(reasons))})", hint=HOW)


def usable_keys(found: SifFile, keys: Sequence[ImageKey]) -> list[ImageKey]:
    """Those of *keys* that are of the form of the file's signatures. Raises CheckFailed where that alone decides."""
    if not found.signatures:
        raise CheckFailed("carries no signature of its own, and registry.image_keys asks for one", hint=HOW)
    forms = sorted({one.format for one in found.signatures})
    if forms not in ([PGP], [DSSE]):
        raise CheckFailed(
            f"carries signatures of these forms: {', '.join(forms)}; Apptainer verifies PGP alone, or DSSE alone",
            hint=HOW,
        )
    wanted = [key for key in keys if key.kind == KIND[forms[0]]]
    if not wanted:
        raise CheckFailed(f"carries a {forms[0]} signature, and registry.image_keys has no key for one", hint=HOW)
    return wanted


def ask(found: SifFile, keys: Sequence[ImageKey], where: str) -> str:
    """Why Apptainer does not take the file by *keys*, all of PGP's or one of the others; empty if it does."""
    with tempfile.TemporaryDirectory(prefix="hpc-verify-") as directory:
        option = []
        for key in keys:
            file = Path(directory, f"{key.fingerprint}.asc")
            file.write_text(key.text)
            if key.kind == "pem":
                option = ["--key", str(file)]
            else:
                result = run(["key", "import", str(file)], directory, where, QUICK)
                if result.exit_code != 0:
                    raise Undetermined(
                        f"Apptainer does not take the key {key.fingerprint}: {last_words(result)}", where=where
                    )
        words = ["verify", "--local", "--json", *option, str(found.path.absolute())]
        return reason_of(run(words, directory, where, QUICK + found.size / SLOWEST), found, keys, where)


def run(words: Sequence[str], directory: str, where: str, timeout: float) -> CommandResult:
    """Apptainer with nothing of its user's: no environment, no configuration, no keyring."""
    own = [f"HOME={directory}", "LC_ALL=C.UTF-8", f"PATH={os.environ.get('PATH', os.defpath)}"]
    own += [f"APPTAINER_{name}={directory}" for name in ("KEYSDIR", "CONFIGDIR", "CACHEDIR", "TMPDIR")]
    return run_process(where, ["env", "-i", *own, PROGRAM, "--nocolor", *words], timeout=timeout)


def reason_of(result: CommandResult, found: SifFile, keys: Sequence[ImageKey], where: str) -> str:
    """Why not, by the answer. Raises Undetermined where it is no answer: nothing is taken that it does not say."""
    try:
        signers = read_answer(result.stdout)
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        said = f"{last_words(result)} (exit code {result.exit_code})"
        raise Undetermined(
            f"apptainer verify gave no answer for {visible(found.path)}: {said}",
            where=where,
            hint="does it know --json and --key? Apptainer 1.2 and later do",
        ) from None
    if result.exit_code != 0:
        return last_words(result)
    objects = [one for one in found.descriptors if one.type != "signature"]
    if len(signers) < len(objects):
        return f"{len(signers)} of {len(objects)} objects are signed"
    known = {key.fingerprint for key in keys} if keys[0].kind == "pgp" else {""}
    others = sorted(set(signers) - known)
    return f"signed by {', '.join(map(excerpt, others))}, whose key is none of registry.image_keys" if others else ""


def read_answer(text: str) -> list[str]:
    """Whose signature each verified object has, as a fingerprint or "" for a key without one.

    Raises ValueError, TypeError, KeyError or AttributeError for anything but what `apptainer verify --json` prints.
    """
    answer = json.loads(text)
    entries: list[dict[str, Any]] = [one["Signer"] for one in answer["SignerKeys"] or []]
    signers = [entry["Fingerprint"].upper() for entry in entries if entry["DataCheck"] is True]
    named = all(entry["KeyCheck"] is bool(entry["Fingerprint"]) for entry in entries)
    if type(answer["Signatures"]) is not int or not named:
        raise ValueError
    return signers


def last_words(result: CommandResult) -> str:
    said = result.last_words("no reason given").removeprefix("FATAL:").strip()
    return said.removeprefix("Failed to verify container: integrity: ")
