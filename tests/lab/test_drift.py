"""Changes behind the tool's back, and several hands at once: what is seen, what is left alone, and that all agree."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import pytest

from pytest_hpcregistry.transports import CommandResult

from .conftest import Cli
from .machines import CONTROLLER, LAUNCHER, OBJECTS, REGISTRY, STAGING, Machines, refused

pytestmark = pytest.mark.lab
NODE = "c002"
PROGRAM = "/usr/local/lib/hpcregistry/controller.pyz"
QUARANTINE = f"{REGISTRY}/.registry/quarantine"
SYNC_LOG = "/var/log/container-registry-sync.log"
Sifs = Callable[..., Path]


def wait_until(is_so: Callable[[], bool], seconds: float = 30) -> None:
    deadline = time.monotonic() + seconds
    while not is_so():
        assert time.monotonic() < deadline, "it never came to that"
        time.sleep(0.2)


def flip_a_bit(machines: Machines, machine: str, digest: str) -> None:
    """One bit of an object; size and times stay as they were."""
    flip = f"""import os
path = "{OBJECTS}/{digest}"
before = os.stat(path)
with open(path, "r+b") as stream:
    stream.seek(40000)
    byte = stream.read(1)[0]
    stream.seek(40000)
    stream.write(bytes([byte ^ 1]))
os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
"""
    machines.tell(machine, f"python3 - <<'END'\n{flip}END")


def test_flipped_bit_is_seen_by_verify_and_repaired_as_its_hint_says(tool: Cli, machines: Machines, sif: Sifs) -> None:
    tool("deploy", "single", "-s", "-v", sif("rotten")).check()
    name = "ml-frameworks/rotten.sif"
    digest = machines.digest(CONTROLLER, name)
    flip_a_bit(machines, NODE, digest)
    tool("status").check()  # reads no image, and says so in its help
    damaged = f"{NODE}: {name} damaged: {OBJECTS}/{digest}"
    refused(tool("verify", "rotten.sif"), 1, damaged, f"hint: hpc-container-manager sync --repair {name}")
    tool("deploy", "single", "-s", sif("other")).check()  # neither a sync nor a deploy of something else heals it
    refused(tool("verify"), 1, damaged)
    said = tool("sync", "--repair", name).check().stdout
    assert f"! {NODE}: {name} damaged (" in said
    tool("verify").check()
    assert machines.digests(name) == {digest}
    machines.tell(NODE, f"test -f {QUARANTINE}/{digest}")
    machines.tell(CONTROLLER, f"python3 {PROGRAM} gc --grace 0")
    machines.tell(NODE, f"test ! -e {QUARANTINE}/{digest}")


def test_the_controllers_own_copy_is_repaired_from_a_node(tool: Cli, machines: Machines, sif: Sifs) -> None:
    tool("deploy", "-s", sif("source")).check()
    name = "ml-frameworks/source.sif"
    digest = machines.digest(CONTROLLER, name)
    flip_a_bit(machines, CONTROLLER, digest)
    refused(tool("verify", name), 1, f"controller: {name} damaged", f"sync --repair {name}")
    said = tool("sync", "--repair", name).check().stdout
    assert f"! controller: {name} damaged (" in said
    assert f"! controller: {name} fetched from c001" in said
    tool("verify", name).check()
    assert machines.digests(name) == {digest}


def test_every_name_of_a_damaged_file_is_repaired(tool: Cli, machines: Machines, sif: Sifs) -> None:
    """The same bytes under two names are one file; the second is named by nobody."""
    image, first, second = sif("shared"), "ml-frameworks/shared.sif", "custom-images/shared-two.sif"
    tool("deploy", "-s", image).check()
    tool("deploy", "to-cluster", image, second, "-s").check()
    digest = machines.digest(CONTROLLER, first)
    flip_a_bit(machines, NODE, digest)
    said = tool("sync", "--repair", first).check().stdout
    assert f"! {second}: repaired too, as bytes of it are those of {first}" in said
    assert machines.digests(first) == machines.digests(second) == {digest}
    tool("status").check()
    tool("verify").check()


def test_a_directory_in_the_place_of_a_name_keeps_no_other_back(
    tool: Cli, machines: Machines, sif: Sifs, kept: str
) -> None:
    tool("deploy", "-s", sif("blocked")).check()
    name = "ml-frameworks/blocked.sif"
    machines.tell(NODE, f"rm {REGISTRY}/{name} && mkdir {REGISTRY}/{name} && touch {REGISTRY}/{name}/mine")
    machines.tell(NODE, f"chmod 4777 {REGISTRY}/{kept}")
    in_the_way = f"{NODE}: {name} is a directory there: move it away"
    refused(tool("sync", "--dry-run"), 4, in_the_way, f"the sync would do the others: {kept}")
    assert machines.tell(NODE, f"stat -c %a {REGISTRY}/{kept}") == "4777\n"
    refused(tool("sync"), 4, in_the_way)
    assert machines.tell(NODE, f"stat -c %a {REGISTRY}/{kept}") == "755\n"
    refused(tool("sync", "--repair"), 4, in_the_way)
    for command in ("status", "verify"):
        refused(tool(command), 1, f"a directory lies in the place of {name}, which no sync removes: move it away")
    machines.tell(NODE, f"rm -r {REGISTRY}/{name}")
    tool("sync").check()
    tool("verify").check()


def test_what_is_no_file_in_the_place_of_an_object_is_found_and_put_away(
    tool: Cli, machines: Machines, sif: Sifs, tmp_path: Path
) -> None:
    name = "ml-frameworks/replaced.sif"
    tool("deploy", "-s", sif("replaced")).check()
    old = machines.digest(NODE, name)
    tool("deploy", "-s", sif("replaced", directory=tmp_path)).check()
    new = machines.digest(NODE, name)
    machines.tell(NODE, f"cd {OBJECTS} && rm {old} {new} && mkdir {old} && touch {old}/mine && ln -s /etc/passwd {new}")
    for words in (("verify",), ("verify", name)):
        refused(tool(*words), 1, *(f"{NODE}: {name} damaged: {OBJECTS}/{digest}" for digest in (old, new)))
    said = tool("sync", "--repair", name).check().stdout
    for digest in (old, new):
        assert f"! {NODE}: {name} damaged (unreadable, should be {digest[:12]})" in said
    tool("verify").check()
    tool("rollback", name).check()
    assert machines.digests(name) == {old}
    machines.tell(CONTROLLER, f"python3 {PROGRAM} gc --grace 0")
    assert machines.tell(NODE, f"ls {QUARANTINE}") == ""
    machines.tell(NODE, f"rm {OBJECTS}/{old} && mkdir {OBJECTS}/{old}")
    refused(tool("sync"), 4, f"{NODE}: a directory lies in the place of object {old[:12]}", "sync --repair")
    tool("sync", "--repair").check()
    tool("verify").check()


def test_an_older_version_is_no_damage(tool: Cli, machines: Machines, sif: Sifs, tmp_path: Path) -> None:
    name = "ml-frameworks/newer.sif"
    tool("deploy", "single", "-s", sif("newer")).check()
    tool("deploy", "single", sif("newer", directory=tmp_path)).check()
    for command in ("status", "verify"):
        shown = tool(command)
        refused(shown, 1, "older version c[001-003]", "hint: hpc-container-manager sync")
        assert "remove" not in shown.stdout + shown.stderr
    machines.tell(NODE, f"echo mine > {REGISTRY}/by-hand && mv {REGISTRY}/by-hand {REGISTRY}/{name}")
    refused(tool("verify"), 1, f"{NODE}: {name} differs", "sync puts the catalog's version there")
    tool("sync").check()
    tool("verify").check()
    assert len(machines.digests(name)) == 1


def test_file_that_somebody_put_there_is_shown_and_left_alone(tool: Cli, machines: Machines, kept: str) -> None:
    path = f"{REGISTRY}/ml-frameworks/by-hand.sif"
    machines.tell(NODE, f"echo mine > {path}")
    shown = tool("status")
    refused(shown, 1, f"1 image not in the catalog on {NODE}", "by-hand.sif", f"unmanaged {NODE}", "remove it by hand")
    tool("sync").check()
    assert machines.tell(NODE, f"cat {path}") == "mine\n"
    machines.tell(NODE, f"rm {path}")
    tool("status").check()


def test_image_that_somebody_removed_comes_back(tool: Cli, machines: Machines, kept: str) -> None:
    machines.tell(NODE, f"rm {REGISTRY}/{kept}")
    refused(tool("status"), 1, f"missing {NODE}", "hint: hpc-container-manager sync")
    tool("sync").check()
    tool("verify").check()


@pytest.mark.parametrize("umask", ["077", "000"])
def test_modes_do_not_come_from_the_operators_shell(umask: str, machines: Machines, kept: str) -> None:
    everything = f"cd {REGISTRY} && find . ! -name '*.lock' -printf '%p %m %u %g\\n' | sort"
    before = machines.everywhere(everything)
    digest = machines.digest(NODE, kept)
    machines.tell(NODE, f"rm {REGISTRY}/{kept} {OBJECTS}/{digest} {REGISTRY}/.registry/catalog.yaml")
    machines.tell(CONTROLLER, f"umask {umask}; {LAUNCHER}")
    assert machines.everywhere(everything) == before


def test_operator_who_looks_at_the_first_line_only_stops_nothing(machines: Machines, kept: str) -> None:
    machines.tell(NODE, f"rm {REGISTRY}/{kept}")
    machines.tell(CONTROLLER, f"{LAUNCHER} | head -n 0")
    assert len(machines.digests(kept)) == 1
    assert "SUCCESS: sync finished" in machines.tell(CONTROLLER, f"tail -n 1 {SYNC_LOG}")


# --- several at once ---------------------------------------------------------------------------------------------


def test_eight_deployments_of_four_images_at_once(tool: Cli, machines: Machines, sif: Sifs) -> None:
    images = [sif(f"many-{number}", 512) for number in range(4)]
    with ThreadPoolExecutor(8) as pool:
        for result in pool.map(lambda path: tool("deploy", "single", "-s", path), images * 2):
            result.check()
    listed = tool("catalog", "list").check().stdout
    assert [number for number in range(4) if f"ml-frameworks/many-{number}.sif" not in listed] == []
    tool("verify").check()
    assert set(machines.everywhere(f"ls {STAGING}").values()) == {""}


@contextmanager
def sync_lock_held(machines: Machines) -> Iterator[None]:
    """As while somebody else's long sync runs."""
    hold = f"exec 9> {REGISTRY}/.registry/sync.lock; flock 9; touch /run/held; sleep 60 & echo $! > /run/held; wait"
    with ThreadPoolExecutor(1) as pool:
        pool.submit(machines.run, CONTROLLER, hold)
        wait_until(lambda: machines.run(CONTROLLER, "test -s /run/held").exit_code == 0)
        yield
        machines.tell(CONTROLLER, "kill $(cat /run/held); rm /run/held")


def test_sync_that_waited_does_not_bring_back_the_older_image(
    tool: Cli, machines: Machines, sif: Sifs, tmp_path: Path
) -> None:
    name = "ml-frameworks/raced.sif"
    old, new = sif("raced"), sif("raced", directory=tmp_path)
    started = machines.tell(CONTROLLER, f"wc -l < {SYNC_LOG}").strip()
    with ThreadPoolExecutor(1) as pool:
        with sync_lock_held(machines):
            waiting = pool.submit(tool, "deploy", "single", "-s", old)
            log = f"tail -n +{int(started) + 1} {SYNC_LOG}"
            wait_until(lambda: "raced.sif published" in machines.tell(CONTROLLER, log))
            wait_until(lambda: machines.run(CONTROLLER, "pgrep -f '[s]ync .*--name'").exit_code == 0)
            time.sleep(1)  # for it to come to the lock
            tool("deploy", "single", new).check()
        waiting.result().check()
    assert len(machines.digests(name)) == 1
    tool("status").check()


def test_verify_beside_deploys_is_no_alarm(tool: Cli, machines: Machines, kept: str, sif: Sifs, tmp_path: Path) -> None:
    """New versions of one image go out, one after the other, while somebody verifies; then while a disk rots."""

    def deploy_new_versions(count: int) -> None:
        for number in range(count):
            (tmp_path / str(number)).mkdir(exist_ok=True)
            tool("deploy", "single", "-s", sif("rolling", 256, tmp_path / str(number))).check()

    def verify_beside(count: int) -> list[CommandResult]:
        verified = []
        with ThreadPoolExecutor(1) as pool:
            deploying = pool.submit(deploy_new_versions, count)
            while not deploying.done():
                verified.append(tool("verify"))
            deploying.result()
        return verified

    verified = verify_beside(8)
    assert len(verified) > 2
    assert {result.exit_code for result in verified} == {0}, [result.stdout + result.stderr for result in verified]
    assert any("sync" in result.stdout for result in verified)  # or this test has proven nothing
    digest = machines.digest(NODE, kept)
    flip_a_bit(machines, NODE, digest)
    for result in verify_beside(4):
        refused(result, 1, f"{NODE}: {kept} damaged: {OBJECTS}/{digest}")
        assert "rolling.sif damaged" not in result.stdout + result.stderr
    machines.tell(NODE, f"rm {OBJECTS}/{digest}")
    tool("sync").check()
    tool("verify").check()


def test_verify_waits_for_a_sync(tool: Cli, machines: Machines, sif: Sifs) -> None:
    tool("deploy", "single", sif("awaited")).check()
    with ThreadPoolExecutor(2) as pool:
        with sync_lock_held(machines):
            refused(tool("status"), 1, "! a sync is under way", "look again when the sync has ended")
            syncing = pool.submit(tool, "sync")
            verifying = pool.submit(tool, "verify")
            for command in ("sync", "facts"):
                pattern = f"pgrep -f '[h]pcregistry/controller .* {command}'"
                wait_until(lambda pattern=pattern: machines.run(CONTROLLER, pattern).exit_code == 0)  # type: ignore[misc]
            time.sleep(2)  # for them to come to the lock
        syncing.result().check()
    assert "a sync is under way: waiting for its end" in verifying.result().check().stdout


# --- things that die on the way ------------------------------------------------------------------------------------


def slow_node(machines: Machines, seconds: int) -> AbstractContextManager[None]:
    return machines.in_front_of(NODE, "/usr/bin/rsync", f'sleep {seconds}; exec /usr/bin/rsync.real "$@"')


def children(pid: int) -> list[int]:
    listed = Path(f"/proc/{pid}/task/{pid}/children").read_text()
    return [int(number) for number in listed.split()]


def test_sync_goes_on_when_the_workstation_dies(tool: Cli, machines: Machines, sif: Sifs, edited: Sifs) -> None:
    name = "ml-frameworks/orphan.sif"
    tool("deploy", "single", sif("orphan")).check()
    with slow_node(machines, 4):
        process = subprocess.Popen(
            [Path(sys.executable).parent / "hpc-container-manager", "sync", "--cluster", edited()],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
        assert process.stdout is not None
        assert b"syncing" in process.stdout.readline()
        ssh = children(process.pid)
        assert ssh
        for pid in (process.pid, *ssh):
            os.kill(pid, signal.SIGKILL)
        process.wait()
        process.stdout.close()
        assert machines.digest(NODE, name) == "missing"
        wait_until(lambda: len(machines.digests(name)) == 1)
    wait_until(lambda: "SUCCESS: sync finished" in machines.tell(CONTROLLER, f"tail -n 1 {SYNC_LOG}"))


def test_sync_that_dies_on_the_controller_is_no_success(tool: Cli, machines: Machines, sif: Sifs) -> None:
    name = "ml-frameworks/killed.sif"
    tool("deploy", "single", sif("killed")).check()
    with slow_node(machines, 4), ThreadPoolExecutor(1) as pool:
        running = pool.submit(tool, "sync")
        wait_until(lambda: machines.digest("c001", name) != "missing")
        machines.tell(CONTROLLER, "pkill -KILL -f '[h]pcregistry/controller .* sync'")
        refused(running.result(), 4, "hpc-controller: the connection or the controller program ended (exit 255)")
    tool("sync").check()
    assert len(machines.digests(name)) == 1
