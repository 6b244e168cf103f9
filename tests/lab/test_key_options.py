"""The sync key in a thief's hands: every option of rsync, and clients that ask for one thing and do another.

Nothing of the registry changes: no mode, owner, time, attribute, link or byte of any object, name or directory.
"""

from __future__ import annotations

import hashlib
import json
import string
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from pytest_hpcregistry.agent.serve import RSYNC

from .machines import CONTROLLER, OBJECTS, REGISTRY, STAGING, Machines
from .test_stolen_key import LOOT, NODE, SSH

pytestmark = pytest.mark.lab
OLD, NEW = b"an object that was there before", b"what is to come"
ALLOWED = "rsync --server -WIe.LsfxCIvu --timeout=60 --info=STATS . ."
DELTA = ALLOWED.replace("-WI", "-I")
# All that a thief could change: of everything but what lies in staging/, which is his to fill.
SNAPSHOT = f"""
import hashlib, json, os
registry, staging = {REGISTRY!r}, {STAGING!r}
def look(path):
    found = os.lstat(path)
    names = os.listxattr(path, follow_symlinks=False)
    attributes = {{name: os.getxattr(path, name, follow_symlinks=False).hex() for name in names}}
    content = hashlib.sha256(open(path, "rb").read()).hexdigest() if os.path.isfile(path) else ""
    who = [found.st_mode, found.st_uid, found.st_gid, found.st_ino, attributes]
    return who if path == staging else [*who, found.st_nlink, found.st_mtime_ns, found.st_size, content]
paths = [path for top, _, files in os.walk(registry) for path in [top, *(os.path.join(top, name) for name in files)]]
print(json.dumps({{path: look(path) for path in sorted(paths) if not path.startswith(staging + "/")}}))
"""
# A client that believes it has asked for one thing, and a server that was asked for another.
DECEIVE = f"""#!/bin/sh
exec {SSH} root@{NODE} "$(cat {LOOT}/command)"
"""


@pytest.fixture(scope="module")
def thief(machines: Machines) -> Iterator[Machines]:
    """Files of every kind on the controller; on the node an object with a name, and the version before it prepared."""
    old, new = hashlib.sha256(OLD).hexdigest(), hashlib.sha256(NEW).hexdigest()
    machines.tell(
        NODE,
        f"cd {REGISTRY} && printf '{OLD.decode()}' > {OBJECTS}/{old} && chmod 755 {OBJECTS}/{old} &&"
        f" ln {OBJECTS}/{old} custom-images/tool.sif",
    )
    machines.tell(
        CONTROLLER,
        f"mkdir -p {LOOT}/dir/dir && cd {LOOT} && printf '{OLD.decode()}' > {new} && chmod 4777 {new} &&"
        f" chown nobody {new} && touch -d 2001-01-01 {new} && ln {new} second && ln -s /etc/passwd link &&"
        f" ln -s {REGISTRY} to-registry && mkfifo fifo && mknod device c 1 3 && cp {new} dir/{new} &&"
        f" chmod 1777 dir && chown nobody dir && cat > deceive <<'END'\n{DECEIVE}END\nchmod 755 deceive",
    )
    with prepared(machines, new, old):
        yield machines
    machines.tell(CONTROLLER, f"rm -rf {LOOT}")
    machines.tell(NODE, f"rm -rf {REGISTRY}/custom-images/tool.sif {OBJECTS}/{old} {STAGING}/*")


@contextmanager
def prepared(machines: Machines, new: str, old: str) -> Iterator[None]:
    """A session of the thief's own in which the version before lies where rsync's server looks for it."""
    first, ask = {"nonce": "n", "seconds": 600}, {"do": "prepare", "id": 1, "bases": {new: old}}
    lines = f"printf '%s\\n' '{json.dumps(first)}' '{json.dumps(ask)}'"
    hold = f"({lines}; touch /run/asked; while [ -e /run/asked ]; do sleep 0.1; done) | {SSH} root@{NODE} session"
    session = threading.Thread(target=machines.run, args=(CONTROLLER, hold, 600))
    session.start()
    try:
        is_there = f"[ -e {REGISTRY}/.registry/bases/{new} ]"
        machines.tell(NODE, f"for n in $(seq 100); do {is_there} && exit; sleep 0.1; done; exit 1")
        yield
    finally:
        machines.tell(CONTROLLER, "rm -f /run/asked")
        session.join()


def snapshot(machines: Machines) -> str:
    return machines.tell(NODE, f"python3 - <<'END'\n{SNAPSHOT}END")


def send(options: str, what: str, shell: str = SSH) -> str:
    return f"timeout 20 rsync {options} -e '{shell}' {what} root@{NODE}:. >/dev/null 2>&1; rm -rf {LOOT}/got"


def file() -> str:
    return f"{LOOT}/{hashlib.sha256(NEW).hexdigest()}"


def options(machines: Machines) -> list[str]:
    """Every letter, and every long option of `rsync --help`, alone and beside those that could do most."""
    text = machines.tell(CONTROLLER, "rsync --help | grep -oE '[-][-][a-z][a-z0-9-]+=?' | sort -u")
    long = [word + value for word in text.split() for value in (("1", "/etc") if word.endswith("=") else ("",))]
    assert len(long) > 100
    letters = [f"-{letter}" for letter in string.ascii_letters if letter not in "eTBMfh"]  # these take a value
    never = ("--rsh", "--daemon", "--server", "--help", "--version")
    return [f"{base} {one}" for base in ("-I", "-Ip", "-cp") for one in letters + long if not one.startswith(never)]


def asked_for(machines: Machines, choices: list[str], scratch: Path) -> dict[str, str]:
    """What rsync's client would have the node do, by options: asked of the client, without a login."""
    (scratch / "ask").write_text('#!/bin/sh\nshift 3\necho "$*" >&2\nexit 9\n')
    (scratch / "choices").write_text("".join(f"{one}\n" for one in choices))
    for name in ("ask", "choices"):
        machines.put(CONTROLLER, scratch / name, f"{LOOT}/{name}")
    one = f"timeout 5 rsync $one -e {LOOT}/ask {file()} root@x:. </dev/null 2>&1 | grep -m 1 server"
    loop = f"chmod 755 {LOOT}/ask; while read -r one; do echo $({one}); done < {LOOT}/choices"
    said = machines.tell(CONTROLLER, loop).splitlines()
    assert len(said) == len(choices)
    return dict(zip(choices, said, strict=True))


def check(machines: Machines, attacks: list[str]) -> None:
    """Carry out some attacks; where anything has changed, find out by which."""
    before = snapshot(machines)
    machines.run(CONTROLLER, "\n".join(attacks))
    if snapshot(machines) != before:
        for attack in attacks:
            machines.run(CONTROLLER, attack)
            assert snapshot(machines) == before, attack
        pytest.fail("something has changed that cannot be undone: " + "; ".join(attacks))


def test_no_option_of_rsync_changes_the_registry(thief: Machines, tmp_path: Path) -> None:
    """Those with which the client asks for what is let in are tried; of the rest, one for each thing asked for."""
    asked = asked_for(thief, options(thief), tmp_path)
    let_in = [one for one, command in asked.items() if RSYNC.match(command)]
    refused = {command: one for one, command in asked.items() if command and not RSYNC.match(command)}
    assert len(refused) > 100
    assert not [one for one in let_in if one.startswith(("-Ip", "-cp"))]
    check(thief, [send(f"--timeout=60 --info=progress2,stats1 {one}", file()) for one in let_in])
    some = list(refused.values())[:: max(1, len(refused) // 40)]
    check(thief, [send(one, file()) for one in some])


def test_no_letter_is_let_in_by_the_forced_command_itself(thief: Machines) -> None:
    """Asked for by hand, without rsync's client: the answer is that of the forced command, not of rsync's protocol."""
    for command in (ALLOWED, DELTA):
        short = command.split()[2]
        asked = [command.replace(short, short.replace("Ie", f"I{letter}e")) for letter in "pogtcHDrlAXkKNUS"]
        script = "\n".join(f"{SSH} root@{NODE} '{one}' </dev/null 2>&1 >/dev/null | head -n 1" for one in asked)
        said = thief.tell(CONTROLLER, script).splitlines()
        assert len(said) == len(asked)
        assert set(said) == {"hpcregistry: this key can only sync the registry"}


@pytest.mark.parametrize("command", [ALLOWED, DELTA])
@pytest.mark.parametrize(
    "options",
    ["-a", "-aH", "-rlptgoDHAX", "-aR", "-aK", "-ac", "-rp", "-dp", "-Ip", "-cp", "--inplace", "--append", "-b", "-N"],
)
def test_a_client_that_deceives_the_server_changes_nothing(thief: Machines, command: str, options: str) -> None:
    """It has asked for what is allowed, and then sends modes, owners, links, devices and directories all the same."""
    thief.tell(CONTROLLER, f"echo '{command}' > {LOOT}/command")
    kinds = f"{LOOT}/second {LOOT}/link {LOOT}/to-registry {LOOT}/fifo {LOOT}/device {LOOT}/dir {LOOT}/dir/"
    try:
        check(thief, [send(options, what, f"{LOOT}/deceive") for what in (file(), kinds)])
        odd = "! -type f ! -type d -o -perm /7022 -o ! -user root"  # a difference gets the mode of the version before
        assert thief.tell(NODE, f"find {STAGING} -mindepth 1 '(' {odd} ')'") == "", (
            "neither a link nor writable nor setuid"
        )
    finally:
        thief.tell(NODE, f"find {STAGING} -mindepth 1 -delete")


def test_the_whole_way_to_root_is_closed(thief: Machines) -> None:
    """S1 as it was done: the version before under the new name, the same bytes with mode 4755, compared by checksum."""
    tool = f"{REGISTRY}/custom-images/tool.sif"
    thief.run(CONTROLLER, send("-cp", file()))
    thief.run(CONTROLLER, send("-cH", f"{file()} {LOOT}/second"))
    assert thief.tell(NODE, f"stat -c '%a %U %h' {tool}") == "755 root 3\n", "a name, the object, and the prepared base"
