"""What `apptainer verify` answers, and what of it counts: by a program that answers as it is told."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from pytest_hpcregistry.core.errors import CheckFailed, CommandTimeout, Undetermined, UsageError
from pytest_hpcregistry.core.image_keys import read_file
from pytest_hpcregistry.transports import apptainer
from tests.fakes.image_keys import (
    DSSE_START,
    ED25519,
    ERIN,
    ERINS_FINGERPRINT,
    P256,
    PGP_START,
    signed_sif,
)

WHERE = "workstation"
PROGRAM = """#!/bin/sh
here=$(dirname "$0")
echo "$@" >> "$here/asked"
env >> "$here/environment"
case $2 in
    key) cat "$4" >> "$here/imported"; exit $(cat "$here/import-code" 2>/dev/null || echo 0) ;;
esac
number=$(grep -c verify "$here/asked")
[ -e "$here/answer-$number" ] || number=
cat "$here/answer${number:+-$number}"
cat "$here/errors" >&2
exit $(cat "$here/code${number:+-$number}")
"""


class Stand:
    """A directory with an apptainer, which answers every `verify` alike, or the Nth by `answer-N` and `code-N`."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        directory.mkdir()
        (directory / "apptainer").write_text(PROGRAM)
        (directory / "apptainer").chmod(0o755)
        (directory / "errors").touch()

    def answers(self, answer: object, code: int = 0, errors: str = "", number: str = "") -> None:
        text = answer if isinstance(answer, str) else json.dumps(answer)
        (self.directory / f"answer{number}").write_text(text)
        (self.directory / f"code{number}").write_text(str(code))
        (self.directory / "errors").write_text(errors)

    def read(self, name: str) -> str:
        return (self.directory / name).read_text()


@pytest.fixture
def stand(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Stand:
    found = Stand(tmp_path / "bin")
    monkeypatch.setenv("PATH", f"{found.directory}:/usr/bin:/bin")
    return found


@pytest.fixture
def keys(tmp_path: Path) -> dict[str, str]:
    for name, text in {"erin": ERIN, "ed": ED25519, "p256": P256}.items():
        (tmp_path / name).write_text(text)
    return {name: read_file(name, tmp_path) for name in ("erin", "ed", "p256")}


@pytest.fixture
def pgp(tmp_path: Path) -> Path:
    path = tmp_path / "pgp.sif"
    path.write_bytes(signed_sif(PGP_START))
    return path


@pytest.fixture
def dsse(tmp_path: Path) -> Path:
    path = tmp_path / "dsse.sif"
    path.write_bytes(signed_sif(DSSE_START, fingerprint="00" * 20))
    return path


def answer(fingerprint: str = ERINS_FINGERPRINT, objects: int = 1, **wrong: Any) -> dict[str, Any]:
    """As Apptainer 1.4.5 prints it."""
    one = {
        "Partition": "FS",
        "Name": "erin <erin@site>" if fingerprint else "unknown",
        "Fingerprint": fingerprint.lower(),
        "KeyLocal": bool(fingerprint),
        "KeyCheck": bool(fingerprint),
        "DataCheck": True,
    }
    return {"Signatures": 1, "SignerKeys": [{"Signer": {**one, **wrong}}] * objects}


def test_a_good_pgp_signature(stand: Stand, pgp: Path, keys: dict[str, str]) -> None:
    stand.answers(answer())
    apptainer.verify(pgp, list(keys.values()), WHERE)
    *_, asked = stand.read("asked").splitlines()
    assert asked == f"--nocolor verify --local --json {pgp}"
    assert stand.read("imported").startswith("-----BEGIN PGP PUBLIC KEY BLOCK-----")


def test_nothing_of_the_user_is_there(
    stand: Stand, pgp: Path, keys: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("APPTAINER_LOCAL_VERIFY", "APPTAINER_VERIFY_KEY", "SINGULARITY_KEYSDIR", "http_proxy", "LD_PRELOAD_X"):
        monkeypatch.setenv(name, "/home/user")
    stand.answers(answer())
    apptainer.verify(pgp, [keys["erin"]], WHERE)
    found = dict(line.split("=", 1) for line in stand.read("environment").splitlines())
    homes = {found.pop(f"APPTAINER_{name}") for name in ("KEYSDIR", "CONFIGDIR", "CACHEDIR", "TMPDIR")}
    assert homes == {found.pop("HOME")}
    assert not Path(homes.pop()).exists(), "it is gone afterwards"
    assert found.keys() <= {"LC_ALL", "PATH", "PWD", "_", "SHLVL", "OLDPWD"}


def test_keys_in_pem_are_tried_one_after_the_other(stand: Stand, dsse: Path, keys: dict[str, str]) -> None:
    stand.answers(answer("", objects=0), 255, "FATAL:   Failed to verify container: integrity: no match\n")
    stand.answers(answer(""), number="-2")
    apptainer.verify(dsse, list(keys.values()), WHERE)
    asked = stand.read("asked").splitlines()
    assert ["--key" in line for line in asked] == [True, True]
    stand.answers(answer("", objects=0), 255, "FATAL:   Failed to verify container: integrity: no match\n", number="-4")
    with pytest.raises(CheckFailed, match=r"\(apptainer verify: no match\)"):
        apptainer.verify(dsse, list(keys.values()), WHERE)


def test_apptainers_reason_is_told(stand: Stand, pgp: Path, keys: dict[str, str]) -> None:
    text = "INFO:    Verifying\nFATAL:   Failed to verify container: integrity: object 2: object not signed\n"
    stand.answers({"Signatures": 1, "SignerKeys": None}, 255, text)
    with pytest.raises(CheckFailed) as caught:
        apptainer.verify(pgp, [keys["erin"]], WHERE)
    assert caught.value.what == "its own signature does not count (apptainer verify: object 2: object not signed)"
    assert "apptainer sign" in caught.value.hint


@pytest.mark.parametrize(
    ("said", "reason"),
    [
        (answer("AB" * 20), f"signed by {'AB' * 20}, whose key is none of registry.image_keys"),
        (answer(""), "signed by , whose"),
        (answer(objects=0), "0 of 1 objects are signed"),
        ({"Signatures": 0, "SignerKeys": None}, "0 of 1 objects are signed"),
        (answer(DataCheck=False), "0 of 1 objects are signed"),
        (answer(DataCheck="yes"), "0 of 1 objects are signed"),
    ],
)
def test_an_exit_code_of_0_alone_proves_nothing(
    stand: Stand, pgp: Path, keys: dict[str, str], said: object, reason: str
) -> None:
    stand.answers(said)
    with pytest.raises(CheckFailed) as caught:
        apptainer.verify(pgp, [keys["erin"]], WHERE)
    assert reason in caught.value.what


@pytest.mark.parametrize(
    "said",
    [
        "",
        "Verified.",
        "[]",
        "null",
        '"x"',
        "{}",
        '{"Signatures": 1}',
        '{"Signatures": true, "SignerKeys": []}',
        '{"Signatures": "1", "SignerKeys": []}',
        '{"Signatures": 1, "SignerKeys": [{}]}',
        '{"Signatures": 1, "SignerKeys": [null]}',
        '{"Signatures": 1, "SignerKeys": [{"Signer": []}]}',
        json.dumps(answer(Fingerprint=None)),
        json.dumps(answer(Fingerprint=7)),
        json.dumps(answer(KeyCheck=False)),
        json.dumps(answer(KeyCheck="true")),
        "[" * 100_000,
    ],
)
@pytest.mark.parametrize("code", [0, 255])
def test_what_is_no_answer_is_no_verdict(stand: Stand, pgp: Path, keys: dict[str, str], said: str, code: int) -> None:
    stand.answers(said, code, "unknown flag: --json\x1b[2J\n")
    with pytest.raises(Undetermined) as caught:
        apptainer.verify(pgp, [keys["erin"]], WHERE)
    assert f"unknown flag: --json\\x1b[2J (exit code {code})" in caught.value.what


def test_a_key_that_apptainer_does_not_take(stand: Stand, pgp: Path, keys: dict[str, str]) -> None:
    stand.answers(answer())
    (stand.directory / "import-code").write_text("255")
    with pytest.raises(Undetermined, match=f"does not take the key {ERINS_FINGERPRINT}"):
        apptainer.verify(pgp, [keys["erin"]], WHERE)


@pytest.mark.parametrize(
    ("signatures", "key", "reason"),
    [
        ([], "erin", "carries no signature of its own"),
        ([PGP_START], "ed", "carries a PGP signature, and registry.image_keys has no key for one"),
        ([DSSE_START], "erin", "carries a DSSE signature, and registry.image_keys has no key for one"),
        ([PGP_START, DSSE_START], "erin", "forms: DSSE, PGP"),
        ([PGP_START, b"nonsense"], "erin", "forms: PGP, unknown"),
    ],
)
def test_what_the_file_itself_shows_needs_no_apptainer(
    tmp_path: Path,
    keys: dict[str, str],
    monkeypatch: pytest.MonkeyPatch,
    signatures: list[bytes],
    key: str,
    reason: str,
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    path = tmp_path / "x.sif"
    path.write_bytes(signed_sif(*signatures))
    with pytest.raises(CheckFailed, match=reason):
        apptainer.verify(path, [keys[key]], WHERE)


def test_without_apptainer_nothing_is_known(
    tmp_path: Path, pgp: Path, keys: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(Undetermined, match="workstation: there is no Apptainer"):
        apptainer.verify(pgp, [keys["erin"]], WHERE)


def test_an_apptainer_that_hangs_is_ended(
    stand: Stand, pgp: Path, keys: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (stand.directory / "apptainer").write_text("#!/bin/sh\nexec sleep 60\n")
    monkeypatch.setattr(apptainer, "QUICK", 0.2)
    with pytest.raises(CommandTimeout):
        apptainer.verify(pgp, [keys["erin"]], WHERE)


def test_a_file_that_is_no_sif(tmp_path: Path, keys: dict[str, str]) -> None:
    (tmp_path / "x.sif").write_text("text")
    with pytest.raises(UsageError, match="not a SIF image"):
        apptainer.verify(tmp_path / "x.sif", [keys["erin"]], WHERE)
