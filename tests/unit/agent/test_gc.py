"""Garbage collection on one machine: what is freed, and everything that keeps an object."""

from __future__ import annotations

import glob
import hashlib
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from pytest_hpcregistry import agent
from pytest_hpcregistry.agent import gc, in_use

NAME = "ml-frameworks/x.sif"
OLD, NEW = b"old image", b"new and longer image"
HOLD = "import sys; held = open(sys.argv[1], 'rb'); print(flush=True); sys.stdin.read()"


@pytest.fixture
def registry(tmp_path: Path) -> Path:
    top = tmp_path / "registry"
    for name in ("ml-frameworks", agent.STAGING, agent.OBJECTS):
        (top / name).mkdir(parents=True, mode=0o700 if name == agent.STAGING else 0o755)
    (top / agent.CATALOG).write_text("as it was")
    return top


def digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def publish(registry: Path, data: bytes, name: str = NAME) -> Path:
    """Returns the object's path."""
    (registry / agent.STAGING / digest(data)).write_bytes(data)
    agent.publish(str(registry), {"images": [{"name": name, "digest": digest(data), "size": len(data)}]})
    return registry / agent.OBJECTS / digest(data)


def request(*keep: bytes, **more: Any) -> dict[str, Any]:
    words = {
        "catalog": "new",
        "objects": [],
        "names": [NAME],
        "spare": [],
        "shared": False,
        "grace": 0,
        "dry_run": False,
    }
    return {**words, "keep": [digest(data) for data in keep], **more}


def collect(registry: Path, *keep: bytes, **more: Any) -> dict[str, Any]:
    answer: dict[str, Any] = gc.collect(str(registry), request(*keep, **more))
    return answer


@pytest.fixture
def unnamed(registry: Path) -> Path:
    """The object of a version that nothing names any more; the name means a newer one."""
    old = publish(registry, OLD)
    publish(registry, NEW)
    return old


def tree(top: Path) -> dict[str, Any]:
    found = {}
    for path in sorted([top, *top.rglob("*")]):
        status = path.lstat()
        content = path.read_bytes() if path.is_file() else None
        found[str(path)] = (status.st_ino, status.st_mode, status.st_mtime_ns, status.st_ctime_ns, content)
    return found


def test_what_nothing_names_is_freed(registry: Path, unnamed: Path) -> None:
    answer = collect(registry, NEW)
    assert (answer["objects"], answer["bytes"]) == ([digest(OLD)], len(OLD))
    assert not unnamed.exists()
    assert (registry / NAME).read_bytes() == NEW
    assert (registry / agent.CATALOG).read_text() == "new"
    assert collect(registry, NEW)["objects"] == []


def test_a_link_outside_keeps_the_bytes_so_none_are_freed(registry: Path, unnamed: Path) -> None:
    os.link(unnamed, registry.parent / "mine.sif")
    answer = collect(registry, NEW)
    assert (answer["objects"], answer["bytes"]) == ([digest(OLD)], 0)
    assert (registry.parent / "mine.sif").read_bytes() == OLD


def test_what_the_catalog_means_stays(registry: Path, unnamed: Path) -> None:
    answer = collect(registry, NEW, OLD)
    assert answer["objects"] == answer["in_use"] == answer["young"] == []
    assert unnamed.read_bytes() == OLD


def test_a_name_alone_keeps_its_object(registry: Path) -> None:
    """Such as one that this machine has and the catalog has not."""
    assert collect(registry, NEW)["objects"] == []
    path = publish(registry, OLD)
    assert collect(registry)["objects"] == []
    assert path.exists()


@pytest.mark.parametrize("where", ["ml-frameworks/by-hand.sif", "mine/deep/down", "ml-frameworks/.hidden"])
@pytest.mark.parametrize("make", [os.link, os.symlink])
def test_a_name_made_by_hand_keeps_its_object_and_is_told(
    registry: Path, unnamed: Path, where: str, make: Callable[[Path, Path], None]
) -> None:
    (registry / where).parent.mkdir(parents=True, exist_ok=True)
    make(unnamed, registry / where)
    answer = collect(registry, NEW)
    assert (answer["objects"], answer["unmanaged"]) == ([], [where])
    assert (registry / where).read_bytes() == OLD


def test_a_file_put_there_by_hand_is_told_and_left(registry: Path) -> None:
    for name in ("ml-frameworks/mine.sif", "README.md", ".registry/config.yaml"):
        (registry / name).write_bytes(b"mine")
    (registry / "ml-frameworks/nowhere.sif").symlink_to("/nowhere")
    publish(registry, NEW)
    assert collect(registry, NEW)["unmanaged"] == ["ml-frameworks/mine.sif", "ml-frameworks/nowhere.sif"]
    assert (registry / "ml-frameworks/mine.sif").read_bytes() == b"mine"
    assert (registry / "ml-frameworks/nowhere.sif").is_symlink()


def test_a_directory_that_cannot_be_listed_may_name_anything(
    registry: Path, unnamed: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scandir = os.scandir

    def broken(path: Any) -> Any:
        if str(path).endswith("ml-frameworks"):
            raise OSError(5, "Input/output error", str(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", broken)
    with pytest.raises(OSError, match="Input/output"):
        collect(registry, NEW)
    assert unnamed.exists()


def test_other_files_among_the_objects_are_left(registry: Path) -> None:
    (registry / agent.OBJECTS / "notes.txt").write_text("mine")
    assert collect(registry)["objects"] == []
    assert (registry / agent.OBJECTS / "notes.txt").exists()


# --- grace period


def test_the_grace_time_begins_when_the_last_name_goes(registry: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = publish(registry, OLD)
    came = path.stat().st_ctime
    while path.stat().st_ctime == came:
        publish(registry, NEW)  # the clock of a file system ticks slowly
        publish(registry, OLD)
    publish(registry, NEW)
    went = path.stat().st_ctime
    assert went > came
    monkeypatch.setattr(time, "time", lambda: went + 100)
    answer = collect(registry, NEW, grace=100 + (went - came) / 2)
    assert (answer["objects"], answer["young"], answer["young_bytes"]) == ([], [digest(OLD)], len(OLD))
    assert collect(registry, NEW, grace=99)["objects"] == [digest(OLD)]


def test_an_object_that_has_just_come_is_spared(registry: Path) -> None:
    path = publish(registry, OLD)
    (registry / NAME).unlink()
    assert collect(registry, grace=3600)["young"] == [digest(OLD)]
    assert path.exists()


@pytest.mark.parametrize("where", [*(f"{place}/{'a' * 64}" for place in (agent.STAGING, agent.BASES, agent.OBJECTS)),
                                   "ml-frameworks/.x.sif.1", f"{agent.STAGING}/dir"])  # fmt: skip
def test_after_just_the_grace_time_it_is_over(registry: Path, monkeypatch: pytest.MonkeyPatch, where: str) -> None:
    path = registry / where
    path.parent.mkdir(exist_ok=True)
    path.mkdir() if path.name == "dir" else path.write_bytes(OLD)
    monkeypatch.setattr(time, "time", lambda: path.lstat().st_ctime + 8)
    for grace, words in ((9, []), (8, [path.name])):
        answer = collect(registry, grace=grace, dry_run=True)
        assert [*answer["objects"], *answer["debris"]] == words


def test_what_has_taken_the_place_of_an_old_object_stays(registry: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A gc looks first and removes then; on the way something else can have got the name."""
    left = registry / agent.STAGING / digest(OLD)
    left.write_bytes(OLD)
    real = in_use.in_use

    def replace_and_look(*words: Any) -> Any:
        (registry / "new").write_bytes(NEW)
        (registry / "new").rename(left)
        return real(*words)

    monkeypatch.setattr(gc, "in_use", replace_and_look)
    assert collect(registry, dry_run=True)["debris"] == []
    gc.clean(str(registry), request())
    assert left.read_bytes() == NEW


@pytest.mark.parametrize("kind", ["a link", "a directory"])
def test_what_has_become_no_file_meanwhile_stays(registry: Path, monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    left = registry / agent.STAGING / digest(OLD)
    left.write_bytes(OLD)
    real = in_use.in_use

    def replace_and_look(*words: Any) -> Any:
        found = real(*words)
        left.unlink()
        left.symlink_to("/etc/hostname") if kind == "a link" else left.mkdir()
        return found

    monkeypatch.setattr(gc, "in_use", replace_and_look)
    monkeypatch.setattr(gc, "remove_trees", lambda *_: {})
    assert gc.clean(str(registry), request()) == {}
    assert os.path.lexists(left)


def test_nothing_is_left_open_by_a_gc(registry: Path, unnamed: Path) -> None:
    def count() -> int:
        return len(os.listdir("/proc/self/fd"))  # noqa: PTH208 - its own descriptor is among them, each time

    (registry / agent.STAGING / "dir" / "below").mkdir(parents=True)
    (registry / agent.STAGING / "file").write_bytes(OLD)
    before = count()
    assert collect(registry, NEW)["objects"] == [digest(OLD)]
    assert count() == before


def test_a_catalog_that_is_right_is_not_written_again(registry: Path) -> None:
    publish(registry, NEW)
    collect(registry, NEW)
    before = (registry / agent.CATALOG).stat()
    collect(registry, NEW)
    assert (registry / agent.CATALOG).stat() == before


def test_a_dry_run_goes_by_the_catalog_that_would_be_taken_over(registry: Path, unnamed: Path) -> None:
    (registry / agent.CATALOG).write_text(f"x: {digest(OLD)}")
    for dry_run in (True, False):
        assert collect(registry, NEW, objects=[digest(NEW)], dry_run=dry_run)["objects"] == [digest(OLD)]


def test_leftovers_of_transfers_go_after_the_grace_time(registry: Path) -> None:
    for name in (".probe-12", f".{digest(OLD)}.Xy12", digest(NEW)):
        (registry / agent.STAGING / name).write_bytes(OLD)
    assert collect(registry, grace=3600)["debris"] == []
    assert len(list((registry / agent.STAGING).iterdir())) == 3
    answer = collect(registry)
    assert (len(answer["debris"]), answer["bytes"], answer["objects"]) == (3, 3 * len(OLD), [])
    assert list((registry / agent.STAGING).iterdir()) == []


def test_leftovers_of_transfers_are_removed_without_the_lock(registry: Path) -> None:
    """There may be many, and nobody shall hold the lock for long."""
    left = registry / agent.STAGING / digest(NEW)
    left.write_bytes(NEW)
    with ThreadPoolExecutor(1) as pool, agent.locked(str(registry)):
        collecting = pool.submit(collect, registry)
        deadline = time.monotonic() + 20
        while left.exists() and time.monotonic() < deadline:
            time.sleep(0.01)
        assert not left.exists()
        assert not collecting.done()
    assert collecting.result()["debris"] == [digest(NEW)]


@pytest.mark.parametrize("vanish", [FileNotFoundError, BlockingIOError])
def test_two_at_once_do_not_fail_of_each_other(
    registry: Path, monkeypatch: pytest.MonkeyPatch, vanish: type[OSError]
) -> None:
    """Of a controller that was killed, the agents go on: what the other has removed or leased is not for this one."""
    (registry / agent.STAGING / "a").write_bytes(OLD)
    (registry / agent.STAGING / "tree" / "below").mkdir(parents=True)

    def taken(*_: object, **__: object) -> None:
        raise vanish

    monkeypatch.setattr(gc, "open_regular", taken)
    monkeypatch.setattr(gc, "remove_tree", taken if vanish is FileNotFoundError else lambda *_: None)
    assert collect(registry)["objects"] == []


# --- in use


@contextmanager
def running(*argv: str | Path) -> Iterator[int]:
    """A process that is ready; its number."""
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdin
        assert process.stdout
        process.stdout.readline()
        yield process.pid
        process.stdin.close()


@pytest.fixture(params=["both", "proc", "lease"])
def asked(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Each of the two that are asked must see it alone."""
    if request.param == "proc":
        monkeypatch.setattr(gc, "is_open_elsewhere", lambda descriptor: False)
    if request.param == "lease":
        monkeypatch.setattr(gc, "in_use", lambda registry, files: (set(), None))
    return str(request.param)


@pytest.mark.usefixtures("asked")
def test_an_object_that_a_process_has_open_stays_until_it_ends(registry: Path) -> None:
    path = publish(registry, OLD)
    with running(sys.executable, "-c", HOLD, registry / NAME):
        publish(registry, NEW)
        answer = collect(registry, NEW)
        assert (answer["objects"], answer["in_use"], answer["in_use_bytes"]) == ([], [digest(OLD)], len(OLD))
        assert path.read_bytes() == OLD
    assert collect(registry, NEW)["objects"] == [digest(OLD)]


@pytest.mark.usefixtures("asked")
def test_an_object_that_a_process_has_mapped_stays_until_it_ends(registry: Path) -> None:
    """A running program is a file that is mapped and not open."""
    program = Path(shutil.which("cat") or "").resolve().read_bytes()
    path = publish(registry, program)
    with subprocess.Popen([registry / NAME], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdin
        assert process.stdout
        process.stdin.write(b"x\n")
        process.stdin.flush()
        process.stdout.readline()
        assert str(path) not in [str(one.readlink()) for one in Path(f"/proc/{process.pid}/fd").iterdir()]
        publish(registry, NEW)
        assert collect(registry, NEW)["in_use"] == [digest(program)]
        assert path.exists()
        process.stdin.close()
        process.wait()
    assert collect(registry, NEW)["objects"] == [digest(program)]


@pytest.mark.usefixtures("asked")
def test_a_transfer_that_runs_is_no_leftover(registry: Path) -> None:
    path = registry / agent.STAGING / digest(NEW)
    path.write_bytes(b"half")
    with running(sys.executable, "-c", HOLD, path):
        assert collect(registry)["debris"] == []
        assert path.exists()
    assert collect(registry)["debris"] == [digest(NEW)]


@pytest.mark.usefixtures("asked")
def test_an_object_that_a_loop_device_has_stays(registry: Path) -> None:
    """The name means another file by now, so the path that the device tells does not help."""
    data = os.urandom(1 << 20)
    path = publish(registry, data)
    done = subprocess.run(
        ["losetup", "--find", "--show", "--read-only", registry / NAME], capture_output=True, text=True, check=False
    )
    if done.returncode != 0:
        pytest.skip(f"no loop devices here: {done.stderr.strip()}")
    try:
        publish(registry, NEW)
        assert collect(registry, NEW)["in_use"] == [digest(data)]
        assert path.exists()
    finally:
        subprocess.run(["losetup", "--detach", done.stdout.strip()], check=True)
    assert collect(registry, NEW)["objects"] == [digest(data)]


def test_a_loop_device_that_cannot_be_asked(registry: Path, unnamed: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    device = registry.parent / "backing_file"
    monkeypatch.setattr(glob, "glob", lambda pattern: [str(device)])
    device.write_text("/elsewhere/x.sif\n")
    assert collect(registry, NEW, dry_run=True)["objects"] == [digest(OLD)]
    device.write_text(f"{registry}/{NAME} (deleted)\n")
    with pytest.raises(agent.Refused, match="cannot be asked"):
        collect(registry, NEW)
    assert unnamed.exists()


def test_linux_before_5_14_tells_no_inode_of_an_open_file(registry: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gc, "is_open_elsewhere", lambda descriptor: False)
    old_linux = registry.parent / "fdinfo"
    old_linux.write_text("pos:\t0\nflags:\t0100000\nmnt_id:\t29\n")
    inode_number = in_use.inode_number
    monkeypatch.setattr(in_use, "inode_number", lambda info, wanted: inode_number(str(old_linux), wanted))
    publish(registry, OLD)
    with running(sys.executable, "-c", HOLD, registry / NAME):
        publish(registry, NEW)
        assert collect(registry, NEW)["in_use"] == [digest(OLD)]


@pytest.fixture
def hiding(monkeypatch: pytest.MonkeyPatch) -> str:
    """A process of which not even root may see what it has open."""
    listdir = os.listdir
    mine = f"/proc/{os.getpid()}/fd"

    def closed(path: Any) -> Any:
        if str(path) == mine:
            raise PermissionError(13, "Permission denied", path)
        return listdir(path)

    monkeypatch.setattr(os, "listdir", closed)
    return mine


def test_of_a_process_that_hides_the_kernel_must_know(registry: Path, unnamed: Path, hiding: str) -> None:
    with unnamed.open("rb"):
        assert collect(registry, NEW)["in_use"] == [digest(OLD)]
    assert collect(registry, NEW)["objects"] == [digest(OLD)]


@pytest.mark.parametrize(
    ("what", "instead"),
    [
        ("gc.is_open_elsewhere", lambda descriptor: None),  # as on NFS
        ("in_use.filesystem", lambda registry: {"type": "overlay"}),  # where a lease does not know of mappings
    ],
)
def test_when_nobody_knows_nothing_is_freed(
    registry: Path, unnamed: Path, hiding: str, what: str, instead: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(f"pytest_hpcregistry.agent.{what}", instead)
    for dry_run in (True, False):
        with pytest.raises(agent.Refused, match="does not show what it has open"):
            collect(registry, NEW, dry_run=dry_run)
    assert unnamed.exists()


def test_what_the_kernel_does_not_know_proc_shows(
    registry: Path, unnamed: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On NFS there are no leases, and where no process hides what it has open that is no reason to keep all."""
    monkeypatch.setattr(gc, "is_open_elsewhere", lambda descriptor: None)
    monkeypatch.setattr(gc, "in_use", lambda registry, found: (set(), None))
    answer = collect(registry, NEW)
    assert (answer["shared"], answer["objects"]) == (False, [digest(OLD)])
    assert not unnamed.exists()


def test_what_is_hidden_may_be_in_use_on_a_shared_file_system(registry: Path, hiding: str) -> None:
    publish(registry, OLD)
    with pytest.raises(agent.Refused, match="does not show"):
        collect(registry, shared=True)


# --- dry run, other machines


def test_a_dry_run_changes_nothing_at_all(registry: Path, unnamed: Path) -> None:
    (registry / agent.STAGING / ".probe-12").touch()
    (registry / agent.LOCK).unlink()
    before = tree(registry)
    answer = collect(registry, NEW, dry_run=True)
    assert (answer["objects"], answer["debris"], answer["bytes"]) == ([digest(OLD)], [".probe-12"], len(OLD))
    assert tree(registry) == before
    told = collect(registry, NEW)
    assert {key: told[key] for key in answer} == answer, "and what it says is what happens"


def test_a_node_that_lags_behind_keeps_what_its_own_catalog_means(registry: Path, unnamed: Path) -> None:
    own = f"x: {digest(OLD)}"
    (registry / agent.CATALOG).write_text(own)
    for dry_run in (True, False):
        assert collect(registry, NEW, objects=["f" * 64], dry_run=dry_run)["objects"] == []
        assert (registry / agent.CATALOG).read_text() == own
    assert unnamed.exists()


def test_what_is_in_use_elsewhere_stays(registry: Path, unnamed: Path) -> None:
    assert collect(registry, NEW, spare=[digest(OLD), "f" * 64])["in_use"] == [digest(OLD)]
    assert unnamed.exists()


def test_in_the_controllers_own_registry_a_node_frees_nothing(registry: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    publish(registry, OLD)
    listdir = os.listdir
    with running(sys.executable, "-c", HOLD, registry / NAME) as pid:
        # Only this one: where these tests run there may be a process that hides.
        monkeypatch.setattr(os, "listdir", lambda path: [str(pid)] if path == "/proc" else listdir(path))
        publish(registry, NEW)
        before = tree(registry)
        assert collect(registry, NEW, shared=True) == {"shared": True, "in_use": [digest(OLD)]}
        assert tree(registry) == before
    assert collect(registry, NEW)["objects"] == [digest(OLD)]


# --- what a kill leaves behind -------------------------------------------------------------------------------------

LEFT = [
    *(f"{agent.STAGING}/{name}" for name in ("a" * 64, f".{'a' * 64}.123", ".x.AbCdEf")),
    f"{agent.BASES}/{'b' * 64}",
    "ml-frameworks/.x.sif.4711",
    ".registry/.catalog.yaml.4711",
]
NOT_OURS = [*(f"ml-frameworks/{name}" for name in (".x.sif.swp", ".x.sif.47x", "x.sif.4711", ".4711")), ".x.sif.1"]
NOT_OURS += [f".registry/history.{name}" for name in ("jsonl", "jsonl.1", "lock")]  # the controller's


def leave(registry: Path, *names: str) -> None:
    for name in names:
        (registry / name).parent.mkdir(exist_ok=True)
        (registry / name).write_bytes(b"half")


@pytest.mark.parametrize("dry_run", [True, False])
def test_leftovers_are_removed_after_the_grace_time_and_nothing_else(registry: Path, dry_run: bool) -> None:
    publish(registry, NEW)
    leave(registry, *LEFT, *NOT_OURS)
    assert collect(registry, NEW, grace=3600)["debris"] == []
    assert all((registry / name).exists() for name in LEFT)
    answer = collect(registry, NEW, dry_run=dry_run)
    assert answer["debris"] == sorted(name.rpartition("/")[2] for name in LEFT)
    assert answer["bytes"] == 4 * len(LEFT)
    assert {name for name in LEFT if (registry / name).exists()} == (set(LEFT) if dry_run else set())
    assert all((registry / name).exists() for name in NOT_OURS)


@pytest.mark.parametrize("dry_run", [True, False])
def test_directories_in_staging_are_somebody_elses_and_go(registry: Path, dry_run: bool) -> None:
    tree = registry / agent.STAGING / "dir"
    (tree / "dir").mkdir(parents=True)
    (tree / "dir" / "link").symlink_to(registry / "ml-frameworks")
    publish(registry, NEW)
    assert collect(registry, NEW, grace=3600)["debris"] == []
    assert collect(registry, NEW, dry_run=dry_run)["debris"] == ["dir"]
    assert tree.exists() == dry_run
    assert (registry / NAME).read_bytes() == NEW


@pytest.mark.parametrize("beside", ["ml-frameworks/.x.sif.4711", f"{agent.BASES}/{'c' * 64}"])
def test_a_leftover_name_does_not_keep_the_bytes_of_an_object(registry: Path, unnamed: Path, beside: str) -> None:
    (registry / beside).parent.mkdir(exist_ok=True)
    os.link(unnamed, registry / beside)
    answer = collect(registry, NEW)
    assert (answer["objects"], answer["debris"]) == ([digest(OLD)], [beside.rpartition("/")[2]])
    assert answer["bytes"] == len(OLD), "once, though it had two names"
    assert answer["unmanaged"] == []


def test_a_leftover_name_of_what_is_in_use_stays(registry: Path, unnamed: Path) -> None:
    beside = registry / "ml-frameworks/.x.sif.4711"
    os.link(unnamed, beside)
    with running(sys.executable, "-c", HOLD, beside):
        answer = collect(registry, NEW)
        assert (answer["objects"], answer["debris"], answer["in_use"]) == ([], [], [digest(OLD)])
    assert collect(registry, NEW)["debris"] == [beside.name]


def test_a_tree_of_any_depth_goes(registry: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    elsewhere = registry.parent / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)
    top = os.open(registry / agent.STAGING, os.O_RDONLY | os.O_DIRECTORY)
    for _ in range(3000):
        os.mkdir("dir", dir_fd=top)
        below = os.open("dir", os.O_RDONLY | os.O_DIRECTORY, dir_fd=top)
        os.close(top)
        top = below
    os.close(os.open("file", os.O_CREAT | os.O_WRONLY, dir_fd=top))
    os.close(top)
    publish(registry, NEW)
    assert collect(registry, NEW)["debris"] == ["dir"]
    assert list((registry / agent.STAGING).iterdir()) == []
    assert list(elsewhere.iterdir()) == []


def test_what_is_no_file_goes_from_quarantine(registry: Path) -> None:
    place = registry / agent.QUARANTINE
    (place / "a" / "b").mkdir(parents=True)
    place.chmod(0o700)
    (place / "c").symlink_to("/etc/passwd")
    assert sorted(gc.collect(str(registry), request(OLD, grace=3600))["debris"]) == []
    assert sorted(gc.collect(str(registry), request(OLD))["debris"]) == ["a", "c"]
    assert list(place.iterdir()) == []
