"""What a machine tells of its registry: nothing is followed, waited for, or read twice that should not be."""

from __future__ import annotations

import builtins
import grp
import hashlib
import io
import json
import os
import pwd
import stat
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from pytest_hpcregistry import agent
from pytest_hpcregistry.agent import facts
from pytest_hpcregistry.agent.facts import Refused
from tests.fakes.registry import NAME, NEW, OLD, digest, make_registry, publish, stage

ROOT_ONLY = pytest.mark.skipif(os.getuid() != 0, reason="only root can become another user")


@pytest.fixture
def registry(tmp_path: Path) -> Path:
    return make_registry(tmp_path / "X")


@contextmanager
def nothing_left_open() -> Iterator[None]:
    before = len(os.listdir("/proc/self/fd"))  # noqa: PTH208
    yield
    assert len(os.listdir("/proc/self/fd")) == before  # noqa: PTH208


def note(monkeypatch: pytest.MonkeyPatch, place: Any, name: str, work: Callable[[Any], Any]) -> list[Any]:
    """What a function is called with, which does *work* instead."""
    seen: list[Any] = []

    def call(word: Any) -> Any:
        seen.append(word)
        return work(word)

    monkeypatch.setattr(place, name, call)
    return seen


# --- files


@pytest.fixture(params=["fifo", "device", "directory", "link"])
def odd(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """What is not a regular file."""
    path = tmp_path / "odd"
    if request.param == "fifo":
        os.mkfifo(path)
    elif request.param == "directory":
        path.mkdir()
    elif request.param == "link":
        (tmp_path / "target").write_bytes(OLD)
        path.symlink_to(tmp_path / "target")
    else:
        return Path(os.devnull)
    return path


def test_what_is_no_regular_file_is_not_even_opened(odd: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "open", lambda *_, **how: 1 // 0)
    with pytest.raises(Refused) as caught:
        facts.open_regular(str(odd))
    assert str(caught.value) == f"{odd} is not a regular file"
    assert facts.hash_file(str(odd)) is None
    assert facts.read_header(str(odd)) == ""


@pytest.mark.parametrize("odd", ["fifo", "device", "directory"], indirect=True)
def test_what_has_become_none_just_now_is_not_read(odd: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    regular = tmp_path / "regular"
    regular.touch()
    found = regular.stat()
    monkeypatch.setattr(os, "stat", lambda *_, **how: found)
    with nothing_left_open():
        for follow_links in (False, True):
            with pytest.raises(Refused, match=r"is not a regular file$"):
                facts.open_regular(str(odd), follow_links=follow_links)


def test_a_link_that_was_put_there_just_now_is_not_followed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "target").write_bytes(OLD)
    (tmp_path / "link").symlink_to("target")
    found = (tmp_path / "target").stat()
    monkeypatch.setattr(os, "stat", lambda *_, **how: found)
    with pytest.raises(OSError, match="symbolic links"):
        facts.open_regular(str(tmp_path / "link"))


@pytest.mark.parametrize("follow_links", [False, True])
def test_how_a_file_is_opened(tmp_path: Path, follow_links: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_bytes(OLD)
    real, flags = os.open, list[int]()

    def opened(path: str, how: int, **more: Any) -> int:
        flags.append(how)
        return real(path, how, **more)

    parent = os.open(tmp_path, os.O_RDONLY)
    monkeypatch.setattr(os, "open", opened)
    descriptor = facts.open_regular("file", parent, follow_links=follow_links)
    try:
        assert os.read(descriptor, 100) == OLD
    finally:
        os.close(descriptor)
        os.close(parent)
    always = os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC
    assert flags == [always if follow_links else always | os.O_NOFOLLOW]


def test_a_text_is_read_through_a_link_and_within_bounds(tmp_path: Path) -> None:
    (tmp_path / "text").write_bytes(b"a\xff" + b"x" * (1 << 20))
    (tmp_path / "link").symlink_to("text")
    assert facts.read_text(str(tmp_path / "link")) == "a\ufffd" + "x" * ((1 << 20) - 2)
    assert facts.read_text(str(tmp_path / "none")) is None
    assert facts.read_text(str(tmp_path)) is None


@pytest.mark.parametrize("size", [0, 1, 1 << 20, (1 << 20) + 1, (3 << 20) + 7])
def test_a_digest_is_of_all_bytes_from_the_start(tmp_path: Path, size: int) -> None:
    data = os.urandom(size)
    (tmp_path / "file").write_bytes(data)
    with nothing_left_open():
        assert facts.hash_file(str(tmp_path / "file")) == hashlib.sha256(data).hexdigest()
        with (tmp_path / "file").open("rb") as file:
            file.seek(size // 2)
            assert facts.hash_descriptor(file.fileno()) == hashlib.sha256(data).hexdigest()


def test_a_file_that_cannot_be_read_has_no_digest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_bytes(OLD)

    def broken(*_: Any) -> bytes:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(os, "pread", broken)
    with nothing_left_open():
        assert facts.hash_file(str(tmp_path / "file")) is None
    assert facts.hash_file(str(tmp_path / "none")) is None
    status = (tmp_path / "file").stat()
    assert facts.Hashes(None).digest(str(tmp_path / "file"), status) == "unreadable"


def test_in_brief_there_are_names_and_links_only(registry: Path) -> None:
    publish(registry, OLD)
    asked = {"registry": str(registry), "directories": ["ml-frameworks"]}
    whole, brief = facts.gather(asked), facts.gather({**asked, "brief": True})
    assert (list(whole["objects"]), brief["objects"]) == ([digest(OLD)], {})
    (image,) = whole["images"]
    assert image.pop("header") == OLD[: facts.HEADER_SIZE].hex()
    assert brief["images"] == [image]
    assert image["object"] == digest(OLD)


def test_what_has_many_names_is_read_once(registry: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    publish(registry, OLD)
    real = facts.hash_file
    read = note(monkeypatch, facts, "hash_file", real)
    told = facts.gather({"registry": str(registry), "directories": ["ml-frameworks"], "content": True})
    assert told["objects"][digest(OLD)]["sha256"] == told["images"][0]["sha256"] == digest(OLD)
    assert [path for path in read if not path.endswith("catalog.yaml")] == [str(registry / agent.OBJECTS / digest(OLD))]


def test_what_is_agreed_on_by_all_machines() -> None:
    """An agent and a controller of other versions have these."""
    assert (facts.HEADER_SIZE, facts.MOST_STAGED, facts.MOST_DENIED, facts.RESERVE) == (128, 1000, 1000, 64 << 20)


# --- the registry


def gathered(registry: Path, **more: Any) -> Any:
    return facts.gather({"registry": str(registry), "directories": ["ml-frameworks"], **more})


def test_objects_are_regular_files_named_by_a_digest(registry: Path) -> None:
    publish(registry, OLD)
    objects = registry / agent.OBJECTS
    (objects / "notes").touch()
    (objects / ("A" * 64)).touch()
    found = (objects / digest(OLD)).stat()
    status = {"size": found.st_size, "inode": found.st_ino, "device": found.st_dev}
    assert gathered(registry)["objects"] == {digest(OLD): status}
    assert gathered(registry, content=True, names=[NAME])["objects"] == {digest(OLD): status}
    assert gathered(registry, content=True)["objects"] == {digest(OLD): {**status, "sha256": digest(OLD)}}
    (objects / digest(NEW)).symlink_to(digest(OLD))
    (objects / digest(b"a directory")).mkdir()
    assert gathered(registry)["objects"] == {digest(OLD): status}
    for names in (None, [NAME]):  # whoever reads looks at what is no object, too
        read = gathered(registry, content=True, names=names)["objects"]
        assert [read[digest(one)]["sha256"] for one in (NEW, b"a directory")] == ["unreadable"] * 2


def test_an_image_is_told_with_its_object(registry: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    publish(registry, OLD + b"x" * 200)
    (registry / "ml-frameworks/a.sif").write_bytes(NEW)
    (registry / "ml-frameworks/link.sif").symlink_to("a.sif")
    monkeypatch.setattr(facts, "PROGRAMS", {})
    ran = note(monkeypatch, facts, "run", lambda argv: {"exit": 0})
    images = {one["name"]: one for one in gathered(registry, content=True, names=[NAME], inspect=True)["images"]}
    assert list(images) == ["ml-frameworks/a.sif", "ml-frameworks/link.sif", NAME]
    mine, linked, ours = images.values()
    assert (ours["object"], ours["sha256"], ours["inspect"]) == (*[digest(OLD + b"x" * 200)] * 2, {"exit": 0})
    assert ours["header"] == (OLD + b"x" * 200)[:128].hex()
    assert (mine["object"], mine["header"]) == (None, NEW.hex())
    assert not {"sha256", "inspect"} & set(mine)
    assert not {"sha256", "inspect", "header"} & set(linked)
    assert linked["type"] == "link"
    assert ran == [["apptainer", "inspect", f"{registry}/{NAME}"]]
    assert "inspect" not in gathered(registry, content=True)["images"][0]
    assert "sha256" not in gathered(registry, inspect=True)["images"][0]


def test_images_of_every_directory_are_told(registry: Path) -> None:
    for name in (NAME, "base-images/y.sif"):
        (registry / name).write_bytes(OLD)
    told = facts.gather({"registry": str(registry), "directories": ["base-images", "none", "ml-frameworks"]})
    assert [one["name"] for one in told["images"]] == ["base-images/y.sif", NAME]


def test_what_is_in_flight(registry: Path) -> None:
    stage(registry, OLD)
    os.utime(registry / agent.STAGING / digest(OLD), (5, 7))
    assert gathered(registry, host=True)["host"]["staging"] == [{"name": digest(OLD), "size": len(OLD), "modified": 7}]


def test_everything_of_a_machine(registry: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(facts, "version", " ".join)
    monkeypatch.setattr(facts, "authorized_keys", lambda user: ["keys"])
    monkeypatch.setattr(facts, "denied", lambda user, place, images: [user, place, len(images)])
    (registry / agent.CATALOG).write_text("text")
    publish(registry, OLD)
    asked = {"texts": ["/none", str(registry / agent.CATALOG)], "paths": ["/", "/none/"], "readers": ["alice"]}
    whole = gathered(registry, **asked, host=True, users=["root", "no such user"], groups=["root", "no such group"])
    assert whole["catalog_digest"] == hashlib.sha256(b"text").hexdigest()
    told = whole["host"]
    assert (told["hostname"], told["uid"]) == (os.uname().nodename, os.getuid())
    assert abs(told["time"] - time.time()) < 20
    inside = [
        *(".registry", ".registry/config.yaml", "README.md", ".registry/catalog.yaml", ".registry/lock"),
        *(".registry/peers", ".registry/allowed_signers", ".registry/objects/sha256", ".registry/staging"),
        *(".registry/bases", "ml-frameworks"),
    ]
    assert list(told["paths"]) == [str(registry), *(f"{registry}/{path}" for path in inside), "/", "/none/"]
    assert told["paths"]["/none/"] is None
    assert told["texts"] == {"/none": None, str(registry / agent.CATALOG): "text"}
    assert told["accounts"] == {
        "users": {"root": 0, "no such user": None},
        "groups": {"root": 0, "no such group": None},
    }
    assert told["denied"] == {"alice": ["alice", str(registry), 1]}
    assert told["programs"] == {
        "python3": "python3 --version", "rsync": "rsync --version", "apptainer": "apptainer --version",
        "slurmd": "slurmd -V", "srun": "srun -V",
    }  # fmt: skip
    assert told["authorized_keys"] == ["keys"]
    assert told["runtime"] is None, "nobody asked"
    assert told["filesystem"] == {**facts.filesystem(str(registry)), "free": told["filesystem"]["free"]}


def test_a_machine_of_which_nothing_is_asked(registry: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(facts, "PROGRAMS", {})
    assert facts.gather({"registry": str(registry / "none")}) == {"objects": {}, "images": [], "catalog_digest": None}
    told = facts.gather({"registry": str(registry / "none"), "host": True})["host"]
    assert (told["staging"], told["texts"], told["denied"]) == ([], {}, {})
    assert told["accounts"] == {"users": {}, "groups": {}}


@pytest.mark.parametrize(("kind", "word"), [("fifo", "other"), ("directory", "directory"), ("link", "link")])
def test_a_path_in_words(tmp_path: Path, kind: str, word: str) -> None:
    path = tmp_path / "x"
    if kind == "link":
        path.symlink_to("/")
    else:
        (os.mkfifo if kind == "fifo" else os.mkdir)(path)
    told, found = facts.describe(str(path), follow=False), path.lstat()
    assert told is not None
    assert told == {
        "type": word, "mode": f"{stat.S_IMODE(found.st_mode):04o}", "owner": pwd.getpwuid(found.st_uid).pw_name,
        "group": grp.getgrgid(found.st_gid).gr_name, "size": found.st_size, "inode": found.st_ino,
        "device": found.st_dev, "links": found.st_nlink, "modified": found.st_mtime,
    }  # fmt: skip
    assert facts.describe(str(tmp_path / "none"), follow=False) is None


def test_an_owner_without_a_name_is_its_number() -> None:
    def nobody(number: int) -> Any:
        raise KeyError(number)

    assert facts.name_of(nobody, 4711) == "4711"


# --- the file system

MOUNTS = r"""
21 1 8:1 / / rw,relatime shared:1 - ext4 /dev/root rw
22 21 0:5 / /opt rw - xfs /dev/opt rw
23 21 0:6 / /opt/cont rw - tmpfs near rw
24 21 0:7 / /opt/containers rw - ext4 /dev/under rw
25 21 0:8 / /opt/containers rw master:2 - nfs4 server:/x rw
26 21 0:9 / /opt/with\040space rw - lustre fs rw
"""


@pytest.mark.parametrize(
    ("path", "found"),
    [
        ("/opt/containers/a/b", ("/opt/containers", "nfs4", "server:/x")),
        ("/opt/containers", ("/opt/containers", "nfs4", "server:/x")),
        ("/opt/containers2", ("/opt", "xfs", "/dev/opt")),
        ("/opt/with space/x", ("/opt/with space", "lustre", "fs")),
        ("/srv", ("/", "ext4", "/dev/root")),
        ("/", ("/", "ext4", "/dev/root")),
    ],
)
def test_the_file_system_is_the_nearest_and_last_mounted(
    path: str, found: tuple[str, str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    size = SimpleNamespace(f_bavail=3, f_bfree=5, f_blocks=7, f_frsize=1000, f_bsize=4096)
    monkeypatch.setattr(os.path, "isdir", lambda place: True)
    asked = note(monkeypatch, os, "statvfs", lambda place: size)
    monkeypatch.setattr(builtins, "open", {"/proc/self/mountinfo": io.StringIO(MOUNTS.lstrip())}.__getitem__)
    told = facts.filesystem(path)
    assert (told["mount"], told["type"], told["source"]) == found
    assert (told["free"], told["total"]) == (3000, 7000)
    assert asked == [path]


def test_the_file_system_of_what_is_not_there_yet(tmp_path: Path) -> None:
    assert facts.filesystem(str(tmp_path / "not/yet"))["mount"] == facts.filesystem(str(tmp_path))["mount"]
    assert facts.filesystem("/no/such")["mount"] == "/"


def test_a_link_to_the_registry_is_looked_behind(registry: Path, tmp_path: Path) -> None:
    (tmp_path / "linked").symlink_to(registry)
    (registry / "README.md").symlink_to("elsewhere")
    paths = gathered(tmp_path / "linked", host=True)["host"]["paths"]
    assert paths[f"{tmp_path}/linked"]["type"] == "directory"
    assert paths[f"{tmp_path}/linked/README.md"]["type"] == "link"
    (tmp_path / "kernels").symlink_to("/proc")
    assert facts.filesystem(str(tmp_path / "kernels"))["mount"] == "/proc"


# --- users


@ROOT_ONLY
def test_what_a_user_cannot_read_is_tried_as_that_user(tmp_path: Path) -> None:
    top = make_registry(Path(os.path.realpath("/tmp")) / f"denied-{os.getpid()}")  # noqa: S108 - one that all may enter
    try:
        (top / "ml-frameworks/a.sif").write_bytes(OLD)
        (top / "ml-frameworks/b.sif").write_bytes(OLD)
        (top / "ml-frameworks/b.sif").chmod(0o600)
        for path in (top, top / "ml-frameworks"):
            path.chmod(0o755)
        images = [{"name": f"ml-frameworks/{name}.sif"} for name in "ab"]
        with nothing_left_open():
            assert facts.denied("nobody", str(top), images) == [f"{top}/ml-frameworks/b.sif"]
            assert facts.denied("root", str(top), images) == []
            assert facts.denied("no such user", str(top), images) is None
        (top / "ml-frameworks/b.sif").chmod(0o644)
        for mode in (0o754, 0o751):
            top.chmod(mode)
            assert str(top) in (facts.denied("nobody", str(top), []) or [])
        many = [{"name": f"none/{number}.sif"} for number in range(1100)]
        assert facts.denied("nobody", str(top), many) == [
            str(top), *(f"{top}/none/{number}.sif" for number in range(999))
        ]  # fmt: skip
    finally:
        for path in sorted(top.rglob("*"), reverse=True):
            path.rmdir() if path.is_dir() else path.unlink()
        top.rmdir()


def test_only_root_can_try(registry: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "getuid", lambda: 1000)
    monkeypatch.setattr(os, "fork", lambda: 1 // 0)
    assert facts.denied("root", str(registry), []) is None


KEYS = """\
# ssh-rsa COMMENT
restrict,command="a b" ssh-ed25519 ONE me@x
ecdsa-sha2-nistp256 TWO

sk-ssh-ed25519@openssh.com THREE
no key at all
"""


def test_keys_that_may_log_in_are_told_by_their_fingerprints(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    assert facts.authorized_keys("") == []
    (tmp_path / ".ssh").mkdir()
    (tmp_path / ".ssh/authorized_keys").write_text(KEYS)
    assert facts.authorized_keys("") == [
        {"fingerprint": hashlib.sha256(key).hexdigest(), "options": options}
        for key, options in ((b"ONE", 'restrict,command="a b"'), (b"TWO", ""), (b"THREE", ""))
    ]


# --- programs


@pytest.mark.parametrize(
    ("script", "told"),
    [
        ("echo one; echo two", {"exit": 0, "says": "one"}),
        ("echo one; echo two >&2; exit 3", {"exit": 3, "says": "two"}),
        ("exit 4", {"exit": 4, "says": ""}),
        ("printf '%0300d' 7", {"exit": 0, "says": "0" * 200}),
        ("cat", {"exit": 0, "says": ""}),
    ],
)
def test_what_a_program_says(script: str, told: dict[str, Any]) -> None:
    assert facts.run(["sh", "-c", script]) == told


@pytest.mark.parametrize(
    ("argv", "code", "printed"),
    [
        (["printf", "%s|", "a b", "$(id)", "*"], 0, "a b|$(id)|*|"),
        (["sh", "-c", "echo out; echo err >&2; exit 3"], 3, "out\n"),
        (["cat"], 0, ""),
        (["no-such-program"], 127, ""),
        (["printf", r"\377"], 0, "\ufffd"),
    ],
)
def test_a_command_of_a_site_is_run_by_no_shell(argv: list[str], code: int, printed: str) -> None:
    with nothing_left_open():
        assert facts.run_bounded(argv) == {"returncode": code, "stdout": printed}


def test_a_command_of_a_site_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One that never ends of itself, by what it prints, and by time."""
    ended = facts.run_bounded(["yes"])
    assert len(ended["stdout"]) == facts.MOST_PRINTED
    assert ended["returncode"] != 0
    limit = tmp_path / "timeout"
    limit.write_text(f'#!/bin/sh\necho "$1 $2 $3" > {tmp_path}/limits\nshift 3\nexec /usr/bin/timeout -k 1 0.2 "$@"\n')
    limit.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    assert facts.run_bounded(["sleep", "60"]) == {"returncode": 124, "stdout": ""}
    assert (tmp_path / "limits").read_text() == "-k 1 10\n", "only the test is in a hurry"


def test_commands_are_answered_by_their_text(registry: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(facts, "PROGRAMS", {})
    found = agent.gather({"registry": str(registry), "host": True, "commands": {"echo  a": ["echo", "a"]}})
    assert found["host"]["commands"] == {"echo  a": {"returncode": 0, "stdout": "a\n"}}


def test_images_are_started_by_the_command_that_was_given(registry: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(facts, "PROGRAMS", {})
    asked: dict[str, Any] = {
        "registry": str(registry),
        "host": True,
        "start": ["echo", "in"],
        "started": ["a/x.sif", "a/y z.sif"],
    }
    starts = agent.gather(asked)["host"]["starts"]
    assert starts == {name: {"returncode": 0, "stdout": f"in {name}\n"} for name in asked["started"]}
    assert agent.gather({**asked, "started": None})["host"]["starts"] == {}


def test_a_command_ends_when_the_connection_is_lost(tmp_path: Path) -> None:
    """With all that it has started: `timeout` passes the signal on."""
    command = ["sh", "-c", f"trap 'echo ended > {tmp_path}/end' TERM; echo on > {tmp_path}/begin; sleep 60 & wait"]
    source = f"from pytest_hpcregistry.agent.facts import run_bounded; run_bounded({command!r}, 50)"
    with subprocess.Popen([sys.executable, "-c", source], stdout=subprocess.PIPE) as process:
        wait_for(tmp_path / "begin")
        assert process.stdout
        process.stdout.close()  # as sshd does
        wait_for(tmp_path / "end")
        assert process.wait(5) == 0


def wait_for(path: Path) -> None:
    deadline = time.monotonic() + 10
    while not path.exists():
        assert time.monotonic() < deadline, f"{path.name} has not come"
        time.sleep(0.02)


def test_a_program_that_is_not_there_or_hangs() -> None:
    assert facts.run(["no such program"]) is None
    assert facts.run(["sleep", "30"], seconds=1) == {"exit": 124, "says": "no answer within 1 s"}


def test_singularity_in_apptainers_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "singularity").write_text("#!/bin/sh\necho singularity-ce version 4.1.5\n")
    (tmp_path / "singularity").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert facts.version(["apptainer", "--version"]) == "4.1.5"
    assert facts.run(["podman", "--version"]) is None
    (tmp_path / "apptainer").write_text("#!/bin/sh\necho apptainer version 1.4.5\n")
    (tmp_path / "apptainer").chmod(0o755)
    assert facts.version(["apptainer", "--version"]) == "1.4.5"


def test_what_the_runtime_says_of_itself(registry: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(facts, "PROGRAMS", {})
    program = tmp_path / "container-run"
    program.write_text('#!/bin/sh\necho "asked $*"\nexit 1\n')
    program.chmod(0o755)
    host = gathered(registry, host=True, runtime=str(program))["host"]
    assert host["runtime"] == {"exit": 1, "says": "asked --check"}
    assert gathered(registry, host=True, runtime="/no/such/program")["host"]["runtime"] is None


@pytest.mark.parametrize(
    ("said", "number"),
    [("rsync  version 3.2.7  protocol version 31", "3.2.7"), ("slurm 23.11", "23.11"), ("version 7", ""), ("", "")],
)
def test_a_version_is_the_first_number_with_a_dot(said: str, number: str) -> None:
    assert facts.version(["echo", said]) == number
    assert facts.version(["no such program"]) is None


def test_a_program_that_fails_has_no_version() -> None:
    """Whatever numbers are in its words."""
    script = "echo 'libc.so.6: version GLIBC_2.38 not found' >&2; exit 1"
    assert facts.version(["sh", "-c", script]) == ""


# --- the answer


@pytest.mark.parametrize(
    ("error", "says"),
    [
        (Refused("no"), "no"),
        (OSError(13, "Permission denied", "/x"), "Permission denied: /x"),
        (OSError(13, "Permission denied"), "[Errno 13] Permission denied"),
        (ValueError("x" * 400), f"the agent failed: ValueError('{'x' * 270}"[:300]),
    ],
)
def test_what_goes_wrong_is_told(error: Exception, says: str) -> None:
    def work(*words: Any) -> Any:
        assert words == (1, 2)
        raise error

    assert facts.result_of(work, 1, 2) == {"error": says}
    assert facts.result_of(lambda word: {"said": word}, 1) == {"said": 1}


def test_an_answer_is_one_line_of_its_own(capsys: pytest.CaptureFixture[str]) -> None:
    facts.write_line("n1", {"a": "b\nc"})
    assert capsys.readouterr().out == '\nhpcregistry n1 {"a": "b\\nc"}\n'


def test_the_words_of_the_command_line(
    registry: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for argv in ([], ["facts"], ["facts", "n1"], ["fact", "n1", "{}"], ["facts", "n1", "{}", "more"]):
        with pytest.raises(SystemExit, match="usage: "):
            facts.main(argv)
    monkeypatch.setattr(facts, "gather", lambda request: request)
    facts.main(["facts", "n1", '{"registry": "/r"}'])
    assert json.loads(capsys.readouterr().out.removeprefix("\nhpcregistry n1 ")) == {"registry": "/r"}


def test_each_file_is_read_for_its_own_digest(registry: Path) -> None:
    """One that is damaged is seen beside one that is not, under its name and as an object."""
    publish(registry, OLD)
    publish(registry, NEW, name="ml-frameworks/y.sif")
    (registry / agent.OBJECTS / digest(OLD)).write_bytes(OLD[::-1])
    found = gathered(registry, content=True)
    assert {name: one["sha256"] for name, one in found["objects"].items()} == {
        digest(OLD): digest(OLD[::-1]),
        digest(NEW): digest(NEW),
    }


def test_what_is_refused_and_what_is_missing_is_an_answer_with_a_hint() -> None:
    def refuse() -> dict[str, Any]:
        raise agent.Refused("no", "do this")

    def miss() -> dict[str, Any]:
        raise FileNotFoundError(2, "No such file or directory", "/x")

    assert facts.result_of(refuse) == {"error": "no", "hint": "do this"}
    assert facts.result_of(miss) == {"error": "No such file or directory: /x", "hint": facts.RUN_SETUP}


def test_the_mount_that_a_path_lies_on(tmp_path: Path) -> None:
    assert (facts.filesystem("/proc/self")["mount"], facts.filesystem("/proc/self")["type"]) == ("/proc", "proc")
    assert facts.filesystem("/")["mount"] == "/"


def test_a_program_reads_what_it_is_given_and_nothing_else() -> None:
    assert facts.run(["cat"], stdin="x\ny\n") == {"exit": 0, "says": "x"}
    assert facts.run(["cat"]) == {"exit": 0, "says": ""}
    assert facts.run(["no-such-program"]) is None
