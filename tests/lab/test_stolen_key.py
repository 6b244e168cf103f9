"""The sync key in the hands of a thief who has the controller: it sends files into staging/, and does nothing else."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator

import pytest

from .machines import CONTROLLER, OBJECTS, REGISTRY, STAGING, TREE, Machines

pytestmark = pytest.mark.lab
NODE = "c001"
SSH = (
    "ssh -o BatchMode=yes -o StrictHostKeyChecking=yes -o UserKnownHostsFile=/root/.ssh/known_hosts_registry_sync"
    " -o IdentitiesOnly=yes -o IdentityAgent=none -i /root/.ssh/id_rsa_registry_sync"
)
OPTIONS = SSH.removeprefix("ssh ")
CANARY = "sh -c 'find /root/canary /etc /usr/local /root/.ssh -xdev -type f -exec sha256sum {} + | sort | sha256sum'"
LOOT = "/root/loot"
SHELL = {
    "a command": f"{SSH} root@{NODE} id",
    "a command behind a word that is allowed": f"{SSH} root@{NODE} 'session; id'",
    "a command in a word": f"{SSH} root@{NODE} 'session $(id)'",
    "a shell": f"echo id | {SSH} root@{NODE}",
    "a terminal": f"echo id | {SSH} -tt root@{NODE}",
    "sftp": f"echo 'get /etc/shadow {LOOT}/got' | sftp -b - {OPTIONS} root@{NODE}",
    "sftp as a subsystem": f"echo | {SSH} -s root@{NODE} sftp",
    "scp from there": f"scp {OPTIONS} root@{NODE}:/root/canary/file {LOOT}/got",
    "scp to there": f"scp {OPTIONS} {LOOT}/file root@{NODE}:/root/canary/file",
    "old scp to there": f"scp -O {OPTIONS} {LOOT}/file root@{NODE}:/root/canary/file",
    "a forward from here": f"timeout 8 {SSH} -o ExitOnForwardFailure=yes -W localhost:22 root@{NODE}",
    "a forward from there": f"timeout 8 {SSH} -N -o ExitOnForwardFailure=yes -R 2345:localhost:22 root@{NODE}",
}
RSYNC = {
    "a pull": f"rsync -e '{SSH}' root@{NODE}:/root/canary/file {LOOT}/got",
    "a pull of staging": f"rsync -r -e '{SSH}' root@{NODE}:. {LOOT}/got",
    "a parent directory": f"rsync -e '{SSH}' {LOOT}/file root@{NODE}:../canary",
    "an absolute path": f"rsync -e '{SSH}' {LOOT}/file root@{NODE}:/root/canary/file",
    "another program": f"rsync --rsync-path='id; rsync' -e '{SSH}' {LOOT}/file root@{NODE}:.",
    "a log file": f"rsync --remote-option=--log-file=/root/canary/log -e '{SSH}' {LOOT}/file root@{NODE}:.",
    "a deletion": f"rsync -r --delete -e '{SSH}' {LOOT}/empty/ root@{NODE}:.",
    "a deletion by the sender": f"rsync -r --remove-source-files -e '{SSH}' {LOOT}/empty/ root@{NODE}:..",
    "a backup elsewhere": f"rsync --backup --backup-dir=/root/canary -e '{SSH}' {LOOT}/file root@{NODE}:.",
    "a temporary directory": f"rsync --temp-dir=/root/canary -e '{SSH}' {LOOT}/file root@{NODE}:.",
    "a partial directory": f"rsync --partial-dir=/root/canary -e '{SSH}' {LOOT}/file root@{NODE}:.",
    "a comparison": f"rsync --copy-dest=/root/canary -e '{SSH}' {LOOT}/file root@{NODE}:.",
    "a link to a directory kept": f"rsync -rK -e '{SSH}' {LOOT}/tree/ root@{NODE}:.",
    "a list of files": f"rsync --files-from=:/root/canary/file -e '{SSH}' {LOOT}/ root@{NODE}:.",
    "a device written": f"rsync --write-devices -e '{SSH}' {LOOT}/file root@{NODE}:.",
    "a daemon": f"rsync --config=/dev/null -e '{SSH}' {LOOT}/file root@{NODE}::canary",
}


@pytest.fixture(scope="module")
def thief(machines: Machines) -> Iterator[Machines]:
    """Loot on the controller, and on the node a file that must stay as it is."""
    machines.tell(NODE, "mkdir -p /root/canary && echo canary > /root/canary/file")
    machines.tell(
        CONTROLLER,
        f"mkdir -p {LOOT}/empty {LOOT}/links {LOOT}/tree/link && echo thief > {LOOT}/file &&"
        f" echo thief > {LOOT}/tree/link/file && ln -sfn /root/canary {LOOT}/links/link",
    )
    yield machines
    machines.tell(CONTROLLER, f"rm -rf {LOOT}")
    machines.tell(NODE, "rm -rf /root/canary")


@pytest.mark.parametrize("attack", [*SHELL.values(), *RSYNC.values()], ids=[*SHELL, *RSYNC])
def test_refused(attack: str, thief: Machines) -> None:
    before = thief.tell(NODE, CANARY), thief.tell(NODE, TREE)
    result = thief.run(CONTROLLER, attack)
    assert result.exit_code != 0, result.stdout
    assert "uid=" not in result.stdout + result.stderr
    assert thief.run(CONTROLLER, f"test -s {LOOT}/got").exit_code != 0
    assert (thief.tell(NODE, CANARY), thief.tell(NODE, TREE)) == before


def test_links_that_were_sent_lead_nowhere(thief: Machines) -> None:
    """A link may be sent into staging/, like any rubbish; nothing is written through it, and it is never published."""
    before = thief.tell(NODE, CANARY)
    digest = hashlib.sha256(b"canary\n").hexdigest()
    thief.tell(CONTROLLER, f"ln -sfn /root/canary/file {LOOT}/links/{digest}")
    try:
        thief.run(CONTROLLER, f"rsync -rl -e '{SSH}' {LOOT}/links/ root@{NODE}:.")
        thief.run(CONTROLLER, f"rsync -r -e '{SSH}' {LOOT}/tree/ root@{NODE}:.")
        assert thief.tell(NODE, CANARY) == before
        said = ask(thief, "publish", images=[{"name": "ml-frameworks/stolen.sif", "digest": digest, "size": 7}])
        assert "error" in said
        assert thief.run(NODE, f"ls {REGISTRY}/ml-frameworks/stolen.sif").exit_code != 0
    finally:
        thief.tell(NODE, f"rm -rf {STAGING}/link {STAGING}/{digest}")


def test_the_version_before_is_not_written_to(thief: Machines) -> None:
    """`prepare` lets a link to an object lie in staging/, where the thief can send files: over it, not into it."""
    data = b"an object that was there before"
    old, new = hashlib.sha256(data).hexdigest(), hashlib.sha256(b"x").hexdigest()
    thief.tell(NODE, f"printf '{data.decode()}' > {OBJECTS}/{old}")
    try:
        for option in ("--whole-file", "--inplace", "--append", "--no-whole-file --inplace"):
            ask(thief, "prepare", bases={new: old})
            thief.tell(CONTROLLER, f"echo thief > {LOOT}/{new}")
            thief.run(CONTROLLER, f"rsync {option} -e '{SSH}' {LOOT}/{new} root@{NODE}:.")
            assert thief.tell(NODE, f"cat {OBJECTS}/{old}") == data.decode()
        ask(thief, "prepare", bases={new: old})
        ask(thief, "relay", objects=[{"digest": new, "size": 6}], piece=1024, index="0" * 64, certificate="")
        assert thief.tell(NODE, f"cat {OBJECTS}/{old}") == data.decode()
    finally:
        thief.tell(NODE, f"rm -f {STAGING}/{new} {OBJECTS}/{old}")


@pytest.mark.parametrize(
    "image",
    [
        {"name": "../../root/canary/file", "digest": "0" * 64, "size": 1},
        {"name": "../etc/x.sif", "digest": "0" * 64, "size": 1},
        {"name": ".registry/catalog.yaml", "digest": "0" * 64, "size": 1},
        {"name": "ml-frameworks/x.sif", "digest": "../../catalog.yaml", "size": 1},
        {"name": "ml-frameworks/x.sif", "digest": "0" * 64, "size": 1},
    ],
)
def test_publish_of_what_is_no_image(image: dict[str, object], thief: Machines) -> None:
    before = thief.tell(NODE, CANARY), thief.tell(NODE, TREE)
    assert "error" in ask(thief, "publish", images=[image])
    assert "error" in ask(thief, "publish", images=[image], mode="4777")
    assert (thief.tell(NODE, CANARY), thief.tell(NODE, TREE)) == before


def test_the_key_opens_nothing_between_nodes(thief: Machines) -> None:
    """A thief on one node finds no key there that opens another."""
    keys = thief.tell(NODE, "find / -xdev -name 'id_*' -path '*ssh*' ! -name '*.pub' -type f 2>/dev/null || :")
    assert keys == ""


def ask(machines: Machines, verb: str, **request: object) -> dict[str, object]:
    lines = json.dumps({"nonce": "n", "seconds": 20}), json.dumps({"do": verb, "id": 1, **request})
    answer = machines.run(CONTROLLER, f"printf '%s\\n' '{lines[0]}' '{lines[1]}' | {SSH} root@{NODE} session").stdout
    line = next(line for line in answer.splitlines() if line.startswith("hpcregistry n "))
    found: dict[str, object] = json.loads(line.removeprefix("hpcregistry n "))
    return found
